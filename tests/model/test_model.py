"""The model as a whole: what a careless user does gets a sentence, and never a wrong number in silence."""

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from micrographia.errors import CallError, EditError, ModelFileError, PromptError
from micrographia.model.assemble import assemble
from micrographia.model.direct import direct_attribution, head_tops
from micrographia.model.edits import at
from micrographia.model.frozen import freeze
from micrographia.model.generate import Sampling
from micrographia.model.lens import logit_lens
from micrographia.model.model import Model
from micrographia.model.settings import anatomy_of
from tests.model.conftest import save_tiny
from tests.model.families import TINY, hugging_face

CPU = torch.device("cpu")


def prompt(model: Model, width: int = 9):
    return model.tokenizer.from_ids([3, 14, 15, 9, 2, 6, 5, 35, 8, 9, 7, 9][:width])


@pytest.mark.parametrize(
    "careless",
    [
        lambda act, site: act.mul_(0.5),
        lambda act, site: act.zero_() * 2,
    ],
)
def test_an_editor_that_works_in_place_is_found_out(tiny, careless) -> None:
    model = tiny("llama")
    for place in (at("attn_norm_in.2"), at("z.1", heads=[2]), at("mlp_out.0", positions=[3])):
        with pytest.raises(EditError, match="in place"):
            model.run(prompt(model), edit=[place.apply(careless)])


def test_a_reader_that_writes_is_found_out(tiny) -> None:
    model = tiny("llama")

    def careless(act: torch.Tensor, site: object, /) -> None:
        act.zero_()

    with pytest.raises(EditError, match=r"reader at mlp_norm_in\.2 changed the activation in place"):
        model.run(prompt(model), readers={"mlp_norm_in.2": careless})


def test_the_frozen_map_refuses_attached_edits(tiny) -> None:
    model = tiny("llama")
    with model.attached(edit=at("z.1").scale(0.5)):
        for instrument in (freeze, lambda m, p: direct_attribution(m, p, 5), head_tops):
            with pytest.raises(CallError, match="edits are attached"):
                instrument(model, prompt(model))
        with pytest.raises(CallError, match="edits are attached"):
            freeze(model, prompt(model))
    assert freeze(model, prompt(model)).parts()


def test_attached_edits_leave_by_themselves_whatever_the_order(tiny) -> None:
    model = tiny("llama")
    first, second = model.attached(edit=at("z.0").zero()), model.attached(edit=at("z.1").zero())
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert [edit.where.site for edit in model.attached_edits] == ["z.1"]
    second.__exit__(None, None, None)
    assert model.attached_edits == ()


def test_attached_edits_stay_in_their_thread(tiny) -> None:
    model = tiny("llama")
    plain = model.run(prompt(model)).logits
    elsewhere: list[torch.Tensor] = []
    with model.attached(edit=at("z").zero()):
        thread = threading.Thread(target=lambda: elsewhere.append(model.run(prompt(model)).logits))
        thread.start()
        thread.join()
    assert torch.equal(elsewhere[0], plain)


@pytest.mark.parametrize("case", TINY)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_instrument_works_in_short_dtypes(tiny, case: str, dtype: torch.dtype) -> None:
    exact, hf = tiny(case), hugging_face(case)
    weights = assemble(exact.anatomy, hf.config.model_type, hf.state_dict(), device=CPU, dtype=dtype)
    model = Model(exact.name, exact.anatomy, weights, exact.tokenizer)
    logits = model.run(prompt(model)).logits
    assert logits.dtype == dtype
    wanted = exact.run(prompt(exact)).logits
    assert (logits.double() - wanted).abs().max() < (0.2 if dtype == torch.bfloat16 else 0.03) * wanted.abs().max()
    parts = direct_attribution(model, prompt(model), 5)
    assert abs(parts.total() - float(wanted[0, -1, 5])) < 0.3
    assert head_tops(model, prompt(model)).tokens.shape[-1] == 5
    assert logit_lens(model, prompt(model)).probability.isfinite().all()
    assert freeze(model, prompt(model)).parts().before(3).isfinite().all()


CARELESS = {
    "m.run([])": r"There is no prompt",
    "m.run([1, 2, 3])": r"tokenizer.from_ids\(ids\)",
    "m.run(p, logits='lsat')": r"'all', 'last' or 'none', not 'lsat'",
    "m.run(p, side='Left')": r"'left' or 'right', not 'Left'",
    "m.run(p, edit=[at('z.1')])": r"at\('z.5', heads=\[3\]\).zero\(\)",
    "m.run(p, edit=at('z.1'))": r"at\('z.5', heads=\[3\]\).zero\(\)",
    "at('z.1', positions=torch.tensor([True, False]))": r"not a mask of truths",
    "at('z.1', heads=['a'])": r"whole number or a list",
    "at('z.1', positions=slice(0, None, 0))": r"step of at least 1",
    "at('z.1', positions=slice(None, None, -1))": r"step of at least 1",
    "m.run([p, short], edit=at('z.1', positions=8).zero())": r"shortest prompt has 5",
    "m.run(p).stack('typo')": r"Nothing was read at typo",
    "logit_lens(m, [p, p])": r"this is a list",
    "freeze(m, [p, p])": r"this is a list",
    "m.run(p, edit=at('resid_post.1').apply(lambda act, site: None))": r"returned NoneType",
}


