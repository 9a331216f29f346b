"""Means over many graphs: those of the graphs themselves, on held-out prompts, with intervals over documents."""

import json

import pytest

from micrographia.bases.evaluation.card import EvaluationConfig
from micrographia.bases.evaluation.passages import draw
from micrographia.bases.evaluation.tables import remarks, tables_of
from micrographia.corpus.corpus import Corpus
from micrographia.errors import CallError
from micrographia.graph.build import graph_of
from micrographia.graph.survey import survey
from micrographia.graph.tracing import trace
from tests.bases.evaluation.conftest import corpus, rectified
from tests.bases.evaluation.test_evaluation import SMALL, subject
from tests.graph.oracle import basis_for

__all__ = ["corpus", "rectified"]

ASKED = EvaluationConfig(graphs=5, graph_tokens=8, graph_nodes=12, draws=100)


def test_the_means_are_those_of_the_graphs(corpus: Corpus, tiny) -> None:
    model = tiny("llama")
    basis = basis_for("per-layer", model)
    (row,) = survey(model, corpus, {"mine": basis}, ASKED)
    passages = draw(corpus, "heldout", length=8, positions=5 * 7, seed=0, shortest=8)
    graphs = [
        graph_of(trace(model, basis, model.tokenizer.from_ids(each.ids), max_nodes=12)) for each in passages.passages
    ]
    assert (row.name, row.prompts, row.documents) == ("mine", 5, passages.n_documents)
    assert row.replacement.value == pytest.approx(sum(g.scores.trace.replacement for g in graphs) / 5)
    assert row.shown_completeness.value == pytest.approx(sum(g.scores.shown.completeness for g in graphs) / 5)
    assert row.peer_replacement.value == pytest.approx(sum(g.scores.peer.replacement for g in graphs) / 5)
    assert row.nodes.value == sum(len(g.nodes) for g in graphs) / 5
    assert row.edges.value == sum(len(g.edges) for g in graphs) / 5
    assert row.active.value == sum(g.facts.n_active for g in graphs) / 5
    assert row.nodes.low <= row.nodes.value <= row.nodes.high


def test_neurons_leave_no_error_but_what_got_no_row(corpus: Corpus, tiny) -> None:
    config = ASKED.model_copy(update={"graph_nodes": 10_000})
    (row,) = survey(tiny("gpt2"), corpus, {"neurons": "neurons"}, config)
    few = survey(tiny("gpt2"), corpus, {"neurons": "neurons"}, ASKED.model_copy(update={"graph_nodes": 2}))[0]
    assert row.completeness.value > few.completeness.value
    assert row.path_length.value > few.path_length.value


def test_the_card_shows_them(corpus: Corpus, tiny) -> None:
    from micrographia.bases.evaluation.evaluation import evaluate

    model = tiny("llama")
    basis = basis_for("per-layer", model)
    card = evaluate(model, corpus, subject(model, basis), config=SMALL)
    assert "Graphs" not in [table.title for table in tables_of(card)]
    rows = survey(model, corpus, {"mine": basis, "neurons": "neurons"}, ASKED)
    card = card.model_copy(update={"graphs": rows})
    (table,) = [table for table in tables_of(card) if table.title == "Graphs"]
    assert [line[0] for line in table.rows] == ["mine", "neurons"]
    assert all(len(line) == len(table.head) for line in table.rows)
    assert table.rows[0][1].startswith(f"{rows[0].replacement.value:.3f} [")
    assert "means over 5 prompts" in " ".join(remarks(card))
    assert json.loads(card.model_dump_json())["graphs"][1]["name"] == "neurons"


def test_one_graph_has_no_mean(corpus: Corpus, tiny) -> None:
    with pytest.raises(CallError, match="at least 2 graphs, and 1"):
        survey(tiny("llama"), corpus, {}, ASKED.model_copy(update={"graphs": 1}))
