"""From one tool's files to another's: recognised by looking, lossless or with a list of what is lost, and checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from micrographia.bases.formats.calibrate import Calibrated, LayerChange
from micrographia.bases.formats.circuit_tracer import CircuitTracer
from micrographia.bases.formats.dictionary_learning import DictionaryLearning
from micrographia.bases.formats.format import Fitted, Format, Hints
from micrographia.bases.formats.gemma_scope import GemmaScope, GemmaScope2
from micrographia.bases.formats.own import Micrographia, verify
from micrographia.bases.formats.parts import BasisFile, Kind, LayerParts
from micrographia.bases.formats.saelens import SaeLens
from micrographia.bases.formats.sparsify import Sparsify
from micrographia.bases.formats.storage import Rounding, Storage, rounded, rounding
from micrographia.bases.formats.writing import new_folder, refuse_taken
from micrographia.bases.transcoder import Encoder
from micrographia.errors import CallError, ModelFileError, UnsupportedError
from micrographia.ids import Layer

__all__ = [
    "FORMATS",
    "Comparison",
    "Conversion",
    "basis_files",
    "compare",
    "convert",
    "detect",
    "format_named",
    "open_basis",
    "save_basis",
]

_ATLAS = "atlas"

FORMATS: tuple[Format, ...] = (
    Micrographia(),
    CircuitTracer(),
    SaeLens(),
    Sparsify(),
    GemmaScope(),
    GemmaScope2(),
    DictionaryLearning(),
)

_ROWS = 64
_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far two bases are apart on random inputs: the largest differences, and the largest values beside them."""

    activations: float
    outputs: float
    largest_activation: float
    largest_output: float
    relative: float
    """The largest difference in a row of activations or outputs, as a share of the row's largest value (at least 1)."""
    active: float
    """The share of activations that are not zero in either; with none, nothing was compared."""

    @property
    def equal(self) -> bool:
        return self.relative <= _TOLERANCE and self.active > 0


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was converted, and how well."""

    source: str
    target: str
    kind: Kind
    layers: tuple[Layer, ...]
    n_features: int
    d_model: int
    storage: Storage
    size: int
    lost: tuple[str, ...]
    calibration: tuple[LayerChange, ...]
    """What thresholds that were chosen on text change, layer by layer; empty where none were."""
    rounding: Rounding | None
    """What the storage costs, if it is narrower than float32."""
    written: Comparison | None
    """What was read back against what was meant to be written; they must be equal."""
    changed: Comparison | None
    """What was read back against the source: the sum of what storage and losses did."""

    @property
    def exact(self) -> bool:
        """Whether nothing was meant to change."""
        return not self.lost and self.storage == "fp32"

    @property
    def sound(self) -> bool:
        """Whether no check has failed: what is written is what was meant, and the source where nothing was lost."""
        checks = (self.written, self.changed if self.exact else None)
        return all(check is None or check.equal for check in checks)


def detect(folder: Path, said: str | None = None) -> Format:
    """The format of a folder, by looking; `said` is a person's word for it."""
    if not folder.is_dir():
        is_what = "is a file" if folder.exists() else "is not there"
        raise CallError(f"{folder} {is_what}: give the folder that holds the basis.")
    if said is not None:
        return format_named(said)
    seen = {each: sign for each in FORMATS if (sign := each.detect(folder)) is not None}
    if len(seen) == 1:
        return next(iter(seen))
    if seen:
        signs = "; ".join(f"{sign} of {each.name}" for each, sign in seen.items())
        options = " or ".join(f"--from {each.name}" for each in seen)
        raise CallError(f"{folder} looks like more than one thing ({signs}): say {options}.")
    holds = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    known = ", ".join(each.name for each in FORMATS)
    raise UnsupportedError(f"{folder} holds {holds}: no basis in a format that is known here ({known}).")


def format_named(name: str) -> Format:
    """The format of this name."""
    for each in FORMATS:
        if each.name == name:
            return each
    raise CallError(f"There is no format {name!r}; there are {', '.join(each.name for each in FORMATS)}.")


