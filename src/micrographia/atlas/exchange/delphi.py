"""delphi's caches as atlases: every activation that it wrote down, read into the same sketches.

A cache is a folder for each module, in it a safetensors file for each range of features, `FIRST_LAST`, with `locations`
(row, position, feature less FIRST), `activations` and `tokens`. A module's layer is the number in its name. What delphi
leaves out, the first position of every row included, is not active.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, final

import numpy as np
import torch
from jaxtyping import Int64, UInt8, UInt16

from micrographia import store
from micrographia.atlas.build import layer_file, write_layer
from micrographia.atlas.effects import Effects, written_by
from micrographia.atlas.files import mapped
from micrographia.atlas.fingerprint import basis_fingerprint, feature_basis
from micrographia.atlas.plan import AtlasConfig, AtlasManifest, BasisRecord, LayerPlan, Plan, SourceRecord
from micrographia.atlas.sketch import Active, Sketch
from micrographia.atlas.strength import codes, exponent_for, narrowed
from micrographia.atlas.text import FILE, Text
from micrographia.atlas.watch import Span
from micrographia.bases.basis import Basis
from micrographia.bases.formats.writing import new_folder
from micrographia.bases.transcoder import CrossLayer, PerLayer
from micrographia.corpus.encoding import tokenizer_sha256
from micrographia.errors import CallError, ModelFileError, UnsupportedError
from micrographia.ids import Layer
from micrographia.model.fingerprint import weights_fingerprint
from micrographia.model.model import Model

__all__ = ["import_delphi"]

_FILE = re.compile(r"(\d+)_(\d+)")


def import_delphi(cache: Path, model: Model, basis: Basis, folder: Path, *, name: str = "") -> AtlasManifest:
    """Make an atlas of a cache, for the basis that it was made with."""
    known = feature_basis(basis)
    if not isinstance(known, PerLayer | CrossLayer):
        raise UnsupportedError("delphi's caches are of trained features: give the basis that this one was made with.")
    modules = _modules(cache)
    sizes = (
        {layer: its.encoder.n_features for layer, its in known.layers.items()}
        if isinstance(known, PerLayer)
        else {layer: its.n_features for layer, its in known.encoders.items()}
    )
    strange = sorted(set(modules) - set(sizes))
    if strange:
        raise CallError(f"{cache} has layer {strange[0]}, and the basis has: {', '.join(map(str, sorted(sizes)))}.")
    text = _text(modules, cache, model)
    config = AtlasConfig(tokens=text.n_positions, window=text.length)
    effects = Effects.of(model.weights)
    with new_folder(folder) as partial:
        text.write(partial)
        layers: list[LayerPlan] = []
        active: list[int] = []
        dead: list[int] = []
        for layer in sorted(modules):
            plan, sketch = _sketch(modules[layer], layer, sizes[layer], text, config)
            write_layer(partial, layer, sketch, effects.ends(written_by(known, model.weights, layer), config.promoted))
            fired = sketch.histogram.sum(1)
            layers.append(plan)
            active.append(int(fired.sum()))
            dead.append(int((fired == 0).sum()))
        plan = Plan(
            config=config,
            model=model.name,
            model_fingerprint=weights_fingerprint(model.weights),
            dtype="float16",
            basis=BasisRecord(
                kind="per-layer" if isinstance(known, PerLayer) else "cross-layer",
                name=name,
                fingerprint=basis_fingerprint(known, model.weights),
            ),
            tokenizer=model.tokenizer.name,
            tokenizer_sha256=tokenizer_sha256(model.tokenizer),
            d_vocab=model.tokenizer.d_vocab,
            corpus_sha256="",
            sources=(SourceRecord(name=f"delphi: {_dataset(cache)}", licence="not said"),),
            n_windows=len(text.ids),
            layers=tuple(layers),
        )
        names = [FILE, *(layer_file(each.layer) for each in layers)]
        manifest = AtlasManifest(
            plan=plan,
            imported_from="delphi",
            active=tuple(active),
            dead=tuple(dead),
            files=tuple(store.record_file(partial / each) for each in names),
        )
        store.write_json(partial / store.MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _modules(cache: Path) -> dict[Layer, Path]:
    """The folder of each layer."""
    if not cache.is_dir():
        raise CallError(f"There is no folder {cache}.")
    found: dict[Layer, Path] = {}
    for place in sorted(path for path in cache.iterdir() if path.is_dir() and any(path.glob("*_*.safetensors"))):
        numbers = re.findall(r"\d+", place.name)
        if len(numbers) != 1 or Layer(int(numbers[0])) in found:
            raise CallError(f"The folder {place.name} in {cache} does not name one layer of its own.")
        found[Layer(int(numbers[0]))] = place
    if not found:
        raise CallError(f"{cache} is no cache of delphi: no folder in it has files such as 0_511.safetensors.")
    return found


def _text(modules: Mapping[Layer, Path], cache: Path, model: Model) -> Text:
    """The tokens, which every file repeats."""
    held = _arrays(sorted(next(iter(modules.values())).glob("*_*.safetensors"))[0])
    if "tokens" not in held:
        raise CallError(f"{cache} was saved without its tokens, so that nothing can be shown of it: save it with them.")
    ids = held["tokens"]
    if int(ids.max()) >= model.tokenizer.d_vocab:
        raise CallError(
            f"{cache} has the token {int(ids.max())}, and {model.name} ends at {model.tokenizer.d_vocab - 1}: it was "
            "made with another tokenizer."
        )
    dtype = np.uint16 if model.tokenizer.d_vocab <= 1 << 16 else np.uint32
    starts = np.arange(len(ids), dtype=np.int64) * ids.shape[1]
    return Text(
        ids.astype(dtype),
        starts.astype(np.uint32),
        np.arange(len(ids), dtype=np.uint32),
        np.zeros(len(ids), dtype=np.uint16),
    )


def _sketch(place: Path, layer: Layer, n_features: int, text: Text, config: AtlasConfig) -> tuple[LayerPlan, Sketch]:
    """One module's activations in a sketch; its unit is taken from all of them."""
    files = sorted(place.glob("*_*.safetensors"), key=_first)
    held = [_arrays(path) for path in files]
    values = torch.from_numpy(np.concatenate([each["activations"].astype(np.float32) for each in held]))
    plan = LayerPlan(layer=layer, n_features=n_features, exponent=exponent_for(values))
    sketch = Sketch(n_features, config.shape)
    for path, arrays in zip(files, held, strict=True):
        sketch.add(_active(path, arrays, plan, text, config.span), text.rows(0, len(text.ids), config.seed))
    return plan, sketch


