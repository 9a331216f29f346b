"""What an atlas knows of a feature, as the page is told it."""

import numpy as np
import pytest

from micrographia.atlas.feature import Examples, Feature, Said
from micrographia.atlas.strength import N_BINS
from micrographia.atlas.text import Text
from micrographia.ids import Layer, TokenId
from micrographia.report.wire.features import feature_document


def feature() -> Feature:
    """Active at three places of a text of eight tokens, at 1, 2 and 4."""
    none = np.zeros(1, np.uint32)
    text = Text(np.arange(16, dtype=np.uint16).reshape(2, 8), none, none, none.astype(np.uint16))
    histogram = np.zeros(N_BINS, np.int64)
    histogram[[3, 4, 9]] = [5, 1, 2]
    activation = np.array([4.0, 2.0, 1.0])
    near = np.zeros((3, 3), np.uint8)
    found = Examples(text, np.array([3, 7, 8], np.uint32), activation, near, 1, 1)
    said = (Said(TokenId(5), 0.5, 1.23456),)
    return Feature(Layer(2), 7, 8, 1000, 1.5, 3.0, 4.0, 1, 1, histogram, found, found, said, said)


def test_examples_are_the_texts_tokens_around_the_place() -> None:
    told = feature_document(feature(), lambda token: f"t{token}", strongest=2)
    assert [(each.tokens, each.at) for each in told.strongest] == [(("t2", "t3", "t4"), 1), (("t6", "t7"), 1)]
    assert len(told.deciles) == 10
    assert sum(map(len, told.deciles)) == 3
    assert told.promoted[0].token == "t5"
    assert told.promoted[0].logit == pytest.approx(1.235)


def test_the_histogram_is_cut_to_where_there_is_something() -> None:
    known = feature()
    told = feature_document(known, str)
    assert told.histogram.counts == (5, 1, 0, 0, 0, 0, 2)
    assert told.histogram.edges == pytest.approx(known.edges[3:11].tolist(), rel=1e-3)
    assert (told.density, told.count, told.negative, told.label) == (0.008, 8, 1, None)
