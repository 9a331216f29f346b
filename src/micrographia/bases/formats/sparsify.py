"""sparsify's folders: one per hookpoint (`layers.5.mlp`), each with `cfg.json` and `sae.safetensors`."""

from dataclasses import replace
from pathlib import Path
from typing import final

import torch
from pydantic import JsonValue

from micrographia.bases.activation import Relu, TopK
from micrographia.bases.formats.fitting import fitted, thresholds
from micrographia.bases.formats.format import FACTS, Fitted, Hints, facts_in, facts_out
from micrographia.bases.formats.parts import BasisFile, LayerParts
from micrographia.bases.formats.reading import (
    Layout,
    Part,
    Settings,
    below,
    known_keys,
    one_per_layer,
    open_safetensors,
    read_json,
)
from micrographia.bases.formats.sites import module_layer
from micrographia.bases.formats.storage import Storage
from micrographia.bases.formats.writing import write_json, write_tensors
from micrographia.errors import ModelFileError, UnsupportedError
from micrographia.ids import Layer
from micrographia.model.site import Point

__all__ = ["Sparsify"]

_CONFIG, _WEIGHTS, _RUN = "cfg.json", "sae.safetensors", "config.json"
_NEEDED = ("k", "d_in", "transcode")
_KNOWN = (
    "activation",
    "expansion_factor",
    "normalize_decoder",
    "num_latents",
    "multi_topk",
    "skip_connection",
    FACTS,
)
_WIDTH = "num_latents"

_LAYOUT = Layout(
    (
        Part("encoder.weight", "encoder", "feature d_model"),
        Part("encoder.bias", "encoder_bias", "feature"),
        Part("W_dec", "decoder", "feature d_model"),
        Part("b_dec", "bias", "d_model"),
        Part("W_skip", "skip", "d_out d_in", optional=True),
    )
)


