"""Who is evaluated: a basis from a folder, from memory, or the neurons; and the baselines beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch

from micrographia.bases.evaluation.baselines import Calibration, ConstantStandIn
from micrographia.bases.evaluation.card import BasisRecord, Role, RoundingLoss
from micrographia.bases.evaluation.standin import CrossLayerStandIn, NeuronStandIn, PerLayerStandIn, StandIn, wide
from micrographia.bases.formats.convert import basis_files, detect, open_basis
from micrographia.bases.formats.matching import matched
from micrographia.bases.formats.own import Micrographia, read_basis_manifest
from micrographia.bases.formats.parts import BasisFile, finite
from micrographia.bases.formats.storage import rounding
from micrographia.bases.transcoder import PerLayer
from micrographia.errors import CallError, UnsupportedError
from micrographia.ids import Layer
from micrographia.model.model import Model
from micrographia.store import sha256_file

__all__ = ["Subject", "baselines", "neurons", "rounding_loss", "subject_from", "subject_of"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One row of the card to be."""

    name: str
    role: Role
    what: str
    stand_in: StandIn
    features: Mapping[Layer, int]
    """How many features each layer has, where it has any."""
    record: BasisRecord | None = None
    """None for what lies in no file and was not given."""
    file: BasisFile | None = None

    @property
    def moves(self) -> bool:
        """Whether its output follows its input at all."""
        return not isinstance(self.stand_in, ConstantStandIn)


def subject_from(folder: Path, model: Model, *, role: Role, name: str | None = None) -> Subject:
    """A basis in a folder of any format."""
    file = open_basis(folder)
    own = isinstance(detect(folder), Micrographia)
    try:
        fitting = matched(file, model.anatomy, model.weights)
    except UnsupportedError as error:
        raise UnsupportedError(f"{folder} does not fit {model.name}: {error}") from error
    files = {path.relative_to(folder).as_posix(): path for path in basis_files(folder)}
    subject = subject_of(fitting, model, role=role, name=name or folder.resolve().name)
    assert subject.record is not None, "a basis has a record"
    storage = read_basis_manifest(folder).storage if own else None
    hashes = {name: sha256_file(path) for name, path in files.items()}
    return replace(subject, record=subject.record.model_copy(update={"storage": storage, "files": hashes}))


def subject_of(file: BasisFile, model: Model, *, role: Role, name: str) -> Subject:
    """A basis of this model's MLPs, from `mlp_in` to `mlp_out`; its tensors are taken into memory."""
    checked = {
        layer: each.changed(
            lambda kind, part, layer=layer: finite(part, f"The {kind.replace('_', ' ')} of layer {layer} of {name}")
        )
        for layer, each in file.layers.items()
    }
    basis = replace(file, layers=checked).basis(wide(model), model.device)
    n_layers = model.anatomy.n_layers
    stand_in = PerLayerStandIn(basis) if isinstance(basis, PerLayer) else CrossLayerStandIn(basis, n_layers)
    features = {layer: file.n_features(layer) for layer in file.coding}
    skips = ", with skip paths" if file.facts.skip != "none" else ""
    what = f"{file.kind}, {sum(features.values()):,} features{skips}"
    return Subject(name, role, what, stand_in, features, _record(name, file.kind, stand_in, model), file)


def neurons(model: Model) -> Subject:
    """All neurons of all MLPs, the basis that is exact."""
    stand_in = NeuronStandIn(model)
    features = dict.fromkeys(stand_in.layers, model.anatomy.d_mlp)
    record = _record("neurons", "neurons", stand_in, model)
    return Subject("neurons", "basis", "every neuron of every MLP", stand_in, features, record)


def baselines(model: Model, basis: Subject, calibration: Calibration) -> tuple[Subject, ...]:
    """What the basis has to beat, at its own layers and, for neurons, at its own number of active ones."""
    kept = {layer: max(1, -int(-active // 1)) for layer, active in calibration.active.items()}
    means = {layer: calibration.means[layer] for layer in basis.stand_in.layers}
    zeros = {layer: torch.zeros_like(mean) for layer, mean in means.items()}
    n = calibration.n_positions
    few = Subject(
        "neurons at equal L0",
        "baseline",
        "at each position as many neurons as the basis has active features, those with the largest |a|·‖w‖",
        NeuronStandIn(model, kept),
        dict.fromkeys(kept, model.anatomy.d_mlp),
    )
    others = (
        Subject("linear", "baseline", f"ridge regression on {n:,} positions", calibration.linear, {}),
        Subject("mean", "baseline", f"mean output of {n:,} positions", ConstantStandIn(means), {}),
        Subject("zero", "baseline", "nothing is written", ConstantStandIn(zeros), {}),
    )
    return others if isinstance(basis.stand_in, NeuronStandIn) else (few, *others)


def rounding_loss(rounded: Subject, unrounded: Subject) -> RoundingLoss:
    """How far a basis's weights are from those of the same basis before it was rounded."""
    if rounded.file is None or unrounded.file is None or _shape(rounded.file) != _shape(unrounded.file):
        raise CallError(
            f"{unrounded.name} ({unrounded.what}) cannot be what {rounded.name} ({rounded.what}) was rounded from: "
            "their kinds, layers and numbers of features must be the same. To compare two bases: --peer"
        )
    lost = rounding(unrounded.file, rounded.file)
    return RoundingLoss(overall=lost.overall, worst=lost.worst, where=lost.where)


def _shape(file: BasisFile) -> tuple[object, ...]:
    roles = {layer: sorted(each.parts) for layer, each in file.layers.items()}
    return file.kind, roles, {layer: file.n_features(layer) for layer in file.coding}


def _record(name: str, kind: str, stand_in: StandIn, model: Model) -> BasisRecord:
    left_out = tuple(layer for layer in range(model.anatomy.n_layers) if layer not in stand_in.layers)
    layers = tuple(int(layer) for layer in stand_in.layers)
    return BasisRecord(name=name, kind=kind, layers=layers, left_out=left_out, storage=None, files={})