def basis_files(folder: Path) -> tuple[Path, ...]:
    """The files of a basis, in the order of their names; an atlas and its labels may lie beside them, and are none."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return tuple(sorted(path for path in found if not _is_atlas(path.relative_to(folder).parts[0])))


def _is_atlas(name: str) -> bool:
    """`atlas/`, and `atlas.labels` with what SQLite keeps beside it."""
    return name == _ATLAS or name.startswith(f"{_ATLAS}.labels")


def open_basis(folder: Path, said: str | None = None, hints: Hints = Hints()) -> BasisFile:
    """The basis in a folder of any format, its tensors still on the disk."""
    return _read(detect(folder, said), folder, hints)


def save_basis(file: BasisFile, folder: Path, *, to: str = Micrographia.name, storage: Storage = "fp32") -> None:
    """Write a basis as it is; what cannot hold all of it is refused."""
    target = format_named(to)
    fitted = _fitted(file, target, storage, lossy=False)
    with new_folder(folder) as partial:
        target.write(fitted.file, partial, storage)


def convert(
    source: Path,
    folder: Path,
    to: str,
    *,
    said: str | None = None,
    storage: Storage = "fp32",
    hints: Hints = Hints(),
    lossy: bool = False,
    calibrate: Callable[[BasisFile], Calibrated] | None = None,
    check: bool = False,
) -> Conversion:
    """Write what lies in one folder into another one, in another format.

    `calibrate` chooses thresholds for TopK, as `calibrated` does; that loss is asked for, and needs no `lossy`.
    """
    target = format_named(to)
    if storage == "int8" and not isinstance(target, Micrographia):
        raise CallError(f"{to} has no int8 with scales; write fp32 or bf16, or --to {Micrographia.name}.")
    refuse_taken(folder)
    origin = detect(source, said)
    if isinstance(origin, Micrographia):
        verify(source)
    file = _read(origin, source, hints)
    chosen = None if calibrate is None else calibrate(file)
    fitted = _fitted(file if chosen is None else chosen.file, target, storage, lossy=lossy)
    meant = fitted.file if storage == "fp32" else rounded(fitted.file, storage, vectors=to != Micrographia.name)
    with new_folder(folder) as partial:
        target.write(fitted.file, partial, storage)
    back = target.read(folder, Hints()) if check else None
    return Conversion(
        source=origin.name,
        target=to,
        kind=file.kind,
        layers=file.coding,
        n_features=sum(file.n_features(layer) for layer in file.coding),
        d_model=file.d_model,
        storage=storage,
        size=sum(path.stat().st_size for path in basis_files(folder)),
        lost=fitted.lost if chosen is None else (chosen.line, *fitted.lost),
        calibration=() if chosen is None else chosen.layers,
        rounding=None if storage == "fp32" else rounding(fitted.file, meant),
        written=None if back is None else compare(meant, back),
        changed=None if back is None else compare(file, back),
    )


def compare(one: BasisFile, other: BasisFile, *, rows: int = _ROWS, seed: int = 0) -> Comparison:
    """Run both on the same random inputs, small and large. A feature or layer that only one has counts as zero."""
    generator = torch.Generator().manual_seed(seed)
    unit = torch.randn(rows, one.d_model, generator=generator)
    x = unit * torch.logspace(-1, 1, rows)[:, None]
    mine, its = _Sums(), _Sums()
    acts = [(mine.run(one, layer, x), its.run(other, layer, x)) for layer in sorted({*one.layers, *other.layers})]
    zero = torch.zeros_like(x)
    layers = {*mine.outputs, *its.outputs}
    coded = [_apart(*_equally_wide(ours, theirs)) for ours, theirs in acts]
    written = [_apart(mine.outputs.get(layer, zero), its.outputs.get(layer, zero)) for layer in layers]
    return Comparison(
        activations=max(found.difference for found in coded),
        outputs=max(found.difference for found in written),
        largest_activation=max(found.largest for found in coded),
        largest_output=max(found.largest for found in written),
        relative=max(found.relative for found in (*coded, *written)),
        active=sum(found.active for found in coded) / max(sum(found.n for found in coded), 1),
    )


@dataclass(frozen=True, slots=True)
class _Apart:
    difference: float
    largest: float
    relative: float
    active: int
    n: int


def _apart(ours: Tensor, theirs: Tensor) -> _Apart:
    if not ours.numel():
        return _Apart(0.0, 0.0, 0.0, 0, 0)
    rows, sizes = (ours - theirs).abs().amax(-1), ours.abs().amax(-1)
    return _Apart(
        difference=float(rows.max()),
        largest=float(sizes.max()),
        relative=float((rows / sizes.clamp(min=1.0)).max()),
        active=int(((ours != 0) | (theirs != 0)).sum()),
        n=ours.numel(),
    )


def _equally_wide(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    width = max(ours.shape[1], theirs.shape[1])
    return pad(ours, (0, width - ours.shape[1])), pad(theirs, (0, width - theirs.shape[1]))


class _Sums:
    """The outputs of a basis, gathered layer by layer, so that only one layer's tensors are in memory."""

    def __init__(self) -> None:
        self.outputs: dict[int, Tensor] = {}

    def run(self, file: BasisFile, layer: Layer, x: Tensor) -> Tensor:
        """The layer's activations; what it writes is added to the outputs."""
        each = file.layers.get(layer)
        parts: Mapping[str, Tensor] = {} if each is None else each.parts
        if "bias" in parts:
            self._add(layer, parts["bias"].to(torch.float32).expand_as(x))
        if each is None or "encoder" not in parts:
            return x.new_zeros(len(x), 0)
        acts = _activations(each, x)
        if "skip" in parts:
            self._add(layer, x @ parts["skip"].to(torch.float32).T)
        if file.kind == "per-layer":
            self._add(layer, acts @ parts["decoder"].to(torch.float32))
        else:
            for i, decoder in enumerate(parts["decoders"].to(torch.float32)):
                self._add(layer + i, acts @ decoder)
        return acts

    def _add(self, layer: int, written: Tensor) -> None:
        self.outputs[layer] = self.outputs.get(layer, torch.zeros_like(written)) + written


def _activations(layer: LayerParts, x: Tensor) -> Tensor:
    wide = layer.changed(lambda _, part: part.to(torch.float32))
    return Encoder(wide.parts["encoder"], wide.parts["encoder_bias"], wide.activation_rule())(x)


def _read(origin: Format, folder: Path, hints: Hints) -> BasisFile:
    """As the format reads it, if its layers are of one model; our own manifest has already seen to that."""
    file = origin.read(folder, hints)
    if not isinstance(origin, Micrographia):
        widths = {layer: each.parts["bias"].shape[0] for layer, each in file.layers.items()}
        first = next(iter(widths))
        for layer, width in widths.items():
            if width != widths[first]:
                raise ModelFileError(
                    f"{folder} holds layers of different models: layer {first} has {widths[first]} dimensions, and "
                    f"layer {layer} has {width}."
                )
    return file


def _fitted(file: BasisFile, target: Format, storage: Storage, *, lossy: bool) -> Fitted:
    fitted = target.fit(file, storage)
    if fitted.lost and not lossy:
        raise UnsupportedError(
            f"{target.name} cannot hold all of this: {'; '.join(fitted.lost)}. To write it all the same: --lossy"
        )
    return fitted
