"""Our own folders: `manifest.json` and one safetensors file per layer.

The manifest says all that is known and weighs every file. Sizes are compared when the folder is opened, the CRC-32 of a
file when its layer is first used; `verify` compares the SHA-256. Unknown keys and versions are refused.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal, final

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from micrographia import store
from micrographia.bases.activation import ActivationRule, BatchTopK, Relu, TopK
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.format import Fitted, Hints
from micrographia.bases.formats.lazily import Lazily
from micrographia.bases.formats.parts import AXES, BasisFile, Kind, LayerParts, finite
from micrographia.bases.formats.reading import open_safetensors, read_json
from micrographia.bases.formats.storage import Storage, restored, stored
from micrographia.bases.formats.writing import write_json, write_tensors
from micrographia.errors import ModelFileError
from micrographia.ids import Layer
from micrographia.model.tensor_files import TensorFiles

__all__ = ["BasisManifest", "LayerRecord", "Micrographia", "read_basis_manifest", "verify"]

_SCHEMA = 1
_FORM = ConfigDict(frozen=True, extra="forbid")


class _Relu(BaseModel):
    model_config = _FORM
    kind: Literal["relu", "jumprelu"]


class _TopK(BaseModel):
    model_config = _FORM
    kind: Literal["topk"]
    k: int = Field(gt=0)


class _BatchTopK(BaseModel):
    model_config = _FORM
    kind: Literal["batchtopk"]
    k: int = Field(gt=0)
    threshold: float


class LayerRecord(BaseModel):
    """One layer in the manifest: its file and its sizes; without an activation it is only an output bias."""

    model_config = _FORM

    layer: int = Field(ge=0)
    file: str
    n_features: int = Field(ge=0)
    activation: Annotated[_Relu | _TopK | _BatchTopK, Field(discriminator="kind")] | None


class BasisManifest(BaseModel):
    """What a folder of ours says about the basis in it."""

    model_config = _FORM

    schema_version: Literal[1] = _SCHEMA
    kind: Kind
    d_model: int = Field(gt=0)
    storage: Storage
    facts: BasisFacts
    layers: tuple[LayerRecord, ...]
    files: tuple[store.FileRecord, ...]


@final
class Micrographia:
    """Our own format; it holds every basis."""

    name = "micrographia"

    def detect(self, folder: Path, /) -> str | None:
        path = folder / store.MANIFEST
        return (
            f"a {store.MANIFEST} of ours"
            if path.is_file() and '"d_model"' in path.read_text("utf-8", "ignore")
            else None
        )

    def read(self, folder: Path, hints: Hints, /) -> BasisFile:
        manifest = read_basis_manifest(folder)
        records = {record.name: record for record in manifest.files}
        layers: dict[Layer, LayerParts] = {}
        if len({entry.layer for entry in manifest.layers}) != len(manifest.layers):
            raise ModelFileError(f"{folder / store.MANIFEST} lists a layer twice.")
        for entry in manifest.layers:
            if entry.file not in records:
                raise ModelFileError(f"{folder / store.MANIFEST} does not weigh {entry.file}.")
            layers[Layer(entry.layer)] = _layer(folder, records[entry.file], entry, manifest)
        if not any("encoder" in each.parts for each in layers.values()):
            raise ModelFileError(f"{folder} holds a basis without features.")
        return BasisFile(manifest.kind, layers, hints.over(manifest.facts))

    def fit(self, file: BasisFile, storage: Storage, /) -> Fitted:
        return Fitted(file)

    def write(self, file: BasisFile, folder: Path, storage: Storage, /) -> None:
        entries: list[LayerRecord] = []
        records: list[store.FileRecord] = []
        for layer, each in sorted(file.layers.items()):
            path = folder / f"layer-{layer:03}.safetensors"
            tensors: dict[str, Tensor] = {}
            for role in each.parts:
                tensors |= stored(role, finite(each.parts[role], f"The {_words(role)} of layer {layer}"), storage)
            write_tensors(path, tensors)
            codes = "encoder" in each.parts
            activation = _described(each) if codes else None
            n_features = file.n_features(layer) if codes else 0
            entries.append(LayerRecord(layer=layer, file=path.name, n_features=n_features, activation=activation))
            records.append(store.record_file(path))
        manifest = BasisManifest(
            kind=file.kind,
            d_model=file.d_model,
            storage=storage,
            facts=file.facts,
            layers=tuple(entries),
            files=tuple(records),
        )
        write_json(folder / store.MANIFEST, manifest.model_dump(mode="json"))


def read_basis_manifest(folder: Path) -> BasisManifest:
    """The manifest of one of our folders; an unknown version or key is refused by name."""
    path = folder / store.MANIFEST
    manifest = store.record_of(read_json(path), BasisManifest, path, kind=ModelFileError)
    if any(Path(record.name).name != record.name for record in manifest.files):
        raise ModelFileError(f"{path} names files outside its own folder.")
    for record in manifest.files:
        _same_size(folder, record)
    return manifest


def verify(folder: Path, progress: store.Progress = store.silent) -> None:
    """Compare the SHA-256 of every file with the manifest."""
    for record in read_basis_manifest(folder).files:
        if store.sha256_file(folder / record.name, progress) != record.sha256:
            raise ModelFileError(f"{folder / record.name} is damaged: its SHA-256 is not the one in the manifest.")


def _described(layer: LayerParts) -> _Relu | _TopK | _BatchTopK:
    match layer.rule:
        case TopK(k):
            return _TopK(kind="topk", k=k)
        case BatchTopK(k, threshold):
            return _BatchTopK(kind="batchtopk", k=k, threshold=threshold)
        case _:
            return _Relu(kind="jumprelu" if "threshold" in layer.parts else "relu")


def _rule(entry: LayerRecord) -> ActivationRule:
    match entry.activation:
        case _TopK(k=k):
            return TopK(k)
        case _BatchTopK(k=k, threshold=threshold):
            return BatchTopK(k, threshold)
        case _:
            return Relu()


def _layer(folder: Path, record: store.FileRecord, entry: LayerRecord, manifest: BasisManifest) -> LayerParts:
    path = folder / record.name
    tensors = open_safetensors(path)
    wanted = _wanted(entry, manifest.kind)
    there = {name for name in tensors if not name.endswith(".scale")}
    if there - wanted or (wanted - {"skip", "bias"}) - there:
        raise ModelFileError(
            f"{path} holds the tensors {', '.join(sorted(there))}; its manifest asks for {', '.join(sorted(wanted))}."
        )
    scales = {name for name in tensors if name.endswith(".scale")}
    narrow = {name for name in there if manifest.storage == "int8" and len(AXES[name]) > 1}
    if scales != {f"{name}.scale" for name in narrow}:
        raise ModelFileError(f"{path} must hold a scale for each matrix if, and only if, its manifest says int8.")
    for name in there:
        _check_shape(tensors, name, entry, manifest, path)
    checked = _Once(lambda: _check(path, record))
    makers: dict[str, Callable[[], Tensor]] = {
        name: lambda name=name: _restored(tensors, name, path, checked) for name in there
    }
    return LayerParts(Lazily(makers), _rule(entry))


def _wanted(entry: LayerRecord, kind: Kind) -> set[str]:
    if entry.activation is None:
        return {"bias"}
    roles = {"encoder", "encoder_bias", "bias", "skip", "decoder" if kind == "per-layer" else "decoders"}
    return roles | {"threshold"} if entry.activation.kind == "jumprelu" else roles


def _check_shape(tensors: TensorFiles, role: str, entry: LayerRecord, manifest: BasisManifest, path: Path) -> None:
    d_model = manifest.d_model
    sizes = {"feature": entry.n_features, "d_model": d_model, "d_in": d_model, "d_out": d_model}
    shape = tensors.shape(role)
    wanted = tuple(sizes.get(axis, shape[0] if shape else 0) for axis in AXES[role])
    scaled = tensors.shape(f"{role}.scale") if f"{role}.scale" in tensors else None
    if shape != wanted or scaled not in (None, (*shape[:-1], 1)):
        raise ModelFileError(f"{path} holds {role} in shape {shape}; its manifest asks for {wanted}.")


class _Once:
    """A check that is made before the first use, and not again."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._done = False

    def __call__(self) -> None:
        if not self._done:
            self._check()
            self._done = True


def _restored(tensors: Mapping[str, Tensor], name: str, path: Path, checked: Callable[[], None]) -> Tensor:
    checked()
    return finite(restored(tensors[name], tensors.get(f"{name}.scale")), f"The {_words(name)} in {path}")


def _check(path: Path, record: store.FileRecord) -> None:
    if (found := store.crc32_file(path)) != record.crc32:
        raise ModelFileError(f"{path} is damaged: its CRC-32 is {found}, and it was {record.crc32} when written.")


def _same_size(folder: Path, record: store.FileRecord) -> None:
    path = folder / record.name
    if not path.is_file():
        raise ModelFileError(f"{path} is missing, which the manifest lists.")
    if path.stat().st_size != record.size:
        raise ModelFileError(
            f"{path} is damaged: it has {path.stat().st_size} bytes, and had {record.size} when written."
        )


def _words(role: str) -> str:
    return role.replace("_", " ")
