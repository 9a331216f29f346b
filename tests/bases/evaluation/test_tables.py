"""Every figure of a card stands in its tables, with its interval."""

import re

import pytest

from micrographia.bases.evaluation.card import Card, RoundingLoss
from micrographia.bases.evaluation.evaluation import evaluate
from micrographia.bases.evaluation.tables import markdown, remarks, tables_of
from micrographia.corpus.corpus import Corpus
from tests.bases.evaluation.bases import per_layer
from tests.bases.evaluation.test_evaluation import SMALL, subject


@pytest.fixture(scope="module")
def card(corpus: Corpus, tiny) -> Card:
    model = tiny("llama")
    return evaluate(model, corpus, subject(model, per_layer(model), "a|b"), config=SMALL)


def test_tables_are_as_wide_as_their_heads(card: Card) -> None:
    tables = tables_of(card)
    assert [table.title for table in tables] == [
        "Left unexplained",
        "In the model's place",
        "a|b, minus",
        "Left unexplained, layer by layer",
        "One layer in the model's place",
    ]
    assert [len(table.rows) for table in tables] == [5, 5, 4, 3, 3]
    assert all(len(row) == len(table.head) for table in tables for row in table.rows)


def test_a_cell_is_a_figure_and_its_interval(card: Card) -> None:
    fit, use, apart, layers, _ = tables_of(card)
    row = card.rows[0]
    assert fit.rows[0][1] == f"{row.fvu.value:.3f} [{row.fvu.low:.3f}, {row.fvu.high:.3f}]"
    assert fit.rows[0][5] == f"{row.dead:.1%}"
    assert fit.rows[-1][4:] == ("–",) * 5
    assert use.rows[0][6].startswith(f"{row.kl.value:.3f} [")
    assert apart.rows[0][0] == "neurons at equal L0"
    assert layers.rows[2][0] == "2"
    assert layers.rows[2][2].startswith(f"{row.layers[2].fvu_median.value:.3f} [")


def test_remarks_name_the_denominator_and_the_text(card: Card) -> None:
    said = " ".join(remarks(card))
    assert "Σ‖y−ŷ‖² / Σ‖y−ȳ‖²" in said
    assert re.search(r"reconstruction \d+ \(\d+ documents\)", said)
    assert "Position 0 of every passage" in said
    assert "Rounding" not in said
    rounded = card.model_copy(update={"rounding": RoundingLoss(overall=0.01, worst=0.02, where="decoder of layer 1")})
    assert "weights off by 1.00e-02 of their size, at worst 2.00e-02 (decoder of layer 1)" in " ".join(remarks(rounded))


def test_the_page_holds_every_table_and_where_it_comes_from(card: Card) -> None:
    page = markdown(card)
    assert page.startswith("# a|b\n\nper-layer, 120 features; ")
    assert page.count("\n| --- |") == 5
    assert r"| a\|b | " in page
    assert card.provenance.corpus_sha256 in page
    assert card.provenance.model_sha256 in page
    assert page == markdown(card)