@final
class Sparsify:
    """One TopK transcoder per module, from its input to its output; with k = all features it is ReLU."""

    name = "sparsify"

    def detect(self, folder: Path, /) -> str | None:
        found = below(folder, _WEIGHTS)
        return found[0].relative_to(folder).as_posix() if found else None

    def read(self, folder: Path, hints: Hints, /) -> BasisFile:
        paths = one_per_layer(below(folder, _WEIGHTS), lambda path: module_layer(path.parent.name), folder)
        if not paths:
            raise ModelFileError(f"{folder} holds no {_WEIGHTS}.")
        configs = {layer: _config(path.with_name(_CONFIG)) for layer, path in paths.items()}
        layers = {layer: _layer(path, layer, configs[layer]) for layer, path in paths.items()}
        first = next(iter(configs))
        facts = facts_in(configs[first], str(paths[first].with_name(_CONFIG)))
        theirs: dict[str, JsonValue] = {
            str(layer): {
                "hookpoint": paths[layer].parent.name,
                **{key: config[key] for key in ("normalize_decoder", "multi_topk") if key in config},
            }
            for layer, config in configs.items()
        }
        skips = any("skip" in each.parts for each in layers.values())
        changes: dict[str, object] = _run(folder) | {
            "skip": "in-output" if skips else "none",
            "foreign": {**facts.foreign, self.name: theirs},
        }
        return BasisFile("per-layer", layers, hints.over(facts.model_copy(update=changes)))

    def fit(self, file: BasisFile, storage: Storage, /) -> Fitted:
        if file.kind != "per-layer":
            raise UnsupportedError("sparsify has transcoders of one layer each, and this basis is a cross-layer one.")
        return fitted(file, thresholds, _without_thresholds, _sites)

    def write(self, file: BasisFile, folder: Path, storage: Storage, /) -> None:
        dtype = torch.bfloat16 if storage == "bf16" else torch.float32
        for layer, each in file.layers.items():
            theirs = _theirs(file, layer)
            hookpoint = folder / str(theirs.pop("hookpoint", f"layers.{layer}.mlp"))
            hookpoint.mkdir()
            write_tensors(hookpoint / _WEIGHTS, _LAYOUT.written(each.parts, layer, dtype, self.name))
            n_features = file.n_features(layer)
            write_json(
                hookpoint / _CONFIG,
                {
                    "activation": "topk",
                    "expansion_factor": max(n_features // file.d_model, 1),
                    "normalize_decoder": False,
                    _WIDTH: n_features,
                    "k": each.rule.k if isinstance(each.rule, TopK) else n_features,
                    "multi_topk": False,
                    "skip_connection": "skip" in each.parts,
                    "transcode": True,
                    "d_in": file.d_model,
                    **theirs,
                    FACTS: facts_out(file.facts, self.name),
                },
            )


def _run(folder: Path) -> dict[str, object]:
    """What the settings of a training run say, where they lie beside its hookpoints; never a token for the hub."""
    if not (folder / _RUN).is_file():
        return {}
    run = {key: value for key, value in read_json(folder / _RUN).items() if key != "hf_token"}
    named = {"model": run.get("model"), "model_revision": run.get("revision"), "dataset": run.get("dataset")}
    said: dict[str, object] = {key: str(value) for key, value in named.items() if value is not None}
    return said | {"training": run}


def _config(path: Path) -> Settings:
    config = read_json(path)
    known_keys(config, _NEEDED, _KNOWN, str(path))
    if config["transcode"] is not True:
        raise UnsupportedError(f"{path} says that this is an autoencoder of one site (transcode is false).")
    if config.get("activation", "topk") != "topk":
        raise UnsupportedError(f"{path} has the activation {config['activation']!r}; of sparsify's, topk is read.")
    if not isinstance(config["k"], int) or config["k"] < 1:
        raise ModelFileError(f"{path} has k = {config['k']!r}; it must be a whole number above 0.")
    return config


def _layer(path: Path, layer: Layer, config: Settings) -> LayerParts:
    parts = _LAYOUT.read(open_safetensors(path), layer, str(path))
    d_model, n_features, k = parts["bias"].shape[0], parts["encoder_bias"].shape[0], config["k"]
    width = config.get(_WIDTH) or d_model * int(str(config.get("expansion_factor", 32)))
    said = (config["d_in"], width, config.get("skip_connection", False))
    if said != (d_model, n_features, "skip" in parts):
        raise ModelFileError(
            f"{path} holds {n_features} features of {d_model} dimensions {'with' if 'skip' in parts else 'without'} "
            f"a skip path; its {_CONFIG} says {said[1]} features, {said[0]} dimensions, skip_connection {said[2]}."
        )
    rule = TopK(k) if isinstance(k, int) and k < n_features else Relu()
    return LayerParts(parts, rule)


def _theirs(file: BasisFile, layer: Layer) -> dict[str, JsonValue]:
    found = file.facts.foreign.get(Sparsify.name, {}).get(str(layer), {})
    return dict(found) if isinstance(found, dict) else {}


def _without_thresholds(file: BasisFile) -> Fitted:
    """JumpReLU as ReLU, unless its thresholds are all zero, which is the same."""
    layers, changed = dict(file.layers), list[Layer]()
    for layer, each in file.layers.items():
        if "threshold" in each.parts:
            if each.parts["threshold"].any():
                changed.append(layer)
            layers[layer] = each.without("threshold")
    if not changed:
        return Fitted(replace(file, layers=layers))
    line = (
        f"the thresholds of {len(changed)} layers become zero (sparsify has no JumpReLU): "
        "more features are active, so activations and outputs change"
    )
    return Fitted(replace(file, layers=layers), (line,))


def _sites(file: BasisFile) -> Fitted:
    facts = file.facts
    lost: list[str] = []
    if (facts.input_site, facts.input_norm) != (Point.MLP_IN, "as-read"):
        lost.append(f"the input site {facts.input_site} ({facts.input_norm}): sparsify reads the input of a module")
    if facts.output_site not in (Point.MLP_OUT, Point.MLP_POST_NORM_IN):
        lost.append(f"the output site {facts.output_site}: sparsify writes the output of a module")
    return Fitted(file, tuple(lost))
