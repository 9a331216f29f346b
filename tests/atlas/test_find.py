"""A text's features are found with their places, and those that fire everywhere are worth nothing."""

import math

import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.find import fires_on, promotes
from micrographia.bases.transcoder import PerLayer
from micrographia.errors import CallError
from micrographia.ids import TokenId
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from tests.bases.evaluation.bases import per_layer


def test_it_finds_what_the_basis_finds(atlas: Atlas, llama: Model, basis: PerLayer) -> None:
    prompt = llama.tokenizer.from_ids([0, 7, 30, 8, 7, 30, 8, 60])
    found = {(each.layer, each.index): each for each in fires_on(atlas, llama, basis, prompt, top=10_000)}
    slow: dict[tuple[int, int], dict[int, float]] = {}
    for layer in basis.decompose(freeze(llama, prompt)).layers:
        for position, index, value in zip(layer.position, layer.feature, layer.activation, strict=True):
            if int(position):
                slow.setdefault((int(layer.layer), int(index)), {})[int(position)] = float(value)
    assert found.keys() == slow.keys()
    for key, each in found.items():
        assert dict(zip(each.positions, each.activations, strict=True)) == pytest.approx(slow[key], rel=1e-3)
        feature, (at, most) = atlas.feature(*key), each.strongest
        assert most == max(each.activations)
        assert each.activations[each.positions.index(at)] == most
        assert each.weaker == pytest.approx(feature.weaker(most))
        share, density = len(each.positions) / 7, (feature.count + 0.5) / 601
        bits = share * math.log2(share / density)
        if share < 1:
            bits += (1 - share) * math.log2((1 - share) / (1 - density))
        assert each.spread == pytest.approx(math.copysign(7 * bits, share - density))
        tail = max(1 - each.weaker, 1 / (feature.count + 1))
        assert each.peak == pytest.approx(-math.log2(density * tail))


def test_the_most_specific_come_first_and_layers_can_be_chosen(atlas: Atlas, llama: Model, basis: PerLayer) -> None:
    whole = fires_on(atlas, llama, basis, "t7 t8 t9 t10", top=1000)
    for by in ("peak", "spread"):
        bits = [getattr(each, by) for each in fires_on(atlas, llama, basis, "t7 t8 t9 t10", by=by, top=5)]
        assert bits == sorted((getattr(each, by) for each in whole), reverse=True)[:5]
    assert {each.layer for each in fires_on(atlas, llama, basis, "t7 t8", layers=(2,))} == {2}


def test_the_rarest_feature_stands_out_where_it_fires(atlas: Atlas, llama: Model, basis: PerLayer) -> None:
    counts = {(layer, i): n for layer in atlas.layers for i, n in enumerate(atlas.layer(layer).counts().tolist()) if n}
    rarest = min(counts, key=counts.__getitem__)
    example = atlas.feature(*rarest).strongest[0]
    start = example.place // 16 * 16
    ids, _ = atlas.text.tokens(start, 0, example.place - start)
    found = fires_on(atlas, llama, basis, llama.tokenizer.from_ids(ids), top=1000)
    rank = [(each.layer, each.index) for each in found].index(rarest)
    assert rank < len(found) / 4


def test_what_cannot_be_asked_gets_one_sentence(atlas: Atlas, llama: Model, basis: PerLayer) -> None:
    with pytest.raises(CallError, match="The first position does not count"):
        fires_on(atlas, llama, basis, llama.tokenizer.from_ids([5]))
    with pytest.raises(CallError, match="another basis"):
        fires_on(atlas, llama, per_layer(llama, "jumprelu", seed=9), "t7 t8")
    with pytest.raises(CallError, match="no layer 1"):
        fires_on(atlas, llama, basis, "t7 t8", layers=(1,))


def test_features_are_found_by_what_they_promote(atlas: Atlas) -> None:
    found = promotes(atlas, TokenId(9), top=4)
    assert 0 < len(found) <= 4
    assert [each.cosine for each in found] == sorted((each.cosine for each in found), reverse=True)
    for each in found:
        said = atlas.feature(each.layer, each.index).promoted[each.rank]
        assert (said.token, said.cosine) == (9, pytest.approx(each.cosine))
