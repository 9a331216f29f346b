"""An atlas on disk, open to be asked: what every feature does over a corpus.

Nothing is read until it is asked for, and then it is mapped. Sizes are compared when an atlas is opened, the CRC-32 of
a layer when it is first used.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, final

import numpy as np

from micrographia import store
from micrographia.atlas.feature import Examples, Feature, Said
from micrographia.atlas.files import mapped
from micrographia.atlas.fingerprint import basis_fingerprint, feature_basis
from micrographia.atlas.plan import BUILD, AtlasManifest, LayerPlan, read_atlas_manifest
from micrographia.atlas.strength import AMOUNT_UNIT, SQUARE_UNIT, strengths
from micrographia.atlas.text import Text
from micrographia.bases.basis import Basis
from micrographia.bases.named import TRANSCODERS, shipped_folder
from micrographia.corpus.encoding import tokenizer_sha256
from micrographia.errors import CacheError, CallError
from micrographia.ids import Layer, TokenId
from micrographia.model.model import Model
from micrographia.model.tokens import Tokenizer

__all__ = ["BESIDE", "Atlas", "LayerAtlas", "atlas_beside", "atlas_place", "built_place"]

BESIDE = "atlas"
"""The folder in a basis's folder where its atlas is looked for."""


@final
class Atlas:
    """What each feature of a basis does. `open` makes one; `feature` is the question."""

    __slots__ = ("_layers", "_plans", "folder", "manifest", "text")

    def __init__(self, folder: Path, manifest: AtlasManifest, text: Text) -> None:
        self.folder, self.manifest, self.text = folder, manifest, text
        self._plans = {Layer(each.layer): each for each in manifest.plan.layers}
        self._layers: dict[Layer, LayerAtlas] = {}

    def __repr__(self) -> str:
        plan = self.manifest.plan
        n = sum(each.n_features for each in plan.layers)
        return f"<Atlas of {n:,} features of {plan.basis.name or plan.basis.kind} over {plan.n_positions:,} positions>"

    @staticmethod
    def open(folder: Path | str) -> "Atlas":
        """Open an atlas, comparing sizes with its manifest."""
        folder = Path(folder).expanduser()
        manifest = read_atlas_manifest(folder)
        _check_sizes(folder, manifest)
        return Atlas(folder, manifest, Text.open(folder))

    def check(self, model: Model, basis: Basis) -> None:
        """Refuse a tokenizer for which the text is another, and a basis whose features are others."""
        self.check_tokenizer(model.tokenizer)
        plan = self.manifest.plan
        if basis_fingerprint(feature_basis(basis), model.weights) != plan.basis.fingerprint:
            raise CallError(
                f"The atlas {self.folder} is of another basis, {plan.basis.name or plan.basis.kind} of {plan.model}, "
                "and its features are not these. Name that basis, or build an atlas of this one: "
                "micrographia atlas build BASIS --corpus DIR --out DIR"
            )

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Refuse a tokenizer for which the text is another."""
        plan = self.manifest.plan
        if tokenizer_sha256(tokenizer) != plan.tokenizer_sha256:
            raise CallError(
                f"The atlas {self.folder} is written in the tokens of {plan.tokenizer} ({plan.d_vocab} of them), which "
                f"{tokenizer.name} ({tokenizer.d_vocab}) does not share. Open the model that it was built with."
            )

    def verify(self, progress: store.Progress = store.silent) -> None:
        """Compare the SHA-256 of every file with the manifest."""
        store.verify_files(self.folder, self.manifest.files, progress)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that have features."""
        return tuple(self._plans)

    @property
    def n_positions(self) -> int:
        """Positions of text that were read."""
        return self.manifest.plan.n_positions

    def n_features(self, layer: int) -> int:
        return self._plan(layer).n_features

    def feature(self, layer: int, index: int) -> Feature:
        """All that is known of one feature."""
        plan = self._plan(layer)
        if not 0 <= index < plan.n_features:
            raise CallError(
                f"Layer {layer} of this atlas has the features 0 to {plan.n_features - 1}; there is no {index}."
            )
        return self.layer(layer).feature(index)

    def layer(self, layer: int) -> "LayerAtlas":
        """The arrays of a layer, one row for each feature."""
        plan = self._plan(layer)
        if plan.layer not in self._layers:
            record = self.manifest.files[1 + self.layers.index(Layer(layer))]
            store.check_files(self.folder, [record])
            arrays = dict(mapped(self.folder / record.name))
            self._layers[Layer(layer)] = LayerAtlas(
                plan, arrays, self.text, self.n_positions, self.manifest.plan.config.before
            )
        return self._layers[Layer(layer)]

    def promoting(self, token: int) -> Iterator[tuple[Layer, int, float]]:
        """The features among whose promoted tokens one is, with its cosine."""
        for layer in self.layers:
            arrays = self.layer(layer).arrays
            rows, ranks = np.nonzero(arrays["promoted.token"] == token)
            cosines = arrays["promoted.cosine"][rows, ranks].astype(np.float64)
            yield from ((layer, int(row), float(cosine)) for row, cosine in zip(rows, cosines, strict=True))

    def _plan(self, layer: int) -> LayerPlan:
        if layer not in self._plans:
            there = ", ".join(map(str, self._plans))
            raise CallError(f"This atlas has no layer {layer}; it has: {there}.")
        return self._plans[Layer(layer)]


