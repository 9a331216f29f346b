"""Head scores, against patterns that are known."""

import math

import pytest
import torch

from micrographia.errors import CallError
from micrographia.model.edits import at
from micrographia.model.heads import repeated_prompts, score_heads
from micrographia.model.model import Model

TEXT = "t3 t14 t15 t9 t2 t60 t33"


def planted(model: Model, pattern_of):
    """An edit that gives head 1 of layer 2 the pattern that `pattern_of(n)` makes."""

    def plant(act, site, /):
        return pattern_of(act.shape[-1]).to(act).expand_as(act)

    return at("pattern.2", heads=[1]).apply(plant)


def scores(model: Model, pattern_of):
    with model.attached(edit=[planted(model, pattern_of)]):
        return score_heads(model, model.prompts([TEXT, "t8 t9 t10"]), n_repeated=2, length=6)


def test_a_head_that_looks_one_back_scores_one_on_previous(tiny) -> None:
    found = scores(tiny("llama"), lambda n: torch.eye(n)[(torch.arange(n) - 1).clamp(min=0)])
    assert found.previous[2, 1] == pytest.approx(1.0)
    assert found.entropy[2, 1] == pytest.approx(0.0, abs=1e-5)
    assert found.top("previous", 1) == ((2, 1),)


def test_a_head_that_looks_at_the_start_scores_one_on_first(tiny) -> None:
    found = scores(tiny("llama"), lambda n: torch.eye(n)[[0] * n])
    assert found.first[2, 1] == pytest.approx(1.0)
    assert found.previous[2, 1] == pytest.approx((1 + 1) / (6 + 2))


def test_uniform_attention_scores_what_is_said_of_it(tiny) -> None:
    found = scores(tiny("llama"), lambda n: torch.ones(n, n).tril() / torch.arange(1, n + 1)[:, None])
    assert found.entropy[2, 1] == pytest.approx(float(found.uniform["entropy"][2]), rel=1e-5)
    assert found.previous[2, 1] == pytest.approx(float(found.uniform["previous"][2]), rel=1e-5)
    assert found.first[2, 1] == pytest.approx(float(found.uniform["first"][2]), rel=1e-5)
    assert found.induction[2, 1] == pytest.approx(float(found.uniform["induction"][2]), rel=1e-5)
    assert float(found.uniform["entropy"][2]) == pytest.approx(sum(math.log2(k) for k in [2, 3, 4, 5, 6, 7, 2, 3]) / 8)
    assert found.n_positions == 8


@pytest.mark.parametrize("case", ["mistral", "gemma2"])
def test_uniform_attention_within_a_window_scores_what_is_said_of_it(tiny, case: str) -> None:
    model = tiny(case)
    with model.attached(edit=[at("scores").zero()]):
        found = score_heads(model, model.prompts([TEXT, "t8 t9 t10"]), n_repeated=2, length=3)
    for score in ("entropy", "previous", "first", "induction"):
        wanted = found.uniform[score][:, None].expand_as(found.table(score))
        assert torch.allclose(found.table(score), wanted, atol=1e-5), score


def test_a_head_that_looks_behind_the_earlier_copy_scores_one_on_induction(tiny) -> None:
    def induction(n: int) -> torch.Tensor:
        rows = torch.arange(n)
        return torch.eye(n)[(rows - 6 + 1).clamp(min=0)]

    found = scores(tiny("llama"), induction)
    assert found.induction[2, 1] == pytest.approx(1.0)
    assert found.top("induction", 1) == ((2, 1),)


def test_repeated_prompts_say_the_same_ordinary_tokens_twice(tiny) -> None:
    model = tiny("llama")
    for prompt in repeated_prompts(model, n=3, length=5):
        said = prompt.ids[-10:]
        assert said[:5] == said[5:]
        assert not set(said) & {0, 1}
    assert repeated_prompts(model, n=3, length=5) == repeated_prompts(model, n=3, length=5)
    assert repeated_prompts(model, n=3, length=5, seed=1) != repeated_prompts(model, n=3, length=5)


def test_no_text_is_refused(tiny) -> None:
    model = tiny("llama")
    with pytest.raises(CallError, match="at least two tokens"):
        score_heads(model, model.prompts(["t3"]))
