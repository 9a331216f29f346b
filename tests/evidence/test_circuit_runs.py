"""Circuit files on a model: claims that hold, claims that fail and why, and what is no claim there."""

import pytest

from micrographia.errors import CallError
from micrographia.evidence.bench import Bench
from micrographia.evidence.circuit_runs import CircuitRun, Held
from micrographia.evidence.circuits import Circuit, CircuitClaim, Family, Given
from micrographia.evidence.interventions import Free, ablate
from micrographia.evidence.placing import place
from micrographia.evidence.rows import run_rows
from tests.evidence.planted import CARRIERS, planted

TEXTS = ("t3 t14 t15 t9 t2", "t7 t8 t20 t33 t41", "t4 t60 t61 t2 t9")


@pytest.fixture
def planted_bench(tiny) -> Bench:
    return planted(tiny("llama"), 0).bench


def run_of(bench: Bench, claim: CircuitClaim, answers: dict[str, str] | None = None) -> CircuitRun:
    """All prompts answered as the model does answer them, unless said otherwise."""

    def made(text: str) -> Bench:
        return Bench(bench.model, bench.basis, bench.model.tokenizer.prompt(text))

    def answer(text: str) -> str:
        return f"t{int(made(text).logits()[-1].argmax())}"

    given = tuple(Given(text=text, answer=(answers or {}).get(text) or answer(text)) for text in TEXTS)
    return CircuitRun(Circuit(name="x", family=(Family(name="all", prompts=given),), claim=(claim,)), made)


def claim(**said: object) -> CircuitClaim:
    wanted = {"words": "w", "family": "all", "change": tuple(f"1.{i}@-1=0" for i in CARRIERS), "token": "t5"}
    return CircuitClaim.model_validate({**wanted, "controls": 0.01, **said})


def measured(bench: Bench, said: CircuitClaim) -> Held:
    return run_of(bench, said).test(said)


def test_the_effect_is_the_mean_over_the_prompts_of_what_a_run_of_its_own_says(planted_bench: Bench) -> None:
    found = measured(planted_bench, claim(measure="logit", lowers=50.0, controls=1.0))
    by_hand = []
    for text in TEXTS:
        bench = Bench(planted_bench.model, planted_bench.basis, planted_bench.model.tokenizer.prompt(text))
        nodes = [f"1.{i}@{bench.n_positions - 1}" for i in CARRIERS]
        rows = [place(bench, ablate(nodes), Free())]
        logits, clean = run_rows(bench, rows, Free()).logits[0], bench.logits()[-1]
        by_hand.append(float((logits[5] - logits.mean()) - (clean[5] - clean.mean())))
    assert found.effect == pytest.approx(sum(by_hand) / 3, abs=1e-9)
    assert not found.holds
    assert found.interval[0] <= found.effect <= found.interval[1]
    assert (found.valid, found.prompts, found.n_controls) == (3, 3, 20)


def test_a_true_claim_holds_and_its_opposite_fails(planted_bench: Bench) -> None:
    """What one carrier writes is what the logit reads, so nothing as long goes further."""
    change = (f"1.{CARRIERS[0]}@-1=+9",)
    effect = measured(planted_bench, claim(measure="logit", change=change, lowers=50.0, controls=1.0)).effect
    way, other = ("lowers", "raises") if effect < 0 else ("raises", "lowers")
    size = abs(effect)
    wanted = {"measure": "logit", "change": change}
    held = measured(planted_bench, claim(**wanted, **{way: size / 2}, controls=size / 3))
    assert held.holds, str(held)
    assert str(held).startswith("holds: w logit")
    assert "3 of 3 prompts; as said" in held.figures
    assert abs(held.effect) > max(map(abs, held.band))
    assert measured(planted_bench, claim(**wanted, **{other: size / 2}, controls=size / 3)).why == "the other way"
    assert measured(planted_bench, claim(**wanted, **{way: size * 2}, controls=size / 3)).why == "too little"
    strict = measured(planted_bench, claim(**wanted, **{way: size / 2}, controls=1e-9))
    assert strict.why == "controls do more than is allowed"


def test_a_probability_changes_by_a_part_of_itself(planted_bench: Bench) -> None:
    found = measured(planted_bench, claim(lowers=0.9, controls=0.5))
    assert found.effect >= -1.0
    assert "%" in found.figures


def test_features_that_are_as_they_are_do_nothing(planted_bench: Bench) -> None:
    found = measured(planted_bench, claim(change=("1.3@-1=x1",), lowers=0.5))
    assert (found.why, found.effect) == ("nothing", 0.0)


def test_a_prompt_counts_only_where_the_model_answers_it_so(planted_bench: Bench) -> None:
    said = claim(lowers=0.5)
    assert run_of(planted_bench, said, {TEXTS[0]: "t79"}).test(said).valid == 2
    none = run_of(planted_bench, said, dict.fromkeys(TEXTS, "t79")).test(said)
    assert not none.holds
    assert "answers no prompt of the family 'all' as the file says" in none.figures


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("9.3@-1=0",), "There is no layer 9"),
        (("1.999@-1=0",), "There is no feature 999 in layer 1"),
        (("1.3@77=0",), "There is no position 77"),
        (("1.3=0",), "says no position"),
        (("1.3@2:=0",), "goes on behind the prompt"),
        (("head.1.0@-1=0",), "is no feature of the basis"),
        (("1.3@-1=0", "1.3@-1=2"), "is changed twice"),
        (("nothing@2",), "says no change"),
    ],
)
def test_what_is_not_there_is_refused(planted_bench: Bench, change: tuple[str, ...], said: str) -> None:
    with pytest.raises(CallError, match=said):
        measured(planted_bench, claim(change=change, lowers=0.5))
