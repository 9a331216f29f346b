"""The feature files that circuit-tracer's page and Anthropic's draw: JSON for each feature, found through an index.

A layer is one `.bin` file: for each feature four bytes with a length, then so many bytes of deflated JSON. The index
says where each begins, so that one feature is fetched by a byte range.
"""

import gzip
import json
import zlib
from pathlib import Path

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.exchange.rendered import Words, bars, groups
from micrographia.atlas.feature import Examples, Feature
from micrographia.model.tokens import Tokenizer
from micrographia.store import Progress

__all__ = ["feature_content", "write_circuit_tracer"]

_PERCENTILES = 100


def write_circuit_tracer(atlas: Atlas, tokenizer: Tokenizer, folder: Path, progress: Progress) -> None:
    """`features/index.json.gz` and a `.bin` for each layer."""
    place, words = folder / "features", Words(tokenizer)
    place.mkdir()
    index: dict[str, object] = {}
    for number, layer in enumerate(atlas.layers):
        progress("exporting", number, len(atlas.layers))
        name, offsets = f"layer_{layer}.bin", [0]
        with (place / name).open("wb") as stream:
            for feature in range(atlas.n_features(layer)):
                packed = zlib.compress(json.dumps(feature_content(atlas, words, layer, feature)).encode())
                stream.write(len(packed).to_bytes(4, "little") + packed)
                offsets.append(offsets[-1] + 4 + len(packed))
        index[str(layer)] = {"filename": name, "offsets": offsets}
    (place / "index.json.gz").write_bytes(gzip.compress(json.dumps(index).encode(), mtime=0))
    progress("exporting", len(atlas.layers), len(atlas.layers))


def feature_content(atlas: Atlas, words: Words, layer: int, index: int) -> dict[str, object]:
    """One feature as its page reads it."""
    feature = atlas.feature(layer, index)
    drawn = bars(feature)
    return {
        "transcoder_id": f"{atlas.manifest.plan.basis.name or atlas.manifest.plan.basis.kind}-{layer}",
        "index": index,
        "examples_quantiles": [
            {"quantile_name": group.name, "examples": _examples(group.examples, words)} for group in groups(feature)
        ],
        "top_logits": words.said(feature.promoted),
        "bottom_logits": words.said(feature.suppressed),
        "act_min": drawn.low,
        "act_max": drawn.high,
        "quantile_values": _quantiles(feature),
        "histogram": drawn.counts,
        "activation_frequency": feature.density,
    }


def _quantiles(feature: Feature) -> list[float]:
    return [feature.quantile(i / _PERCENTILES) for i in range(1, _PERCENTILES + 1)] if feature.count else []


def _examples(examples: Examples, words: Words) -> list[dict[str, object]]:
    return [
        {
            "tokens": words.tokens(example),
            "tokens_acts_list": list(example.activations),
            "train_token_ind": example.at,
            "is_repeated_datapoint": False,
        }
        for example in examples
    ]
