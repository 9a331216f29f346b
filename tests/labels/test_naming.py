"""A graph takes what is known of its features from their labels, and says where it does not hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.graph.graph import NodeLabel
from micrographia.graph.nodes import Kind, NodeId
from micrographia.labels.exam import least_of
from micrographia.labels.label import Evidence, Label, Said
from micrographia.labels.naming import agrees, named
from micrographia.labels.rules import At, Condition, Near, Rule, Where
from micrographia.labels.store import LabelBook
from micrographia.labels.vocabulary import Vocabulary
from micrographia.model.model import Model
from tests.corpus.bytewise import bytewise
from tests.graph.graphs import small_graph
from tests.labels.made import PROVENANCE, label


def place(name: NodeId) -> tuple[int, int]:
    assert name.layer is not None
    assert name.index is not None
    return name.layer, name.index


TOKENIZER = bytewise()
SENTENCES = TOKENIZER.prompt("One. Two\nis more", bos="none").ids
TEXT = TOKENIZER.prompt("in 7 years", bos="none").ids
SEVEN, Y, E, A = (TEXT["in 7 years".index(letter)] for letter in "7yea")


def test_features_are_called_what_their_labels_say(tmp_path: Path) -> None:
    graph, tokenizer = replace(small_graph(), labels={}), TOKENIZER
    features = [name for name in graph.nodes if name.kind is Kind.FEATURE]
    first = features[0]
    second = next(name for name in features if name.layer != first.layer)
    with LabelBook.create(tmp_path / "atlas.labels") as book:
        for name, text, kind in ((first, "␣years", "input"), (second, None, "obscure")):
            book.write(place(name)[0], [label(*place(name), text, kind)], PROVENANCE)
        found = named(graph, book, tokenizer)
        assert found.labels[first] == NodeLabel("␣years", "input", 0.9, "rule")
        assert found.labels[second] == NodeLabel("", "obscure", 0.9, "rule")
        assert found.node(first).words == "␣years"
        assert set(found.labels) == {name for name in features if place(name) in map(place, (first, second))}
        own = NodeLabel("mine", by="person")
        assert named(replace(graph, labels={first: own}), book, tokenizer).labels[first] == own


def said(*tokens: int) -> Said:
    return Said(
        tokens=tokens, concentration=0.3, p_concentration=0.01, next=0.2, next_elsewhere=0.1, p_next=0.01,
        argmax=0.1, argmax_elsewhere=0.0, p_argmax=0.01,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "evidence", "position", "promoted", "expected"),
    [
        ("input", Evidence(density=0.1, rule="0={a digit}"), 3, (), True),
        ("input", Evidence(density=0.1, rule="0={a digit}"), 5, (), False),
        ("input", Evidence(density=0.1, rule="0={a digit}", strong=True), 5, (), None),
        ("input", Evidence(density=0.1, rule=f"-2={SEVEN} & 0={Y}"), 5, (), True),
        ("input", Evidence(density=0.1, rule=f"-2={SEVEN} & 0={Y}"), 0, (), False),
        ("cross", Evidence(density=0.1, rule=f"near={Y},{E},{A} x3"), 8, (), True),
        ("cross", Evidence(density=0.1, rule=f"near={Y},{E},{A} x4"), 8, (), False),
        ("output", Evidence(density=0.1, said=said(5, 6)), 0, (9, 6), True),
        ("output", Evidence(density=0.1, said=said(5, 6)), 0, (9, 8), False),
        ("both", Evidence(density=0.1, rule="0={a digit}", said=said(5)), 3, (5,), True),
        ("both", Evidence(density=0.1, rule="0={a digit}", said=said(5)), 3, (6,), False),
        ("both", Evidence(density=0.1, rule="0={a digit}"), 3, (6,), None),
        ("obscure", Evidence(density=0.1, rule="0={a digit}"), 3, (), None),
    ],
)
def test_a_label_holds_here_or_does_not(kind, evidence: Evidence, position: int, promoted, expected) -> None:
    one = replace(label(1, 2, "words", kind), evidence=evidence)
    assert agrees(one, TEXT, position, promoted, TOKENIZER) is expected
    assert agrees(replace(one, by="person"), TEXT, position, promoted, TOKENIZER) is None
    assert agrees(Label(one.layer, 2, kind, None, "rule", "No name."), TEXT, position, promoted, TOKENIZER) is None


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("1-1 of text", [0]),
        ("3-5 of text", [2, 3, 4]),
        ("1-2 of line", [0, 1, 9, 10]),
        ("1-1 of sentence", [0, 4, 9]),
    ],
)
def test_a_label_about_where_a_place_stands_holds_there(rule: str, holds: list[int]) -> None:
    one = replace(label(1, 2, "words"), evidence=Evidence(density=0.1, rule=rule))
    found = [agrees(one, SENTENCES, position, (), TOKENIZER) for position in range(len(SENTENCES))]
    assert [position for position, here in enumerate(found) if here] == holds
    front = TOKENIZER.front()
    if front and rule.endswith("text"):
        found = [agrees(one, (*front, *SENTENCES), position, (), TOKENIZER) for position in range(len(SENTENCES))]
        assert [position - len(front) for position, here in enumerate(found) if here] == holds


@pytest.mark.parametrize(
    "rule",
    [
        Near(tuple(range(12)), 1),
        Near(tuple(range(40)), 3),
        At("text", 2, 5),
        Where((Condition(-2, tuple(range(40))), Condition(0, tuple(range(20, 60))))),
        Where((Condition(-1, name="the inside of a word"),)),
    ],
    ids=str,
)
def test_a_label_holds_in_a_prompt_wherever_its_rule_was_tried(rule: Rule, atlas: Atlas, llama: Model) -> None:
    vocabulary, ids = Vocabulary.of(llama, atlas.text, 0), atlas.text.ids[0].astype(np.int64)

    def tokens(offset: int) -> np.ndarray:
        at = np.arange(len(ids)) + offset
        return np.where((at >= 0) & (at < len(ids)), ids[at % len(ids)], -1)

    wanted = rule.score(tokens, vocabulary) >= least_of(rule)
    one = replace(label(1, 2, "words", "cross"), evidence=Evidence(density=0.1, rule=str(rule)))
    found = [agrees(one, ids.tolist(), position, (), llama.tokenizer) for position in range(len(ids))]
    assert found == wanted.tolist()
