"""dictionary_learning's folders: `ae.pt` and `config.json`. They are only read, and never run.

Nothing in them tells a transcoder from an autoencoder of one site: a person has to say it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, final

import torch
from pydantic import JsonValue
from torch import Tensor

from micrographia.bases.activation import ActivationRule, BatchTopK, Relu, TopK
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.fitting import unbiased_input
from micrographia.bases.formats.format import Fitted, Hints
from micrographia.bases.formats.parts import BasisFile, LayerParts
from micrographia.bases.formats.reading import Layout, Part, Settings, below, listed, one_per_layer, read_json
from micrographia.bases.formats.storage import Storage
from micrographia.errors import ModelFileError, UnsupportedError

__all__ = ["DictionaryLearning"]

_CONFIG, _WEIGHTS = "config.json", "ae.pt"

_ENCODER = (Part("encoder.weight", "encoder", "feature d_model"), Part("encoder.bias", "encoder_bias", "feature"))
_DECODER = Part("decoder.weight", "decoder", "d_model feature")
_FLAT = (
    Part("W_enc", "encoder", "d_model feature"),
    Part("b_enc", "encoder_bias", "feature"),
    Part("W_dec", "decoder", "feature d_model"),
    Part("b_dec", "bias", "d_model"),
)
_COUNTS = frozenset({"k", "threshold"})


@dataclass(frozen=True, slots=True)
class _Kind:
    """One class of theirs: its tensors, its rule, and whether it first subtracts its output bias from the input."""

    layout: Layout
    rule: Callable[[Mapping[str, Tensor]], ActivationRule]
    subtracts: bool


def _relu(_: Mapping[str, Tensor]) -> ActivationRule:
    return Relu()


def _topk(tensors: Mapping[str, Tensor]) -> ActivationRule:
    return TopK(_number(tensors, "k"))


def _batch_topk(tensors: Mapping[str, Tensor]) -> ActivationRule:
    return BatchTopK(_number(tensors, "k"), float(tensors["threshold"]))


def _number(tensors: Mapping[str, Tensor], name: str) -> int:
    if name not in tensors or tensors[name].numel() != 1:
        raise ModelFileError(f"An {_WEIGHTS} of a TopK class must hold one number {name!r}.")
    return int(tensors[name])


_KINDS: Mapping[str, _Kind] = {
    "AutoEncoder": _Kind(Layout((*_ENCODER, _DECODER, Part("bias", "bias", "d_model"))), _relu, True),
    "AutoEncoderNew": _Kind(Layout((*_ENCODER, _DECODER, Part("decoder.bias", "bias", "d_model"))), _relu, False),
    "AutoEncoderTopK": _Kind(Layout((*_ENCODER, _DECODER, Part("b_dec", "bias", "d_model")), _COUNTS), _topk, True),
    "BatchTopKSAE": _Kind(Layout((*_ENCODER, _DECODER, Part("b_dec", "bias", "d_model")), _COUNTS), _batch_topk, True),
    "MatryoshkaBatchTopKSAE": _Kind(Layout(_FLAT, _COUNTS | {"group_sizes"}), _batch_topk, True),
    "JumpReluAutoEncoder": _Kind(Layout((*_FLAT, Part("threshold", "threshold", "feature"))), _relu, False),
}


@final
class DictionaryLearning:
    """Read as it lies in the file; its own loader by default rescales an AutoEncoder's features to unit decoders."""

    name = "dictionary-learning"

    def detect(self, folder: Path, /) -> str | None:
        found = below(folder, _WEIGHTS)
        return found[0].relative_to(folder).as_posix() if found else None

    def read(self, folder: Path, hints: Hints, /) -> BasisFile:
        if not hints.transcoder:
            raise UnsupportedError(
                f"{folder} holds {self.detect(folder) or 'nothing'} of dictionary_learning, which may as well be "
                "an autoencoder of one site as a transcoder: if it maps an MLP's input to its output, say --transcoder."
            )
        configs = {path: _trainer(path.with_name(_CONFIG)) for path in below(folder, _WEIGHTS)}
        paths = one_per_layer(configs, lambda path: _layer_number(configs[path]), folder)
        if not paths:
            raise ModelFileError(f"{folder} holds no {_WEIGHTS}.")
        layers = {layer: _layer(path, layer, configs[path]) for layer, path in paths.items()}
        first = configs[next(iter(paths.values()))]
        theirs: dict[str, JsonValue] = {str(layer): dict(configs[path]) for layer, path in paths.items()}
        facts = BasisFacts(
            model=None if first.get("lm_name") is None else str(first["lm_name"]),
            training=dict(first),
            foreign={self.name: theirs},
        )
        return BasisFile("per-layer", layers, hints.over(facts))

    def fit(self, file: BasisFile, storage: Storage, /) -> Fitted:
        raise UnsupportedError("dictionary_learning's pickles are read here, and not written.")

    def write(self, file: BasisFile, folder: Path, storage: Storage, /) -> None:
        raise UnsupportedError("dictionary_learning's pickles are read here, and not written.")


def _trainer(path: Path) -> Settings:
    trainer = read_json(path).get("trainer")
    if not isinstance(trainer, dict) or str(trainer.get("dict_class")) not in _KINDS:
        said = trainer.get("dict_class") if isinstance(trainer, dict) else None
        raise UnsupportedError(f"{path} says the class {said!r}; known are {listed(_KINDS)}.")
    return trainer


def _layer_number(trainer: Settings) -> int | None:
    layer = trainer.get("layer")
    return layer if isinstance(layer, int) else None


def _layer(path: Path, layer: int, trainer: Settings) -> LayerParts:
    kind, tensors = _KINDS[str(trainer["dict_class"])], _loaded(path)
    parts = kind.layout.read(tensors, layer, str(path))
    found = LayerParts(parts, kind.rule(tensors))
    if not kind.subtracts:
        return found
    unbiased = unbiased_input(lambda: parts["encoder"], lambda: parts["encoder_bias"], lambda: parts["bias"])
    return found.with_parts({"encoder_bias": unbiased})


def _loaded(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a pickled state, if there is nothing in it but tensors; they stay mapped from the disk."""
    try:
        strangers = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        if strangers:
            raise UnsupportedError(
                f"{path} is a pickle that wants to call {listed(sorted(strangers))}, which could be anything; "
                "save its state_dict again with a torch from 1.6 on, or better as safetensors."
            )
        state = cast("object", torch.load(path, map_location="cpu", weights_only=True, mmap=True))
    except (RuntimeError, ValueError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelFileError(f"{path} is no whole file of torch's zip format ({reason}); it is not opened.") from error
    if not isinstance(state, dict):
        raise ModelFileError(f"{path} holds a {type(state).__name__} and not a dictionary of tensors.")
    named = {str(name): value for name, value in cast("dict[object, object]", state).items()}
    strange = [name for name, value in named.items() if not isinstance(value, Tensor)]
    if strange:
        raise ModelFileError(f"{path} holds {listed(strange)}, which are no tensors.")
    return {name: value for name, value in named.items() if isinstance(value, Tensor)}
