"""Shares, quantiles and deciles of a feature agree with each other; examples are what stands in the text."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.feature import DECILES, Examples, Feature, share_weaker
from micrographia.atlas.strength import N_BINS, bin_edges
from micrographia.atlas.text import Text
from micrographia.ids import Layer


def some(atlas: Atlas) -> list[Feature]:
    found = [atlas.feature(layer, index) for layer in atlas.layers for index in range(40)]
    return [feature for feature in found if feature.count > 20]


def atlas_feature(histogram: np.ndarray, exponent: int) -> Feature:
    """A feature with a histogram and no examples."""
    none = np.zeros(0, np.uint32)
    text = Text(np.zeros((1, 4), np.uint16), none, none, none.astype(np.uint16))
    empty = Examples(text, none, np.zeros(0), np.zeros((0, 3), np.uint8), exponent, 1)
    n = int(histogram.sum())
    return Feature(Layer(0), 0, n, 999, 1.0, 1.0, 1.0, 0, exponent, histogram, empty, empty, (), ())


@given(counts=st.lists(st.integers(0, 9), min_size=N_BINS, max_size=N_BINS).filter(any), share=st.floats(0.01, 0.99))
def test_the_share_below_a_quantile_is_that_share(counts: list[int], share: float) -> None:
    histogram, edges = np.array([counts], dtype=np.int64), bin_edges(1)
    last = int(np.flatnonzero(histogram[0])[-1])
    feature = replace(atlas_feature(histogram[0], 1), largest=float(edges[last + 1]))
    value = feature.quantile(share)
    assert share_weaker(histogram, 1, np.array([value]))[0] == pytest.approx(share, abs=1e-6)
    assert feature.weaker(value) == pytest.approx(share, abs=1e-6)


def test_figures_make_sense(atlas: Atlas) -> None:
    assert len(some(atlas)) > 30
    for feature in some(atlas):
        assert 0 < feature.mean <= feature.largest
        assert 0 <= feature.deviation < feature.largest
        assert feature.density == feature.count / 600
        values = [feature.quantile(i / 10) for i in range(11)]
        assert values == sorted(values)
        assert feature.weaker(0.0) == 0
        assert feature.weaker(feature.largest * 2) == 1
        assert f"{feature.layer}/{feature.index}" in repr(feature)


def test_deciles_part_the_sample_by_strength(atlas: Atlas) -> None:
    for feature in some(atlas):
        deciles = feature.deciles()
        assert len(deciles) == DECILES
        assert sum(map(len, deciles)) == len(feature.sample)
        for tenth, examples in enumerate(deciles):
            assert all(feature.decile(example.activation) == tenth for example in examples)
        tops = [max(e.activation for e in examples) for examples in deciles if len(examples)]
        assert tops == sorted(tops)


def test_examples_are_read_from_the_text(atlas: Atlas) -> None:
    feature = max(some(atlas), key=lambda each: each.count)
    assert [e.activation for e in feature.strongest] == sorted((e.activation for e in feature.strongest), reverse=True)
    assert feature.strongest[0].activation == feature.largest
    for example in (*feature.strongest, *feature.sample):
        window, position = divmod(example.place, 16)
        assert example.tokens[example.at] == atlas.text.ids[window, position]
        assert example.activations[example.at] == pytest.approx(example.activation, rel=0.07)
        assert len(example.tokens) == len(example.activations)
        assert example.document == atlas.text.document(example.place)
    assert len(feature.sample[1:3]) == 2
    assert feature.sample[1:3][0] == feature.sample[1]
    assert feature.sample.documents().tolist() == [e.document for e in feature.sample]


def test_tokens_beside_are_counted_over_the_sample(atlas: Atlas) -> None:
    feature = max(some(atlas), key=lambda each: each.count)
    for offset in (-1, 0, 1, 3):
        tokens = []
        for example in feature.sample:
            window, position = divmod(example.place, 16)
            if 0 <= position + offset < 16:
                tokens.append(int(atlas.text.ids[window, position + offset]))
        found = feature.beside(offset, top=100)
        assert sum(each.share for each in found) == pytest.approx(1)
        for each in found:
            assert each.share == pytest.approx(tokens.count(each.token) / len(tokens))
        assert [each.share for each in found] == sorted((each.share for each in found), reverse=True)


def test_a_feature_that_never_fired_is_quiet() -> None:
    dead = atlas_feature(np.zeros(N_BINS, np.int64), 0)
    assert (dead.density, dead.quantile(0.5), dead.weaker(1.0), dead.beside(0)) == (0, 0, 0, ())
    assert [len(examples) for examples in dead.deciles()] == [0] * DECILES