def test_a_careless_call_gets_a_sentence(tmp_path: Path) -> None:
    """As a user makes it, without the shape checks of the tests, which would speak first."""
    save_tiny("llama", tmp_path)
    script = f"""
import json, sys, torch
from micrographia.errors import MicrographiaError
from micrographia.model.edits import at
from micrographia.model.frozen import freeze
from micrographia.model.lens import logit_lens
from micrographia.model.load import load_model
m = load_model({str(tmp_path)!r})
p, short = m.tokenizer.from_ids([3, 14, 15, 9, 2, 6, 5, 35, 8]), m.tokenizer.from_ids([3, 14, 15, 9, 2])
said = {{}}
for call in json.loads(sys.argv[1]):
    try:
        eval(call)
    except MicrographiaError as error:
        said[call] = str(error)
print(json.dumps(said))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(list(CARELESS))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    for call, message in CARELESS.items():
        assert re.search(message, said.get(call, "nothing")), (call, said.get(call))


def test_selectors_are_forgiving(tiny) -> None:
    model = tiny("llama")
    wanted = model.run(prompt(model), edit=[at("z.1", heads=[3], positions=[-1]).zero()]).logits
    for heads, positions in (
        (3, -1),
        (torch.tensor([3]), np.array([-1])),
        (np.int64(3), (-1,)),
        (torch.tensor(3), [-1]),
    ):
        edit = at("z.1", heads=heads, positions=positions).zero()
        assert torch.equal(model.run(prompt(model), edit=edit).logits, wanted)
    assert (
        model.tokenizer.from_ids(torch.tensor([3, 4])).ids == model.tokenizer.from_ids(np.array([3, 4])).ids == (3, 4)
    )
    assert list(model.run(prompt(model), read="resid_post.1").acts) == list(
        model.run(prompt(model), read=["resid_post.1"]).acts
    )


def test_a_prompt_of_another_model_is_refused(tiny) -> None:
    model = tiny("llama")
    foreign = prompt(model)
    wide = type(foreign)((*foreign.ids, 5000), (*foreign.pieces, "x"), "", 0)
    with pytest.raises(PromptError, match="tokenised for another model"):
        model.run(wide)


def test_what_is_read_with_gradients_can_be_differentiated_by(tiny) -> None:
    model = tiny("llama")
    run = model.run(prompt(model), read="resid_post.0", grad=True)
    (gradient,) = torch.autograd.grad(run.logits[0, -1, 5], run["resid_post.0"])
    step = torch.randn_like(gradient) * 1e-6
    up, down = (model.run(prompt(model), edit=at("resid_post.0").add(s * step)).logits[0, -1, 5] for s in (1, -1))
    assert torch.isclose((up - down) / 2, (gradient * step).sum(), rtol=1e-4, atol=1e-12)


def test_patterns_are_taken_only_from_prompts_padded_alike(tiny) -> None:
    model = tiny("llama")
    reference = model.run([prompt(model), prompt(model, 5)], side="left", read="pattern")
    with pytest.raises(EditError, match="padded alike"):
        model.run([prompt(model), prompt(model, 5)], edit=at("pattern").resample(reference))


def test_one_scale_for_all_heads_has_no_heads_to_choose(tiny) -> None:
    model = tiny("olmo2")
    with pytest.raises(EditError, match="no heads to choose from"):
        model.run(prompt(model), edit=at("q_norm_scale.1", heads=0).scale(2.0))


def test_tensors_without_a_place_are_refused(tiny) -> None:
    hf = hugging_face("llama")
    for stray in ("model.layers.1.self_attn.q_proj.bias", "model.layers.0.self_attn.q_norm.weight"):
        state = {**hf.state_dict(), stray: torch.ones(24, dtype=torch.float64)}
        with pytest.raises(ModelFileError, match=f"no place for: {stray}"):
            assemble(anatomy_of(hf.config), "llama", state, device=CPU, dtype=torch.float64)
    old = {**hf.state_dict(), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(3)}
    assemble(anatomy_of(hf.config), "llama", old, device=CPU, dtype=torch.float64)


def test_a_tied_model_with_another_output_matrix_is_refused(tiny) -> None:
    hf = hugging_face("llama-tied-biased")
    state = dict(hf.state_dict())
    state["lm_head.weight"] = state["lm_head.weight"] + 1
    with pytest.raises(ModelFileError, match="ties 'lm_head'"):
        assemble(anatomy_of(hf.config), "llama", state, device=CPU, dtype=torch.float64)


def test_sampling_stands_any_temperature(tiny) -> None:
    model = tiny("llama")
    cold = model.generate(prompt(model), max_new=6, sampling=Sampling(temperature=1e-38), stop=[])
    assert cold.ids == model.generate(prompt(model), max_new=6, stop=[]).ids


def test_records_print_in_one_line(tiny) -> None:
    model = tiny("llama")
    run = model.run(prompt(model), read=model.sites)
    for record in (
        run,
        freeze(model, prompt(model)),
        freeze(model, prompt(model)).parts(),
        logit_lens(model, prompt(model)),
        model,
    ):
        assert len(repr(record)) < 120
        assert "\n" not in repr(record)
