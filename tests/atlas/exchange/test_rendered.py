"""Rendered features keep the counts and the text of the atlas."""

import numpy as np
import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.exchange.rendered import PER_DECILE, Words, bars, groups
from tests.corpus.bytewise import bytewise


def busiest(atlas: Atlas, layer: int = 0) -> int:
    return int(np.argmax(atlas.layer(layer).counts()))


def test_bars_hold_every_activation_between_the_weakest_and_the_strongest(atlas: Atlas) -> None:
    feature = atlas.feature(0, busiest(atlas))
    drawn = bars(feature, 20)
    assert sum(drawn.counts) == pytest.approx(feature.count)
    assert drawn.high == feature.largest
    assert drawn.low < drawn.middles[0] < drawn.middles[-1] < drawn.high
    middle = (drawn.low + drawn.high) / 2
    assert sum(drawn.counts[:10]) == pytest.approx(feature.weaker(middle) * feature.count)


def test_groups_are_the_strongest_and_then_the_tenths_downwards(atlas: Atlas) -> None:
    feature = atlas.feature(0, busiest(atlas))
    first, *rest = groups(feature)
    assert (first.strongest, first.high) == (True, feature.largest)
    assert [e.place for e in first.examples] == [e.place for e in feature.strongest]
    assert [group.low for group in rest] == sorted((group.low for group in rest), reverse=True)
    for group in rest:
        assert 0 < len(group.examples) <= PER_DECILE
        assert all(group.low * 0.99 <= e.activation <= group.high * 1.01 for e in group.examples)


def test_bytes_that_are_no_character_are_written_out() -> None:
    tokenizer = bytewise()
    words = Words(tokenizer)
    ids = tokenizer.encode("é a")
    assert [words(token) for token in ids] == ["\\xc3", "\\xa9", " ", "a"]
