"""The two passes against the model's own run, and a forward pass with a stand-in against one written by hand."""

import pytest
import torch

from micrographia.bases.evaluation.passes import everywhere, watch
from micrographia.bases.evaluation.standin import CrossLayerStandIn, MlpView, NeuronStandIn, PerLayerStandIn
from micrographia.bases.transcoder import CrossLayer, PerLayer
from micrographia.ids import Layer
from micrographia.model.edits import at
from micrographia.model.model import Model
from tests.bases.evaluation.bases import cross_layer, only_batch, per_layer, some_passages

EXACT = 1e-9
LENGTHS = (9, 6, 4)


def prompts(model: Model, passages):
    return [model.tokenizer.from_ids(passage.ids) for passage in passages.passages]


def spliced_by_hand(model: Model, passages, basis: PerLayer | CrossLayer):
    """The residual behind the last block, each passage alone, its MLPs written by the equations of the basis."""
    found = []
    for prompt in prompts(model, passages):
        inputs: dict[int, torch.Tensor] = {}

        def look(act, site, /, inputs=inputs):
            inputs[site.layer] = act[0]

        def write(act, site, /, inputs=inputs):
            layer, x = site.layer, inputs[site.layer]
            if isinstance(basis, PerLayer):
                if layer not in basis.layers:
                    return act
                new = basis.layers[layer](x)
            else:
                new = basis.biases[layer] + torch.zeros_like(x)
                for source, encoder in basis.encoders.items():
                    if source <= layer:
                        new = new + encoder(inputs[source]) @ basis.decoders[source][layer - source]
                if layer in basis.skips:
                    new = new + x @ basis.skips[layer].T
            return torch.cat([act[:, :1], new[None, 1:]], dim=1)

        last = f"resid_post.{model.anatomy.n_layers - 1}"
        run = model.run(prompt, readers={"mlp_in": look}, edit=at("mlp_out").apply(write), read=[last])
        found.append(run[last][0])
    return found


def test_a_watched_pass_shows_every_mlp_and_changes_nothing(model: Model) -> None:
    passages = some_passages(*LENGTHS)
    batch = only_batch(passages)
    seen: list[tuple[int, MlpView, torch.Tensor]] = []
    clean = watch(model, batch, lambda view, y: seen.append((view.layer, view, y)), residuals=True)
    run = model.run(prompts(model, passages), read=["mlp_in", "post", "mlp_out", "resid_post"])
    assert [layer for layer, _, _ in seen] == [0, 1, 2]
    for layer, view, y in seen:
        assert torch.equal(view.x, run[f"mlp_in.{layer}"].flatten(0, 1))
        assert torch.equal(view.post, run[f"post.{layer}"].flatten(0, 1))
        assert torch.equal(y, run[f"mlp_out.{layer}"].flatten(0, 1))
        assert torch.equal(clean.residuals[Layer(layer)], run[f"resid_post.{layer}"])
        assert torch.equal(clean.first[Layer(layer)], run[f"mlp_out.{layer}"][:, 0])
    assert torch.equal(clean.last, run["resid_post.2"])


def test_chosen_positions_are_shown_in_their_order(tiny) -> None:
    model, passages = tiny("llama"), some_passages(*LENGTHS)
    batch = only_batch(passages)
    shown: list[torch.Tensor] = []
    clean = watch(model, batch, lambda view, y: shown.append(y), where=batch.counted)
    run = model.run(prompts(model, passages), read=["mlp_out"])
    rows = [run["mlp_out.2"][row, 1:length] for row, length in enumerate(LENGTHS)]
    assert torch.equal(shown[2], torch.cat(rows))
    assert list(clean.residuals) == [2]


@pytest.mark.parametrize("kind", ["per-layer", "skip", "cross-layer", "missing"])
def test_a_stand_in_everywhere_is_the_forward_pass_written_by_hand(model: Model, kind: str) -> None:
    basis = (
        cross_layer(model, skip=True)
        if kind == "cross-layer"
        else per_layer(model, skip=kind == "skip", layers=(0, 2) if kind == "missing" else (0, 1, 2))
    )
    stand_in = PerLayerStandIn(basis) if isinstance(basis, PerLayer) else CrossLayerStandIn(basis, 3)
    passages = some_passages(*LENGTHS)
    batch = only_batch(passages)
    found = everywhere(model, batch, stand_in, watch(model, batch))
    for row, expected in enumerate(spliced_by_hand(model, passages, basis)):
        assert (found[row, : len(expected)] - expected).abs().max() <= EXACT
    assert (found - watch(model, batch).last).abs().max() > 0.1


def test_all_neurons_everywhere_are_the_model(model: Model) -> None:
    batch = only_batch(some_passages(*LENGTHS))
    clean = watch(model, batch)
    found = everywhere(model, batch, NeuronStandIn(model), clean)
    assert (found - clean.last)[batch.batch.real].abs().max() <= EXACT
