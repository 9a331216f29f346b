"""Circuit files: what they say, what contradicts itself, and the first one that is written from a graph."""

from dataclasses import replace
from pathlib import Path

import pytest

from micrographia.errors import CallError
from micrographia.evidence.circuits import first_circuit, read_circuit, write_circuit
from micrographia.evidence.testing import Experiment
from tests.evidence.planted import planted
from tests.evidence.test_testing import true_and_false

HEAD = """
schema_version = 1
name = "a circuit"

[[family]]
name = "words"
prompts = [{ text = "t3 t14", answer = "t5" }, { text = "t9 \\"t2\\"", answer = "t7" }]
"""
CLAIM = """
[[claim]]
words = "it falls"
family = "words"
change = ["1.3@-1=0"]
lowers = 0.3
controls = 0.1
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "some.circuit.toml"
    path.write_text(text)
    return path


def test_a_file_is_read_and_written_again_as_it_was(tmp_path: Path) -> None:
    more = CLAIM.replace("it falls", 'it \\"rises\\"').replace("lowers", "raises").replace("1.3", "1.4")
    circuit = read_circuit(written(tmp_path, HEAD + CLAIM + more.replace("controls", 'measure = "logit"\ncontrols')))
    assert [claim.sign for claim in circuit.claim] == [-1, 1]
    assert [claim.measure for claim in circuit.claim] == ["probability", "logit"]
    write_circuit(circuit, tmp_path / "again.circuit.toml")
    assert read_circuit(tmp_path / "again.circuit.toml") == circuit


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name =", "cannot be read as TOML"),
        (HEAD, "claim: Field required"),
        (HEAD + CLAIM + "surprise = 1\n", r"claim\.0\.surprise: Extra inputs"),
        (HEAD + CLAIM.replace("lowers = 0.3", ""), "must say one of lowers and raises"),
        (HEAD + CLAIM + "raises = 0.3\n", "must say one of lowers and raises"),
        (HEAD + CLAIM.replace("controls = 0.1", "controls = 0.4"), "contradicts itself: its controls may do 0.4"),
        (HEAD + CLAIM.replace("lowers = 0.3", "lowers = 1.3"), "lowers a probability by more than all of it"),
        (HEAD + CLAIM.replace('"words"', '"others"'), "is about the family 'others'; there is words"),
        (HEAD + CLAIM + CLAIM, "there are two of the claim 'it falls'"),
        (
            HEAD + CLAIM + CLAIM.replace("it falls", "it rises").replace("lowers", "raises"),
            "'it falls' and 'it rises' contradict each other",
        ),
        (HEAD.replace("= 1", "= 2") + CLAIM, "schema_version"),
        (HEAD.replace("t3 t14", "") + CLAIM, "prompts.0.text"),
    ],
)
def test_what_a_file_may_not_say_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CallError, match=said):
        read_circuit(written(tmp_path, text))


def test_there_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="There is no file"):
        read_circuit(tmp_path / "nothing.circuit.toml")


def test_a_first_file_asks_for_half_of_what_was_confirmed(tiny, tmp_path: Path) -> None:
    place = planted(tiny("llama"), 0)
    graph = true_and_false(place, 0, 1)
    known = Experiment(place.bench, graph, inside=False).run(600.0)
    circuit = first_circuit(graph, known, "planted", "neurons")
    confirmed = [one for one in known.tested if one.judgement.verdict == "confirmed"]
    assert len(circuit.claim) == len(confirmed) > 2
    for claim, one in zip(circuit.claim, confirmed, strict=True):
        assert claim.change == tuple(f"{member}=0" for member in one.claim.members)
        assert claim.sign == (1 if one.measured.effect > 0 else -1)
        assert claim.least == pytest.approx(abs(one.measured.effect) / 2, rel=1e-2)
        assert claim.controls < claim.least
    write_circuit(circuit, tmp_path / "planted.circuit.toml")
    assert read_circuit(tmp_path / "planted.circuit.toml") == circuit
    assert (circuit.basis, circuit.model) == ("neurons", graph.facts.model)


def test_without_a_confirmed_claim_there_is_nothing_to_write(tiny) -> None:
    place = planted(tiny("llama"), 0)
    graph = true_and_false(place, 0, 1)
    unknown = Experiment(place.bench, graph).evidence
    with pytest.raises(CallError, match="No claim of this graph is confirmed"):
        first_circuit(graph, unknown, "x")
    difference = replace(graph, targets=(replace(graph.targets[0], token=None),))
    with pytest.raises(CallError, match="is no token"):
        first_circuit(difference, unknown, "x")
