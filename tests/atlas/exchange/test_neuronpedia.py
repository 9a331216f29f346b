"""Batches hold what Neuronpedia's dashboards are made of, under its names."""

import json
from pathlib import Path

import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.exchange.export import export_atlas
from micrographia.model.model import Model

FEATURE = {
    "feature_index",
    "neg_str",
    "neg_values",
    "pos_str",
    "pos_values",
    "frac_nonzero",
    "freq_hist_data_bar_values",
    "freq_hist_data_bar_heights",
    "logits_hist_data_bar_values",
    "logits_hist_data_bar_heights",
    "n_prompts_total",
    "n_tokens_in_prompt",
    "dataset",
    "activations",
}
"""Of sae-dashboard 0.8.0 (`NeuronpediaDashboardFeature`), those that an atlas can fill."""
ACTIVATION = {"bin_min", "bin_max", "bin_contains", "qualifying_token_index", "tokens", "values"}


def test_batches_hold_every_feature_under_its_names(atlas: Atlas, llama: Model, tmp_path: Path) -> None:
    export_atlas(atlas, llama.tokenizer, "neuronpedia", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0-per-layer", "2-per-layer"]
    batch = json.loads((tmp_path / "out" / "2-per-layer" / "batch-0.json").read_text())
    assert {key: batch[key] for key in ("model_id", "layer", "sae_set", "sae_id_suffix")} == {
        "model_id": "llama0",
        "layer": 2,
        "sae_set": "per-layer",
        "sae_id_suffix": None,
    }
    assert [each["feature_index"] for each in batch["features"]] == list(range(40))
    for each in batch["features"]:
        feature = atlas.feature(2, each["feature_index"])
        assert each.keys() == FEATURE
        assert each["frac_nonzero"] == feature.density
        assert each["pos_values"] == [said.logit for said in feature.promoted]
        assert sum(each["freq_hist_data_bar_heights"]) == pytest.approx(feature.count)
        assert len(each["freq_hist_data_bar_heights"]) == len(each["freq_hist_data_bar_values"])
        marked = [one for one in each["activations"] if one["bin_min"] == -1]
        assert len(marked) == len(feature.strongest)
        for one in each["activations"]:
            assert one.keys() == ACTIVATION
            assert len(one["tokens"]) == len(one["values"])
            assert one["values"][one["qualifying_token_index"]] > 0
