"""Batches of features as Neuronpedia takes them in: a folder for each layer, a JSON file for each hundred features."""

import json
from pathlib import Path

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.exchange.rendered import Group, Words, bars, groups
from micrographia.atlas.feature import Said
from micrographia.model.tokens import Tokenizer
from micrographia.store import Progress

__all__ = ["batch_content", "write_neuronpedia"]

_BATCH = 128
_TOP = (-1.0, 99.0, -1.0)
"""How the strongest examples are marked among bins."""


def write_neuronpedia(atlas: Atlas, tokenizer: Tokenizer, folder: Path, progress: Progress) -> None:
    """`LAYER-SET/batch-N.json`."""
    words = Words(tokenizer)
    for number, layer in enumerate(atlas.layers):
        progress("exporting", number, len(atlas.layers))
        place = folder / f"{layer}-{atlas.manifest.plan.basis.kind}"
        place.mkdir()
        n = atlas.n_features(layer)
        for batch, start in enumerate(range(0, n, _BATCH)):
            content = batch_content(atlas, words, layer, range(start, min(start + _BATCH, n)))
            (place / f"batch-{batch}.json").write_text(json.dumps(content), encoding="utf-8")
    progress("exporting", len(atlas.layers), len(atlas.layers))


def batch_content(atlas: Atlas, words: Words, layer: int, features: range) -> dict[str, object]:
    """Some features of a layer."""
    plan = atlas.manifest.plan
    return {
        "model_id": plan.model,
        "layer": layer,
        "sae_set": plan.basis.kind,
        "sae_id_suffix": None,
        "features": [_feature(atlas, words, layer, index) for index in features],
    }


def _feature(atlas: Atlas, words: Words, layer: int, index: int) -> dict[str, object]:
    feature, plan = atlas.feature(layer, index), atlas.manifest.plan
    drawn = bars(feature)
    return {
        "feature_index": index,
        "neg_str": words.said(feature.suppressed),
        "neg_values": _logits(feature.suppressed),
        "pos_str": words.said(feature.promoted),
        "pos_values": _logits(feature.promoted),
        "frac_nonzero": feature.density,
        "freq_hist_data_bar_values": drawn.middles,
        "freq_hist_data_bar_heights": drawn.counts,
        "logits_hist_data_bar_values": [],
        "logits_hist_data_bar_heights": [],
        "n_prompts_total": plan.n_windows,
        "n_tokens_in_prompt": plan.config.window,
        "dataset": f"corpus {plan.corpus_sha256}",
        "activations": [each for group in groups(feature) for each in _activations(group, words)],
    }


def _logits(said: tuple[Said, ...]) -> list[float]:
    return [each.logit for each in said]


def _activations(group: Group, words: Words) -> list[dict[str, object]]:
    low, high, share = _TOP if group.strongest else (group.low, group.high, group.share)
    return [
        {
            "bin_min": low,
            "bin_max": high,
            "bin_contains": share,
            "qualifying_token_index": example.at,
            "tokens": words.tokens(example),
            "values": list(example.activations),
        }
        for example in group.examples
    ]
