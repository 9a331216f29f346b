"""SAELens' folders: one per transcoder, each with `cfg.json` and `sae_weights.safetensors`."""

from collections.abc import Mapping
from pathlib import Path
from typing import final

import torch
from pydantic import JsonValue

from micrographia.bases.activation import Relu
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.fitting import fitted, thresholds, without_topk
from micrographia.bases.formats.format import FACTS, Fitted, Hints, facts_in, facts_out
from micrographia.bases.formats.parts import BasisFile, LayerParts
from micrographia.bases.formats.reading import (
    Layout,
    Part,
    Settings,
    below,
    known_keys,
    listed,
    one_per_layer,
    open_safetensors,
    read_json,
)
from micrographia.bases.formats.sites import (
    INPUT_HOOKS,
    OUTPUT_HOOKS,
    block_and_hook,
    input_hook,
    output_hook,
    site_of_hook,
)
from micrographia.bases.formats.storage import Storage
from micrographia.bases.formats.writing import write_json, write_tensors
from micrographia.errors import ModelFileError, UnsupportedError
from micrographia.ids import Layer

__all__ = ["SaeLens"]

_CONFIG, _WEIGHTS = "cfg.json", "sae_weights.safetensors"
_NEEDED = ("architecture", "d_in", "d_sae", "d_out", "metadata")
_KNOWN = ("dtype", "device", "apply_b_dec_to_input", "normalize_activations", "reshape_activations")
_ONLY: Settings = {"apply_b_dec_to_input": False, "normalize_activations": "none", "reshape_activations": "none"}
"""The settings under which a transcoder computes what its tensors say."""

_BEYOND = frozenset({"skip", "threshold"})
_ARCHITECTURES: Mapping[str, frozenset[str]] = {
    "transcoder": frozenset(),
    "skip_transcoder": frozenset({"skip"}),
    "jumprelu_transcoder": frozenset({"threshold"}),
    "jumprelu_skip_transcoder": frozenset({"skip", "threshold"}),
}
"""What each architecture has beyond encoder, decoder and biases."""

_LAYOUT = Layout(
    (
        Part("W_enc", "encoder", "d_model feature"),
        Part("b_enc", "encoder_bias", "feature"),
        Part("W_dec", "decoder", "feature d_model"),
        Part("b_dec", "bias", "d_model"),
        Part("threshold", "threshold", "feature", optional=True),
        Part("W_skip", "skip", "d_out d_in", optional=True),
    )
)


@final
class SaeLens:
    """One transcoder per layer, ReLU or JumpReLU, with or without a skip path."""

    name = "saelens"

    def detect(self, folder: Path, /) -> str | None:
        found = below(folder, _WEIGHTS)
        return found[0].relative_to(folder).as_posix() if found else None

    def read(self, folder: Path, hints: Hints, /) -> BasisFile:
        configs = {path: _config(path.with_name(_CONFIG)) for path in below(folder, _WEIGHTS)}
        if not configs:
            raise ModelFileError(f"{folder} holds no {_WEIGHTS}.")
        paths = one_per_layer(configs, lambda path: _layer_number(configs[path]), folder)
        facts = {layer: _facts(configs[path], path.with_name(_CONFIG), hints) for layer, path in paths.items()}
        first = next(iter(facts))
        for layer, found in facts.items():
            if found != facts[first]:
                raise UnsupportedError(
                    f"{folder} holds transcoders of different sites, models or data (layers {first} and {layer})."
                )
        layers = {layer: _layer(path, layer, configs[path]) for layer, path in paths.items()}
        theirs: dict[str, JsonValue] = {str(layer): _kept(configs[path]) for layer, path in paths.items()}
        skips = any("skip" in each.parts for each in layers.values())
        changes: dict[str, object] = {
            "skip": "in-output" if skips else "none",
            "foreign": {**facts[first].foreign, self.name: theirs},
        }
        return BasisFile("per-layer", layers, hints.over(facts[first].model_copy(update=changes)))

    def fit(self, file: BasisFile, storage: Storage, /) -> Fitted:
        if file.kind != "per-layer":
            raise UnsupportedError("SAELens has transcoders of one layer each, and this basis is a cross-layer one.")
        return fitted(file, thresholds, without_topk, _sites)

    def write(self, file: BasisFile, folder: Path, storage: Storage, /) -> None:
        dtype = torch.bfloat16 if storage == "bf16" else torch.float32
        for layer, each in file.layers.items():
            place = folder / f"layer_{layer}"
            place.mkdir()
            write_tensors(place / _WEIGHTS, _LAYOUT.written(each.parts, layer, dtype, self.name))
            more = _BEYOND & set(each.parts)
            write_json(
                place / _CONFIG,
                {
                    "architecture": next(name for name, has in _ARCHITECTURES.items() if has == more),
                    "d_in": file.d_model,
                    "d_sae": file.n_features(layer),
                    "d_out": file.d_model,
                    "dtype": "bfloat16" if storage == "bf16" else "float32",
                    "device": "cpu",
                    **_ONLY,
                    "metadata": _metadata(file.facts, layer),
                },
            )


