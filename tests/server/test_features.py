"""Features by description are those that a slow look at every one of them finds; labels are kept beside the atlas."""

import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.errors import CallError, MicrographiaError
from micrographia.labels.beside import labels_place
from micrographia.labels.store import LabelBook
from micrographia.server.features import Features, Filters
from tests.atlas.conftest import atlas, basis, corpus, llama

__all__ = ["atlas", "basis", "corpus", "llama"]


@pytest.fixture
def features(atlas: Atlas, llama):
    yield Features(atlas, llama.tokenizer)
    for end in ("", "-wal", "-shm"):
        place = labels_place(atlas.folder)
        place.with_name(place.name + end).unlink(missing_ok=True)


def slow(atlas: Atlas, wanted) -> set[tuple[int, int]]:
    """Every feature that something holds for, one after the other."""
    every = ((layer, index) for layer in atlas.layers for index in range(atlas.n_features(layer)))
    return {(int(layer), index) for layer, index in every if wanted(atlas.feature(layer, index))}


def shown(features: Features, **wanted: object) -> set[tuple[int, int]]:
    """All pages of what is found."""
    found: list[tuple[int, int]] = []
    while True:
        page = features.matching(Filters(**wanted, offset=len(found), limit=7))
        found += [(row.layer, row.index) for row in page.rows]
        if len(found) == page.total:
            assert len(set(found)) == page.total
            return set(found)


def test_all_features_come_page_by_page(features: Features, atlas: Atlas) -> None:
    assert shown(features) == slow(atlas, lambda one: True)
    assert features.matching(Filters(offset=10**6)).rows == ()
    first = atlas.layers[0]
    assert shown(features, layer=int(first)) == slow(atlas, lambda one: one.layer == first)


def test_density_bounds_are_those_of_the_features(features: Features, atlas: Atlas) -> None:
    low, high = 0.05, 0.3
    found = shown(features, density_min=low, density_max=high)
    assert found == slow(atlas, lambda one: low <= one.density <= high)
    assert found


def test_a_promoted_token_finds_its_features_those_that_promote_it_most_first(
    features: Features, atlas: Atlas, llama
) -> None:
    token = int(atlas.feature(atlas.layers[0], 3).promoted[0].token)
    piece = llama.tokenizer.decode([token])
    found = shown(features, promotes=piece)
    assert found == slow(atlas, lambda one: token in [int(said.token) for said in one.promoted])
    rows = features.matching(Filters(promotes=piece, limit=100)).rows
    told = [atlas.feature(row.layer, row.index).promoted for row in rows]
    cosines = [next(said.cosine for said in one if said.token == token) for one in told]
    assert cosines == sorted(cosines, reverse=True)
    with pytest.raises(CallError, match="no token"):
        features.matching(Filters(promotes="nothing of the kind"))


def test_a_label_of_ones_own_is_kept_found_and_taken_back(features: Features, atlas: Atlas) -> None:
    layer, hostile = int(atlas.layers[0]), "<b>Towers</b> & spires"
    assert features.label(layer, 2) is None
    said = features.say(layer, 2, hostile)
    assert said is not None
    assert (said.text, said.by, said.score) == (hostile, "person", None)
    assert features.one(layer, 2).label == said
    assert shown(features, text="tOWERS") == {(layer, 2)}
    with LabelBook.open(labels_place(atlas.folder)) as book:
        assert book.label(layer, 2).text == hostile
    assert features.say(layer, 2, "  ") is None
    assert shown(features, text="towers") == set()


@pytest.mark.parametrize("text", ["a\nb", "x" * 513, "\x1b[31m"])
def test_a_label_that_is_no_line_of_text_is_refused(features: Features, atlas: Atlas, text: str) -> None:
    with pytest.raises(MicrographiaError):
        features.say(int(atlas.layers[0]), 2, text)


def test_features_that_are_not_there_are_refused(features: Features) -> None:
    for layer, index in ((99, 0), (0, 10**6)):
        with pytest.raises(CallError):
            features.one(layer, index)
        with pytest.raises(CallError):
            features.say(layer, index, "x")
    with pytest.raises(CallError):
        features.matching(Filters(layer=99))
