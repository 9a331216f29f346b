"""Promoted tokens are those that the unembedding itself says, ranked by the cosine."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from micrographia.atlas.effects import Effects, row_norms, written_by
from micrographia.bases.neurons import Neurons
from micrographia.ids import Layer
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from tests.bases.evaluation.bases import cross_layer, normal, per_layer


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3"])
def test_logits_are_those_of_the_frozen_run_but_for_its_scale(family: str, tiny: Callable[[str], Model]) -> None:
    model = tiny(family)
    frozen = freeze(model, model.tokenizer.from_ids([0, 5, 9, 30]))
    written = normal(6, model.anatomy.d_model, seed=3)
    logits = frozen.promotes(written, -1) * frozen.final_norm_scale[-1]
    logits = logits - logits.mean(-1, keepdim=True)
    found = Effects.of(model.weights).ends(written, 80)
    for row in range(6):
        wanted = logits[row][torch.from_numpy(found["promoted.token"][row].astype(int))].numpy()
        assert np.allclose(found["promoted.logit"][row], wanted, rtol=2e-3, atol=2e-3)
        lengths = (
            logits[row].numpy() / found["promoted.cosine"][row].astype(float)[np.argsort(found["promoted.token"][row])]
        )
        assert (lengths > 0).all()


def test_tokens_are_ranked_by_the_cosine(llama: Model) -> None:
    weights = llama.weights
    rows = weights.unembed.weight * weights.final_norm.gain
    rows = rows - rows.mean(0)
    written = normal(5, llama.anatomy.d_model, seed=8)
    cosines = torch.nn.functional.cosine_similarity(written[:, None], rows[None], dim=-1)
    found = Effects.of(weights).ends(written, 7)
    assert found["promoted.token"].tolist() == cosines.topk(7).indices.tolist()
    assert found["suppressed.token"].tolist() == cosines.topk(7, largest=False).indices.tolist()
    assert np.allclose(found["promoted.cosine"], cosines.topk(7).values, atol=1e-3)
    assert found["promoted.token"].dtype == np.uint16
    assert found["promoted.cosine"].max() <= 1


def test_a_feature_that_writes_a_tokens_own_direction_promotes_it(llama: Model) -> None:
    effects = Effects.of(llama.weights)
    found = effects.ends(effects.directions[[7, 11]], 3)
    assert found["promoted.token"][:, 0].tolist() == [7, 11]
    assert np.allclose(found["promoted.cosine"][:, 0], 1, atol=1e-3)


@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_what_neurons_write_goes_through_the_post_norm(family: str, tiny: Callable[[str], Model]) -> None:
    model = tiny(family)
    frozen = freeze(model, model.tokenizer.from_ids([0, 5, 9]))
    wanted = Neurons().decompose(frozen).layers[1].writes[Layer(1)].rows
    assert torch.equal(written_by(Neurons(), model.weights, Layer(1)), wanted)


def test_a_cross_layer_feature_counts_with_all_that_it_writes(llama: Model) -> None:
    cross, plain = cross_layer(llama), per_layer(llama)
    assert torch.equal(written_by(cross, llama.weights, Layer(0)), cross.decoders[Layer(0)].sum(0))
    assert torch.equal(written_by(plain, llama.weights, Layer(1)), plain.layers[Layer(1)].decoder)
    assert torch.allclose(row_norms(cross.biases[Layer(0)][None]), cross.biases[Layer(0)].norm()[None])