def _config(path: Path) -> Settings:
    config = read_json(path)
    if "architecture" in config and str(config["architecture"]) not in _ARCHITECTURES:
        raise UnsupportedError(
            f"{path} has the architecture {config['architecture']!r}; of SAELens' the transcoders are read: "
            f"{listed(_ARCHITECTURES)}."
        )
    known_keys(config, _NEEDED, _KNOWN, str(path))
    for key, value in _ONLY.items():
        if config.get(key, value) != value:
            raise UnsupportedError(f"{path} has {key} = {config[key]!r}; only {value!r} can be read.")
    return config


def _metadata_of(config: Settings) -> dict[str, JsonValue]:
    found = config["metadata"]
    return found if isinstance(found, dict) else {}


def _layer_number(config: Settings) -> int | None:
    found = block_and_hook(str(_metadata_of(config).get("hook_name")))
    return None if found is None else found[0]


def _facts(config: Settings, path: Path, hints: Hints) -> BasisFacts:
    metadata, where = _metadata_of(config), str(path)
    facts = facts_in(metadata, where)
    reads, writes = (block_and_hook(str(metadata.get(key))) for key in ("hook_name", "hook_name_out"))
    changes: dict[str, object] = {}
    if hints.input_site is None and reads is not None:
        site, norm = site_of_hook(reads[1], INPUT_HOOKS, where)
        changes |= {"input_site": site, "input_norm": norm}
    if hints.output_site is None:
        if writes is None or reads is None or writes[0] != reads[0]:
            raise UnsupportedError(
                f"{where} has hook_name {metadata.get('hook_name')!r} and hook_name_out "
                f"{metadata.get('hook_name_out')!r}; both must name a hook of one block, or --output-site must say it."
            )
        changes |= {"output_site": site_of_hook(writes[1], OUTPUT_HOOKS, where)[0]}
    said = {"model": metadata.get("model_name"), "dataset": metadata.get("dataset_path")}
    changes |= {key: str(value) for key, value in said.items() if value is not None}
    if isinstance(metadata.get("prepend_bos"), bool):
        changes |= {"bos": "prepended" if metadata["prepend_bos"] else "absent"}
    return facts.model_copy(update=changes)


def _kept(config: Settings) -> dict[str, JsonValue]:
    return {key: value for key, value in _metadata_of(config).items() if key != FACTS}


def _layer(path: Path, layer: Layer, config: Settings) -> LayerParts:
    parts = _LAYOUT.read(open_safetensors(path), layer, str(path))
    architecture = str(config["architecture"])
    more = _BEYOND & set(parts)
    sizes = (parts["bias"].shape[0], parts["encoder_bias"].shape[0], parts["bias"].shape[0])
    said = (config["d_in"], config["d_sae"], config["d_out"])
    if more != _ARCHITECTURES[architecture] or said != sizes:
        raise ModelFileError(
            f"{path} holds {sizes[1]} features of {sizes[0]} dimensions and beyond that "
            f"{listed(sorted(more)) or 'nothing'}; its {_CONFIG} says {architecture}, d_in, d_sae, d_out = {said}."
        )
    return LayerParts(parts, Relu())


def _metadata(facts: BasisFacts, layer: Layer) -> dict[str, JsonValue]:
    found = facts.foreign.get(SaeLens.name, {}).get(str(layer), {})
    theirs: dict[str, JsonValue] = dict(found) if isinstance(found, dict) else {}
    reads, writes = _hooks(facts, theirs)
    ours: dict[str, JsonValue] = {
        "sae_lens_version": "6.0.0",
        "model_name": facts.model,
        "hook_name": f"blocks.{layer}.{reads or 'mlp.hook_in'}",
        "hook_name_out": f"blocks.{layer}.{writes or 'hook_mlp_out'}",
        "dataset_path": facts.dataset,
        "prepend_bos": None if facts.bos is None else facts.bos == "prepended",
    }
    said = {key: value for key, value in ours.items() if value is not None}
    version = {key: theirs[key] for key in ("sae_lens_version",) if key in theirs}
    return theirs | said | version | {FACTS: facts_out(facts, SaeLens.name)}


def _hooks(facts: BasisFacts, theirs: Mapping[str, JsonValue]) -> tuple[str | None, str | None]:
    """The hooks; those that SAELens itself wrote, as long as they mean the same places."""
    said = [block_and_hook(str(theirs.get(key))) for key in ("hook_name", "hook_name_out")]
    reads = said[0] is not None and INPUT_HOOKS.get(said[0][1]) == (facts.input_site, facts.input_norm)
    writes = said[1] is not None and OUTPUT_HOOKS.get(said[1][1]) == (facts.output_site, "as-read")
    return (
        said[0][1] if reads and said[0] is not None else input_hook(facts),
        said[1][1] if writes and said[1] is not None else output_hook(facts),
    )


def _sites(file: BasisFile) -> Fitted:
    reads, writes = _hooks(file.facts, {})
    lost: list[str] = []
    if reads is None:
        lost.append(f"the input site {file.facts.input_site} has no hook there: it is written as mlp.hook_in")
    if writes is None:
        lost.append(f"the output site {file.facts.output_site} has no hook there: it is written as hook_mlp_out")
    return Fitted(file, tuple(lost))
