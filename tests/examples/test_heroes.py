"""The rule by which a concept is found, and the page that is written."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import micrographia as mg
from examples import heroes as example
from examples.heroes import Hero, cell, heroes, kinds, look, page, shown, traced, unguessed, usable
from micrographia.graph.graph import Graph, NodeLabel
from micrographia.graph.promoted import Promoted
from micrographia.labels.store import LabelBook
from tests.graph.graphs import small_graph
from tests.labels.made import PROVENANCE, label
from tests.model.conftest import save_tiny

HERO = Hero("two-hop", "The language where the Tower is", " French", "France", ("France", "Paris", "language"))
OTHER = Hero("two-hop", "The other one", " x", "Italy", ("Italy", "France"))


def saying(pieces: dict[int, str], prepended: int = 1) -> Graph:
    """A graph whose feature i promotes the token i, and nothing else."""
    graph = small_graph(0)
    n = graph.nodes.spans["feature"].stop
    own = np.arange(n)[:, None]
    zeros = np.zeros((n, 1))
    words = {i: pieces.get(i, f"w{i}") for i in range(n)}
    prompt = replace(graph.prompt, prepended=prepended)
    return replace(graph, prompt=prompt, promoted=Promoted(own, zeros + 1, own, zeros, words), supernodes=())


def inside(graph: Graph) -> list[int]:
    """Features at positions of the prompt itself."""
    return [i for i in range(graph.nodes.spans["feature"].stop) if graph.nodes.position[i] > 0]


def test_there_are_a_dozen_heroes_of_different_kinds_and_each_has_words_to_look_for() -> None:
    everybody = heroes()
    assert len(everybody) == 12
    assert len({hero.kind for hero in everybody}) >= 7
    assert all(usable(hero.words, hero) for hero in everybody)


def test_words_of_the_prompt_and_the_answer_do_not_count() -> None:
    assert usable(("France", "LANGUAGE", "french"), HERO) == {"france"}


def test_a_concept_is_shown_where_a_part_of_the_prompt_promotes_its_word() -> None:
    first, second = inside(saying({}))[:2]
    graph = saying({first: "␣France", second: "francely"})
    found = shown(graph, frozenset({"france"}))
    assert [part.members for part in found.parts] == [(first,)]
    assert found.share == pytest.approx(graph.nodes.influence[first])


def test_what_stands_in_front_of_every_prompt_shows_nothing() -> None:
    graph = saying({})
    front = next(i for i in range(graph.nodes.spans["feature"].stop) if graph.nodes.position[i] == 0)
    words = frozenset({"france"})
    assert shown(saying({front: "␣France"}), words).parts == ()
    assert shown(saying({front: "␣France"}, prepended=0), words).parts != ()


def test_the_control_asks_for_the_concepts_of_others_without_ones_own_words() -> None:
    first = inside(saying({}))[0]
    mine = look(HERO, saying({first: "␣France"}), (HERO, OTHER), "x", 0.5, 1.0)
    assert (bool(mine.own.parts), mine.others, mine.of) == (True, 0, 1)
    theirs = look(HERO, saying({first: "␣Italy"}), (HERO, OTHER), "x", 0.5, 1.0)
    assert (bool(theirs.own.parts), theirs.others, theirs.of) == (False, 1, 1)


def test_a_graph_that_was_kept_is_not_traced_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny("llama", tmp_path / "tiny")
    scope = mg.open(str(tmp_path / "tiny"))
    hero = replace(HERO, prompt="t3 t14 t15")
    graph, _ = traced(scope, hero, tmp_path / "kept" / "00")
    monkeypatch.setattr(example, "load_graph", lambda folder: (folder, graph)[1])
    again, _ = traced(scope, hero, tmp_path / "kept" / "00")
    assert again is graph


def test_the_page_has_each_figure_and_its_control() -> None:
    first = inside(saying({}))[0]
    found = look(HERO, saying({first: "␣France"}), (HERO, OTHER), "␣Fre|nch", 0.5, 12.0)
    text = page([("neurons", [found], None)])
    assert found.graph.scores is not None
    s = found.graph.scores
    assert f"{s.shown.completeness:.2f} / {s.trace.completeness:.2f} / {s.peer.completeness:.2f}" in text
    assert "The concept is shown in 1 of 1 graphs (100%); concepts of other prompts in 0 of 1 questions (0%)." in text
    assert "`␣Fre¦nch` 0.50" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {12, 6}


def test_a_cell_cannot_break_out_of_its_table() -> None:
    assert cell("a|b`c\nd") == "`a¦b'c⏎d`"


def test_a_label_is_listed_where_the_promoted_tokens_do_not_say_it(tmp_path: Path) -> None:
    graph = saying({})
    first, second, third = sorted(inside(graph), key=lambda i: -graph.nodes.influence[i])[:3]
    names = [graph.nodes.id(i) for i in (first, second, third)]
    graph = saying({first: "␣year", second: "␣months"})
    texts = {names[0]: "years", names[1]: "a capital after Mr", names[2]: ""}
    graph = replace(graph, labels={name: NodeLabel(text, "input", 0.9, "rule") for name, text in texts.items()})
    with LabelBook.create(tmp_path / "atlas.labels") as book:
        layer, index = names[1].layer or 0, names[1].index or 0
        book.write(layer, [label(layer, index, "a capital after Mr")], PROVENANCE)
        (one,) = unguessed(graph, book)
        assert (one.node, one.here.text) == (names[1], "a capital after Mr")
        found = look(HERO, graph, [HERO, OTHER], "␣French", 0.9, 1.0)
        written = page([("transcoders", [found], book)])
    assert "`a capital after Mr` | input | 0.90 | 0.50, 0.55, 0.60 |" in written
    weights = graph.nodes.influence[graph.nodes.spans["feature"]]
    named = weights[[first, second]].sum() / weights.sum()
    assert kinds(graph).endswith(f"| {named:.0%}")
