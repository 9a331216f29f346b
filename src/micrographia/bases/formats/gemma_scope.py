"""Gemma Scope's files: `params.npz` of the first, safetensors of the second. They are only read."""

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, final

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from micrographia.bases.activation import Relu
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.format import Fitted, Hints
from micrographia.bases.formats.parts import BasisFile, LayerParts
from micrographia.bases.formats.reading import (
    Layout,
    Part,
    Settings,
    below,
    one_per_layer,
    open_safetensors,
    read_json,
)
from micrographia.bases.formats.storage import Storage
from micrographia.errors import ModelFileError, UnsupportedError
from micrographia.ids import Layer

__all__ = ["GemmaScope", "GemmaScope2"]

_LAYER = re.compile(r"layer_(\d+)")

_FIRST = Layout(
    (
        Part("W_enc", "encoder", "d_model feature"),
        Part("b_enc", "encoder_bias", "feature"),
        Part("threshold", "threshold", "feature"),
        Part("W_dec", "decoder", "feature d_model"),
        Part("b_dec", "bias", "d_model"),
    )
)
_SECOND = Layout(
    (
        Part("w_enc", "encoder", "d_model feature"),
        Part("b_enc", "encoder_bias", "feature"),
        Part("threshold", "threshold", "feature"),
        Part("w_dec", "decoder", "feature d_model"),
        Part("b_dec", "bias", "d_model"),
        Part("affine_skip_connection", "skip", "d_in d_out", optional=True),
    )
)
_SECOND_CROSS = Layout(
    (
        *(part for part in _SECOND.parts if part.role != "decoder"),
        Part("w_dec", "decoders", "feature to d_model"),
    )
)
_READS = (".pre_feedforward_layernorm.output",)
_WRITES = (".post_feedforward_layernorm.output",)


@final
class GemmaScope:
    """Gemma Scope: JumpReLU transcoders in npz files; the encoder reads the norm's output before its gain."""

    name = "gemma-scope"

    def detect(self, folder: Path, /) -> str | None:
        found = below(folder, "params.npz")
        return found[0].relative_to(folder).as_posix() if found else None

    def read(self, folder: Path, hints: Hints, /) -> BasisFile:
        paths = one_per_layer(below(folder, "params.npz"), _layer_number, folder)
        layers = {layer: LayerParts(_FIRST.read(_Npz(path), layer, str(path)), Relu()) for layer, path in paths.items()}
        _refuse_empty(layers, folder)
        return BasisFile("per-layer", layers, hints.over(BasisFacts(input_norm="before-gain", bos="prepended")))

    def fit(self, file: BasisFile, storage: Storage, /) -> Fitted:
        raise _only_read(self.name)

    def write(self, file: BasisFile, folder: Path, storage: Storage, /) -> None:
        raise _only_read(self.name)


@final
class GemmaScope2:
    """Gemma Scope 2: JumpReLU transcoders in safetensors, per layer or cross-layer, some with skip paths."""

    name = "gemma-scope-2"
    patterns: ClassVar[tuple[str, ...]] = ("params.safetensors", "params_layer_*.safetensors")

    def detect(self, folder: Path, /) -> str | None:
        found = self._files(folder)
        return found[0].relative_to(folder).as_posix() if found else None

    def read(self, folder: Path, hints: Hints, /) -> BasisFile:
        paths = one_per_layer(self._files(folder), _layer_number, folder)
        _refuse_empty(paths, folder)
        tensors = {layer: open_safetensors(path) for layer, path in paths.items()}
        first = next(iter(tensors.values()))
        crossing = "w_dec" in first and len(first.shape("w_dec")) == 3
        layout = _SECOND_CROSS if crossing else _SECOND
        layers = {
            layer: LayerParts(layout.read(tensors[layer], layer, str(path)), Relu()) for layer, path in paths.items()
        }
        if crossing:
            layers = _upwards(layers, {layer: each.shape("w_dec")[1] for layer, each in tensors.items()}, folder)
        configs = {layer: _settings(path) for layer, path in paths.items()}
        model = next((str(config["model_name"]) for config in configs.values() if "model_name" in config), None)
        skips = any("skip" in each.parts for each in layers.values())
        facts = BasisFacts(
            skip="in-output" if skips else "none",
            bos="prepended",
            model=model,
            foreign={self.name: {str(layer): dict(config) for layer, config in configs.items() if config}},
        )
        return BasisFile("cross-layer" if crossing else "per-layer", layers, hints.over(facts))

    def fit(self, file: BasisFile, storage: Storage, /) -> Fitted:
        raise _only_read(self.name)

    def write(self, file: BasisFile, folder: Path, storage: Storage, /) -> None:
        raise _only_read(self.name)

    def _files(self, folder: Path) -> list[Path]:
        return [path for pattern in self.patterns for path in below(folder, pattern)]


@final
class _Npz(Mapping[str, Tensor]):
    """The arrays of an npz file, each read when it is taken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self._shapes = {name.removesuffix(".npy"): _shape_in(archive, name) for name in archive.namelist()}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise self._broken(error) from error

    def __getitem__(self, name: str) -> Tensor:
        try:
            with np.load(self._path) as arrays:
                return torch.from_numpy(arrays[name])
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise self._broken(error) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def _broken(self, error: Exception) -> ModelFileError:
        return ModelFileError(f"{self._path} is not a whole npz file of numbers ({error}).")


def _shape_in(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    with archive.open(name) as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        return tuple(int(size) for size in read(stream)[0])


def _layer_number(path: Path) -> int | None:
    """The layer, from the innermost name on the way to the file that tells one."""
    names = reversed(path.absolute().parts)
    return next((int(hit[1]) for name in names if (hit := _LAYER.search(name))), None)


def _settings(path: Path) -> Settings:
    config = path.with_name("config.json")
    if not config.is_file():
        return {}
    settings = read_json(config)
    for key, wanted in (("hf_hook_point_in", _READS), ("hf_hook_point_out", _WRITES)):
        if key in settings and not str(settings[key]).endswith(wanted):
            raise UnsupportedError(f"{config} has {key} = {settings[key]!r}; a transcoder's ends with {wanted[0]!r}.")
    if settings.get("architecture", "jump_relu") != "jump_relu":
        raise UnsupportedError(f"{config} has the architecture {settings['architecture']!r}; only jump_relu is read.")
    return settings


def _upwards(layers: Mapping[Layer, LayerParts], reach: Mapping[Layer, int], folder: Path) -> dict[Layer, LayerParts]:
    """From decoders to all layers, however low, to those from each layer up."""
    n_layers = next(iter(reach.values()))
    missing = sorted(set(range(n_layers)) - set(layers))
    if missing or max(layers) >= n_layers:
        raise ModelFileError(
            f"{folder} holds a cross-layer transcoder of {n_layers} layers; missing are {', '.join(map(str, missing))}."
        )
    for layer, n in reach.items():
        if n != n_layers:
            raise ModelFileError(
                f"{folder} holds a cross-layer transcoder whose layer {layer} has decoders to {n} layers, and its "
                f"first layer to {n_layers}."
            )
    return {
        layer: each.with_parts({"decoders": lambda layer=layer, each=each: each.parts["decoders"][layer:]})
        for layer, each in layers.items()
    }


def _refuse_empty(found: Mapping[Layer, object], folder: Path) -> None:
    if not found:
        raise ModelFileError(f"{folder} holds no file of parameters.")


def _only_read(name: str) -> UnsupportedError:
    return UnsupportedError(f"The format {name} is read here, and not written.")
