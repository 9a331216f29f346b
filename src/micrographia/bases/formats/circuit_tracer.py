"""circuit-tracer's folders: `config.yaml`, and `layer_0.safetensors` … or, cross-layer, `W_enc_0.safetensors` …."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import final

import torch
import yaml
from torch import Tensor

from micrographia.bases.activation import Relu
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.fitting import all_layers, fitted, one_width, thresholds, without_topk
from micrographia.bases.formats.format import FACTS, Fitted, Hints, facts_in, facts_out
from micrographia.bases.formats.lazily import Lazily
from micrographia.bases.formats.parts import BasisFile, Kind, LayerParts
from micrographia.bases.formats.reading import (
    Layout,
    Part,
    Settings,
    known_keys,
    listed,
    one_per_layer,
    open_safetensors,
    read_yaml,
)
from micrographia.bases.formats.sites import INPUT_HOOKS, OUTPUT_HOOKS, input_hook, output_hook, site_of_hook
from micrographia.bases.formats.storage import Storage
from micrographia.bases.formats.writing import write_tensors, write_text
from micrographia.errors import ModelFileError, UnsupportedError
from micrographia.ids import Layer

__all__ = ["CircuitTracer"]

_CONFIG = "config.yaml"
_KINDS: Mapping[str, Kind] = {"transcoder_set": "per-layer", "cross_layer_transcoder": "cross-layer"}
_HOOKS = ("feature_input_hook", "feature_output_hook")
_KNOWN = ("model_name", "scan", "revision", "repo_id", "subfolder", FACTS)

_SINGLE = Layout(
    (
        Part("W_enc", "encoder", "feature d_model"),
        Part("b_enc", "encoder_bias", "feature"),
        Part("W_dec", "decoder", "feature d_model"),
        Part("b_dec", "bias", "d_model"),
        Part("W_skip", "skip", "d_out d_in", optional=True),
        Part("activation_function.threshold", "threshold", "feature", optional=True),
    )
)
_CROSS_ENCODER = Layout(
    (
        Part("W_enc_{layer}", "encoder", "feature d_model"),
        Part("b_enc_{layer}", "encoder_bias", "feature"),
        Part("b_dec_{layer}", "bias", "d_model"),
        Part("threshold_{layer}", "threshold", "feature", optional=True),
    )
)
_CROSS_DECODER = Layout((Part("W_dec_{layer}", "decoders", "feature to d_model"),))

_FILES: Mapping[Kind, re.Pattern[str]] = {
    "per-layer": re.compile(r"layer_(\d+)\.safetensors"),
    "cross-layer": re.compile(r"W_enc_(\d+)\.safetensors"),
}


@final
class CircuitTracer:
    """Every layer from 0 up, all of one width, ReLU or JumpReLU; a cross-layer one has no skip path."""

    name = "circuit-tracer"

    def detect(self, folder: Path, /) -> str | None:
        for kind in _FILES:
            if files := _layer_files(folder, kind):
                return files[0].name
        config = folder / _CONFIG
        return _CONFIG if config.is_file() and "model_kind" in config.read_text("utf-8", "ignore") else None

    def read(self, folder: Path, hints: Hints, /) -> BasisFile:
        settings: Settings = read_yaml(folder / _CONFIG) if (folder / _CONFIG).is_file() else {}
        kind = _kind(folder, settings)
        paths = one_per_layer(_layer_files(folder, kind), lambda path: _number(path, kind), folder)
        missing = sorted(set(range(max(paths, default=0) + 1)) - set(paths))
        if missing:
            raise ModelFileError(
                f"{folder} lacks the file of layer {', '.join(map(str, missing))}; "
                "circuit-tracer needs every layer from 0 up."
            )
        facts = hints.over(_facts(folder, settings, hints))
        read = _single if kind == "per-layer" else _crossing
        layers = {layer: read(path, layer, len(paths)) for layer, path in paths.items()}
        skips = any("skip" in each.parts for each in layers.values())
        facts = facts.model_copy(update={"skip": "in-output" if skips else "none"})
        return BasisFile(kind, layers, facts)

    def fit(self, file: BasisFile, storage: Storage, /) -> Fitted:
        return fitted(
            file, thresholds, without_topk, _without_crossing_skips, one_width, all_layers, _whole_reach, _alike, _sites
        )

    def write(self, file: BasisFile, folder: Path, storage: Storage, /) -> None:
        dtype = torch.bfloat16 if storage == "bf16" else torch.float32
        for layer, each in file.layers.items():
            if file.kind == "per-layer":
                tensors = _SINGLE.written(each.parts, layer, dtype, self.name)
                write_tensors(folder / f"layer_{layer}.safetensors", tensors)
            else:
                tensors = _CROSS_ENCODER.written(each.parts, layer, dtype, self.name)
                write_tensors(folder / f"W_enc_{layer}.safetensors", tensors)
                tensors = _CROSS_DECODER.written(each.parts, layer, dtype, self.name)
                write_tensors(folder / f"W_dec_{layer}.safetensors", tensors)
        text = yaml.safe_dump(_settings(file), sort_keys=False, allow_unicode=True)
        write_text(folder / _CONFIG, text)


def _layer_files(folder: Path, kind: Kind) -> list[Path]:
    return sorted(path for path in folder.glob("*.safetensors") if _FILES[kind].fullmatch(path.name))


def _number(path: Path, kind: Kind) -> int | None:
    hit = _FILES[kind].fullmatch(path.name)
    return None if hit is None else int(hit[1])


def _kind(folder: Path, settings: Settings) -> Kind:
    where = str(folder / _CONFIG)
    if settings:
        if "transcoders" in settings:
            raise UnsupportedError(
                f"{where} lists files that lie elsewhere ('transcoders'): fetch them, and convert their folder."
            )
        known_keys(settings, ("model_kind", *_HOOKS), _KNOWN, where)
        said = str(settings["model_kind"])
        if said not in _KINDS:
            raise UnsupportedError(f"{where} is of the kind {said!r}; known are {listed(_KINDS)}.")
    kinds: list[Kind] = [kind for kind in _FILES if _layer_files(folder, kind)]
    wanted = [_KINDS[str(settings["model_kind"])]] if settings else kinds
    if len(wanted) != 1 or wanted[0] not in kinds:
        raise ModelFileError(
            f"{folder} must hold layer_0.safetensors and so on, or W_enc_0.safetensors and so on for a cross-layer "
            f"transcoder, as its {_CONFIG} says; it holds {listed(sorted(path.name for path in folder.iterdir()))}."
        )
    return wanted[0]


def _facts(folder: Path, settings: Settings, hints: Hints) -> BasisFacts:
    where = str(folder / _CONFIG)
    if not settings:
        if hints.input_site is None or hints.output_site is None:
            raise UnsupportedError(
                f"{folder} has no {_CONFIG}, so nothing says what its encoders read and its decoders write: "
                "give --input-site and --output-site, such as mlp_in and mlp_out."
            )
        return BasisFacts()
    facts = facts_in(settings, where)
    changes: dict[str, object] = {}
    if hints.input_site is None:
        site, norm = site_of_hook(str(settings[_HOOKS[0]]), INPUT_HOOKS, where)
        changes |= {"input_site": site, "input_norm": norm}
    if hints.output_site is None:
        changes |= {"output_site": site_of_hook(str(settings[_HOOKS[1]]), OUTPUT_HOOKS, where)[0]}
    if settings.get("model_name") is not None:
        changes |= {"model": str(settings["model_name"])}
    theirs = {key: value for key, value in settings.items() if key not in (FACTS, "model_kind", "model_name")}
    return facts.model_copy(update=changes | {"foreign": {**facts.foreign, CircuitTracer.name: theirs}})


def _single(path: Path, layer: Layer, _: int) -> LayerParts:
    return LayerParts(_not_negative(_SINGLE.read(open_safetensors(path), layer, str(path)), path), Relu())


def _crossing(path: Path, layer: Layer, n_layers: int) -> LayerParts:
    decoder = path.with_name(f"W_dec_{layer}.safetensors")
    encoded = _CROSS_ENCODER.read(open_safetensors(path), layer, str(path))
    tensors = open_safetensors(decoder)
    decoded = _CROSS_DECODER.read(tensors, layer, str(decoder))
    wanted = (encoded["encoder_bias"].shape[0], n_layers - layer, encoded["bias"].shape[0])
    if tensors.shape(f"W_dec_{layer}") != wanted:
        raise ModelFileError(
            f"W_dec_{layer} in {decoder} has shape {tensors.shape(f'W_dec_{layer}')}; it must be {wanted} "
            f"[feature to d_model], to write from layer {layer} to all of the {n_layers} layers."
        )
    parts = Lazily(
        {role: lambda role=role: encoded[role] for role in encoded} | {"decoders": lambda: decoded["decoders"]}
    )
    return LayerParts(_not_negative(parts, path), Relu())


def _not_negative(parts: Mapping[str, Tensor], path: Path) -> Mapping[str, Tensor]:
    """Below a negative threshold circuit-tracer lets negative activations through."""
    if "threshold" in parts and (parts["threshold"] < 0).any():
        raise UnsupportedError(f"{path} has negative thresholds, which let negative activations through.")
    return parts


def _without_crossing_skips(file: BasisFile) -> Fitted:
    """Its cross-layer files have no place for skip paths; those that are zero say nothing."""
    if file.kind == "per-layer" or not file.skipping:
        return Fitted(file)
    layers = {layer: each.without("skip") for layer, each in file.layers.items()}
    bare = replace(file, layers=layers, facts=file.facts.model_copy(update={"skip": "none"}))
    told = [layer for layer in file.skipping if file.layers[layer].parts["skip"].any()]
    if not told:
        return Fitted(bare)
    line = f"the skip paths of {len(told)} layers are left out (it has none across layers), so outputs change"
    return Fitted(bare, (line,))


def _whole_reach(file: BasisFile) -> Fitted:
    """Decoders up to the last layer: zeros where ours end earlier."""
    if file.kind == "per-layer":
        return Fitted(file)
    n = max(file.layers) + 1

    def stretched(layer: Layer, each: LayerParts) -> LayerParts:
        decoders = each.parts["decoders"]
        if len(decoders) > n - layer:
            raise ModelFileError(
                f"Layer {layer} writes to {len(decoders)} layers, and there are {n - layer} from it up."
            )
        more = n - layer - len(decoders)
        parts = each.with_parts({"decoders": lambda: _longer(each.parts["decoders"], more)} if more else {})
        return parts if "bias" in each.parts else parts.with_parts({"bias": lambda: torch.zeros(decoders.shape[-1])})

    return Fitted(replace(file, layers={layer: stretched(layer, each) for layer, each in file.layers.items()}))


def _longer(decoders: Tensor, more: int) -> Tensor:
    return torch.cat([decoders, decoders.new_zeros(more, *decoders.shape[1:])])


def _alike(file: BasisFile) -> Fitted:
    """All layers with thresholds and skip paths, or none: what one layer lacks is zero, which changes nothing."""
    every = {role for each in file.layers.values() for role in each.parts}

    def filled(each: LayerParts) -> LayerParts:
        zeros: dict[str, Callable[[], Tensor]] = {
            "threshold": lambda: torch.zeros_like(each.parts["encoder_bias"]),
            "skip": lambda: torch.zeros(file.d_model, file.d_model),
        }
        return each.with_parts({role: make for role, make in zeros.items() if role in every - set(each.parts)})

    return Fitted(replace(file, layers={layer: filled(each) for layer, each in file.layers.items()}))


def _sites(file: BasisFile) -> Fitted:
    hooks = _hooks(file.facts)
    lost = tuple(
        f"the {side} site {site} has no hook there: it is written as {default}"
        for side, site, hook, default in zip(
            ("input", "output"),
            (file.facts.input_site, file.facts.output_site),
            hooks,
            ("mlp.hook_in", "hook_mlp_out"),
            strict=True,
        )
        if hook is None
    )
    return Fitted(file, lost)


def _hooks(facts: BasisFacts) -> tuple[str | None, str | None]:
    """The hooks; those that circuit-tracer itself wrote, as long as they mean the same places."""
    theirs = facts.foreign.get(CircuitTracer.name, {})
    said = [str(theirs.get(key)) for key in _HOOKS]
    reads = INPUT_HOOKS.get(said[0]) == (facts.input_site, facts.input_norm)
    writes = OUTPUT_HOOKS.get(said[1]) == (facts.output_site, "as-read")
    return said[0] if reads else input_hook(facts), said[1] if writes else output_hook(facts)


def _settings(file: BasisFile) -> dict[str, object]:
    hooks = _hooks(file.facts)
    kind = next(name for name, kind in _KINDS.items() if kind == file.kind)
    scan = file.facts.foreign.get(CircuitTracer.name, {}).get("scan")
    return {
        "model_name": file.facts.model,
        "model_kind": kind,
        "feature_input_hook": hooks[0] or "mlp.hook_in",
        "feature_output_hook": hooks[1] or "hook_mlp_out",
        **({} if scan is None else {"scan": scan}),
        FACTS: facts_out(file.facts, CircuitTracer.name),
    }
