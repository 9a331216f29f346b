"""Writing on: with and without the cache, alone and in a batch, with edits, beside Hugging Face."""

import pytest
import torch

from micrographia.errors import CallError, PromptError
from micrographia.ids import TokenId
from micrographia.model.edits import at
from micrographia.model.generate import Sampling
from micrographia.model.model import Model
from tests.model.families import exactly, hugging_face, ids_for


def prompt(model: Model, width: int = 7, seed: int = 1):
    return model.tokenizer.from_ids(ids_for(1, width, seed=seed)[0].tolist())


def direction(model: Model) -> torch.Tensor:
    return torch.randn(model.anatomy.d_model, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def edits(model: Model):
    return [
        at("resid_post.1", positions=slice(-1, None)).add(4 * direction(model)),
        at("z.0", heads=[1]).zero(),
        at("pattern.2", positions=[2], heads=[0]).scale(0.5),
        at("mlp_out.0", positions=[3, 9]).scale(2.0),
    ]


def test_cached_generation_equals_uncached(model: Model) -> None:
    for edit in ([], edits(model)):
        cached = model.generate(prompt(model), max_new=12, edit=edit, stop=[])
        plain = model.generate(prompt(model), max_new=12, edit=edit, stop=[], cached=False)
        assert len(cached.ids) == 12
        assert cached == plain


def test_edits_change_what_is_written(model: Model) -> None:
    plain = model.generate(prompt(model), max_new=12, stop=[])
    assert model.generate(prompt(model), max_new=12, stop=[], edit=edits(model)).ids != plain.ids


def test_generation_equals_hugging_faces(case: str, model: Model) -> None:
    one = prompt(model)
    with exactly():
        theirs = hugging_face(case).generate(
            torch.tensor([one.ids]), max_new_tokens=10, do_sample=False, eos_token_id=None, pad_token_id=0
        )
    assert list(model.generate(one, max_new=10, stop=[]).ids) == theirs[0, len(one.ids) :].tolist()


def test_a_batch_writes_what_each_prompt_writes_alone(model: Model) -> None:
    prompts = [prompt(model, width, seed=width) for width in (3, 8, 5)]
    sampled = Sampling(temperature=0.0)
    together = model.generate_many(prompts, max_new=9, stop=[], sampling=sampled, edit=edits(model))
    for one, written in zip(prompts, together, strict=True):
        assert written == model.generate(one, max_new=9, stop=[], edit=edits(model))


def test_sampling_follows_its_seed_and_its_share(tiny) -> None:
    model = tiny("llama")
    hot = Sampling(temperature=2.0, seed=1)
    first = model.generate(prompt(model), max_new=12, sampling=hot, stop=[])
    assert first == model.generate(prompt(model), max_new=12, sampling=hot, stop=[])
    assert first.ids != model.generate(prompt(model), max_new=12, sampling=Sampling(2.0, seed=2), stop=[]).ids
    narrow = Sampling(temperature=2.0, top_p=1e-6)
    greedy = model.generate(prompt(model), max_new=12, stop=[])
    assert model.generate(prompt(model), max_new=12, sampling=narrow, stop=[]) == greedy


def test_sampled_tokens_come_as_often_as_the_model_says(tiny) -> None:
    model = tiny("llama")
    expected = model.run(prompt(model)).last_logits()[0].softmax(-1)
    n = 4000
    drawn = model.generate_many([prompt(model)] * n, max_new=1, sampling=Sampling(1.0), stop=[])
    seen = torch.bincount(torch.tensor([one.ids[0] for one in drawn]), minlength=len(expected)) / n
    assert (seen - expected).abs().max() < 5 * (0.25 / n) ** 0.5


def test_a_stop_token_ends_its_row_and_is_left_out(tiny) -> None:
    model = tiny("llama")
    free = model.generate(prompt(model), max_new=8, stop=[])
    stopped = model.generate(prompt(model), max_new=8, stop=[free.ids[3]])
    assert stopped.ids == free.ids[: free.ids.index(free.ids[3])]
    rows = model.generate_many([prompt(model), prompt(model, seed=9)], max_new=8, stop=[free.ids[3]])
    assert rows[0] == stopped


def test_the_prompts_edits_may_reach_into_what_is_not_written_yet(tiny) -> None:
    model = tiny("llama")
    with pytest.raises(PromptError, match="64"):
        model.generate(prompt(model), max_new=60)
    with pytest.raises(CallError, match="at least 1"):
        model.generate(prompt(model), max_new=0)
    with pytest.raises(CallError, match="no position 20"):
        model.generate(prompt(model), max_new=5, edit=[at("z.0", positions=[20]).zero()])
    assert model.generate(prompt(model), max_new=5, stop=[TokenId(0)], edit=[at("z.0", positions=[10]).zero()]).prompt


@pytest.mark.parametrize("bad", [dict(temperature=-1.0), dict(top_p=0.0), dict(top_p=1.5)])
def test_sampling_out_of_range_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(CallError, match="temperature ≥ 0"):
        Sampling(**bad)
