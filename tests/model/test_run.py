"""What a run leaves behind: what was asked for, and nothing else."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from micrographia.errors import SiteError
from micrographia.model.model import Model
from micrographia.model.run import Run
from micrographia.model.site import Point

PROMPT = "t3 t14 t15 t9 t2"

# ---------------------------------------------------------------- answers


def test_answers_are_the_likeliest_tokens_with_their_own_figures(tiny) -> None:
    run = tiny("llama").run(["t3", PROMPT])
    for row in range(2):
        logits = run.last_logits()[row].float()
        answers = run.answers(row, top=4)
        assert [answer.token for answer in answers] == logits.argsort(descending=True)[:4].tolist()
        for answer in answers:
            assert answer.logit == float(logits[answer.token])
            assert answer.probability == pytest.approx(float(logits.softmax(-1)[answer.token]))
            assert answer.piece == run.tokenizer.piece(answer.token)
    everything = run.answers(top=10**6)
    assert len(everything) == 80
    assert sum(answer.probability for answer in everything) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_last_logits_are_those_after_each_prompts_last_token(tiny, side: str) -> None:
    model = tiny("gpt2")
    prompts = ["t3", PROMPT, "t9 t8"]
    alone = torch.cat([model.run(prompt).logits[:, -1] for prompt in prompts])
    for wanted in ("all", "last"):
        found = model.run(prompts, side=side, logits=wanted).last_logits()
        assert torch.allclose(found, alone, rtol=0, atol=1e-12)


def test_what_was_not_computed_is_said_to_be_missing(tiny) -> None:
    run = tiny("llama").run(PROMPT, read=["z.1"], logits="none")
    for ask in (lambda: run.logits, run.last_logits, run.answers):
        with pytest.raises(SiteError, match=r"computed no logits\. Ask for them: run"):
            ask()
    with pytest.raises(SiteError, match=r"z.0 was not read in this run, which kept z.1. Ask for it.*read=\['z.0'\]"):
        run["z.0"]
    with pytest.raises(SiteError, match=r"Nothing was read at resid_post in this run.*read=\['resid_post'\]"):
        run.stack("resid_post")
    with pytest.raises(SiteError, match="which kept nothing"):
        tiny("llama").run(PROMPT)["logits"]


def test_a_stack_holds_what_was_read_layer_upon_layer(tiny) -> None:
    run = tiny("llama").run(PROMPT, read=["resid_post.2", "z", "resid_post.0"])
    assert torch.equal(run.stack("z"), torch.stack([run[f"z.{layer}"] for layer in range(3)]))
    assert torch.equal(run.stack(Point.RESID_POST), torch.stack([run["resid_post.0"], run["resid_post.2"]]))


# ---------------------------------------------------------------- memory


def living() -> dict[int, Tensor]:
    gc.collect()
    return {id(thing): thing for thing in gc.get_objects() if issubclass(type(thing), Tensor)}


def test_nothing_is_kept_that_was_not_asked_for(tiny) -> None:
    model = tiny("llama")
    prompts = model.prompts(["t3", PROMPT])
    model.run(prompts)
    before = living()
    run = model.run(prompts, read=["resid_post.1"])
    after = living()
    batch = run.batch
    assert batch.real is not None
    kept = {id(t) for t in (run.logits, run["resid_post.1"], batch.ids, batch.positions, batch.lengths, batch.real)}
    assert {key: tuple(t.shape) for key, t in after.items() if key not in before} == {
        key: tuple(after[key].shape) for key in kept
    }
    del after, run, batch
    assert set(living()) <= set(before)


def test_a_reader_that_keeps_nothing_leaves_nothing(tiny) -> None:
    model = tiny("gemma2")
    seen: list[weakref.ref[Tensor]] = []
    run = model.run(PROMPT, readers={"pattern": lambda act, site: seen.append(weakref.ref(act))}, logits="none")
    gc.collect()
    assert len(seen) == 3
    assert [ref() for ref in seen] == [None] * 3
    assert run.acts == {}


def test_what_is_kept_holds_no_more_memory_than_itself(tiny) -> None:
    """A view of a larger tensor would keep all of it."""
    run: Run = tiny("phi3").run([PROMPT, "t3 t4"], read=["q", "k", "v", "z", "gate", "up", "post", "resid_post"])
    held = {site: (act.untyped_storage().nbytes(), act.nbytes) for site, act in run.acts.items()}
    assert {site: sizes for site, sizes in held.items() if sizes[0] > sizes[1]} == {}


class Meter(TorchDispatchMode):
    """The most memory that the results of operations have held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.living: dict[int, weakref.ref[Tensor]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.living[id(tensor)] = weakref.ref(tensor)
        tensors = [tensor for ref in self.living.values() if (tensor := ref()) is not None]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        self.peak = max(self.peak, sum(storages.values()))
        return out


def repeated(model: Model, times: int) -> Model:
    """The same blocks, again and again."""
    a, w = model.anatomy, model.weights
    anatomy = replace(a, n_layers=a.n_layers * times, windows=a.windows * times, rotaries=a.rotaries * times)
    return Model(model.name, anatomy, replace(w, blocks=w.blocks * times), model.tokenizer)


def peak(model: Model, **how: object) -> int:
    prompts = model.prompts([" ".join(f"t{i}" for i in range(2, 60))] * 4)
    with Meter() as meter:
        run = model.run(prompts, **how)
    assert run.batch.n_rows == 4
    return meter.peak


@pytest.mark.parametrize("case", ["llama", "gpt2", "gemma2", "neox"])
def test_a_run_takes_no_more_memory_however_many_layers_there_are(tiny, case: str) -> None:
    model = tiny(case)
    shallow, deep = peak(model), peak(repeated(model, 4))
    assert shallow == deep > 0


def test_a_site_that_is_read_costs_its_own_size_and_no_more(tiny) -> None:
    model = repeated(tiny("llama"), 4)
    act = 4 * 58 * 24 * 8
    plain = peak(model, logits="none", read=["resid_post.11"])
    assert peak(model, logits="none", read=["resid_post.0", "resid_post.11"]) - plain == act
    assert peak(model, logits="none", read=["resid_post"]) - plain > 8 * act, "the meter sees what is kept"