def _active(path: Path, arrays: Mapping[str, np.ndarray], plan: LayerPlan, text: Text, span: Span) -> Active:
    """All that a file holds behind the first position of each row, in the order of features, then places."""
    locations = arrays["locations"].astype(np.int64)
    feature, value = locations[:, 2] + _first(path), arrays["activations"].astype(np.float32)
    inside = (locations[:, 0] < len(text.ids)) & (locations[:, 1] < text.length) & (feature < plan.n_features)
    if not inside.all():
        raise ModelFileError(f"{path} has a location outside its {len(text.ids)} rows or the basis's features.")
    chosen = (locations[:, 1] > 0) & (value > 0)
    row = locations[chosen, 0] * (text.length - 1) + locations[chosen, 1] - 1
    feature, code = feature[chosen], codes(torch.from_numpy(value[chosen]), plan.exponent)
    order = np.lexsort((row, feature))
    row, feature, code = row[order], feature[order], code[order]
    return Active(row, feature, code, _Around(row, feature, code, text.length - 1, span))


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Around:
    """The strengths around some entries, looked up among all that are written down."""

    row: Int64[np.ndarray, " entry"]
    feature: Int64[np.ndarray, " entry"]
    code: UInt16[np.ndarray, " entry"]
    per_window: int
    span: Span

    def __call__(
        self, row: Int64[np.ndarray, " some"], feature: Int64[np.ndarray, " some"], /
    ) -> UInt8[np.ndarray, "some span"]:
        n_rows = int(self.row.max(initial=0)) + 1
        keys = self.feature * n_rows + self.row
        at = row[:, None] + np.arange(-self.span.before, self.span.after + 1)
        inside = (at >= 0) & (at < n_rows) & (at // self.per_window == (row // self.per_window)[:, None])
        wanted = feature[:, None] * n_rows + at
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(inside & (keys[found] == wanted), narrowed(self.code[found]), np.uint8(0))


def _arrays(path: Path) -> Mapping[str, np.ndarray]:
    held = mapped(path, ours=False)
    if not {"locations", "activations"} <= set(held):
        raise ModelFileError(f"{path} is no file of a delphi cache: it holds {', '.join(sorted(held)) or 'nothing'}.")
    return held


def _first(path: Path) -> int:
    """The first feature of a file, from its name."""
    matched = _FILE.fullmatch(path.stem)
    if matched is None:
        raise CallError(f"{path} is not named after its features, such as 0_511.safetensors.")
    return int(matched[1])


def _dataset(cache: Path) -> str:
    """What the cache says it was made over."""
    path = next(cache.glob("*/config.json"), None)
    if path is None:
        return "an unnamed dataset"
    said = cast("dict[str, object]", json.loads(path.read_text(encoding="utf-8")))
    return f"{said.get('dataset_repo', 'an unnamed dataset')} {said.get('dataset_split', '')}".strip()