@final
@dataclass(frozen=True, slots=True, eq=False)
class LayerAtlas:
    """One layer of an atlas."""

    plan: LayerPlan
    arrays: Mapping[str, np.ndarray]
    """One row for each feature; `docs/atlas.md` has the list."""
    text: Text
    n_positions: int
    before: int
    """How many of the strengths around a place lie before it."""

    def counts(self) -> np.ndarray:
        """How often each feature is active."""
        return self.arrays["histogram"].sum(1, dtype=np.int64)

    def feature(self, index: int) -> Feature:
        arrays, exponent = self.arrays, self.plan.exponent
        histogram = arrays["histogram"][index].astype(np.int64)
        count, unit = int(histogram.sum()), 2.0**exponent
        strongest = self._examples("strongest", index)
        total, square = (float(arrays[name][index]) for name in ("total", "square"))
        return Feature(
            layer=Layer(self.plan.layer),
            index=index,
            count=count,
            n_positions=self.n_positions,
            mean=total * AMOUNT_UNIT * unit / count if count else 0.0,
            mean_square=square * SQUARE_UNIT * unit**2 / count if count else 0.0,
            largest=float(strongest.activation[0]) if len(strongest) else 0.0,
            negative=int(arrays["negative"][index]),
            exponent=exponent,
            histogram=histogram,
            strongest=strongest,
            sample=self._examples("random", index),
            promoted=self._said("promoted", index),
            suppressed=self._said("suppressed", index),
        )

    def _examples(self, order: str, index: int) -> Examples:
        code = self.arrays[f"{order}.code"][index]
        n = int(np.count_nonzero(code))
        return Examples(
            text=self.text,
            place=self.arrays[f"{order}.place"][index, :n],
            activation=strengths(np.ascontiguousarray(code[:n]), self.plan.exponent),
            near=self.arrays[f"{order}.near"][index, :n],
            exponent=self.plan.exponent,
            before=self.before,
        )

    def _said(self, side: str, index: int) -> tuple[Said, ...]:
        columns = (self.arrays[f"{side}.{name}"][index] for name in ("token", "cosine", "logit"))
        tokens, cosines, logits = (cast("list[float]", column.tolist()) for column in columns)
        return tuple(Said(TokenId(int(t)), c, g) for t, c, g in zip(tokens, cosines, logits, strict=True))


def built_place() -> Path:
    """Where the atlas of the transcoders that come along lies if it was built here: their own folder may be closed."""
    return store.cache_dir() / "atlases" / TRANSCODERS


def atlas_place(folder: Path) -> Path | None:
    """Where the atlas of the basis in a folder lies, if there is one.

    What was built here for the transcoders that come along says more than what came along with them, unless it was
    built for others than they are now.
    """
    beside, built = folder / BESIDE, built_place()
    if folder == shipped_folder() and built.is_dir() and (not beside.is_dir() or _alike(built, beside)):
        return built
    return beside if beside.is_dir() else None


def _alike(one: Path, other: Path) -> bool:
    first, second = (read_atlas_manifest(each).plan.basis.fingerprint for each in (one, other))
    return first == second


def atlas_beside(folder: Path, model: Model, basis: Basis) -> Atlas | None:
    """The atlas of the basis in a folder, if there is one; one that is of another basis is refused."""
    place = atlas_place(folder)
    if place is None:
        return None
    found = Atlas.open(place)
    found.check(model, basis)
    return found


def _check_sizes(folder: Path, manifest: AtlasManifest) -> None:
    if len(manifest.files) != len(manifest.plan.layers) + 1:
        raise CacheError(
            f"{folder / store.MANIFEST} lists other files than its layers have. {store.removal_line(folder, by=BUILD)}"
        )
    for record in manifest.files:
        path = folder / record.name
        size = path.stat().st_size if path.is_file() else None
        if size != record.size:
            wrong = (
                "is missing" if size is None else f"is damaged: it has {size} bytes, and had {record.size} when written"
            )
            raise CacheError(f"{path} {wrong}. {store.removal_line(folder, by=BUILD)}")
