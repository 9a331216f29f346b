"""Planted neurons from their text to their labels."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.build import build_atlas
from micrographia.atlas.plan import AtlasConfig
from micrographia.calibration.planted import WINDOW, Role, Slide
from micrographia.labels.build import LabelConfig, build_labels
from micrographia.labels.label import Kind
from micrographia.labels.store import LabelBook

__all__ = ["Labelled", "confusion", "labelled"]


@dataclass(frozen=True)
class Labelled:
    slide: Slide
    atlas: Atlas
    book: LabelBook


def labelled(
    folder: Path, counts: Mapping[Role, int], *, documents: int, config: LabelConfig, seed: int = 0
) -> Labelled:
    """A slide, an atlas over text of its own, and its labels."""
    slide = Slide.of(counts, seed)
    corpus = slide.corpus(folder, documents, seed)
    n = len(corpus.windows("train", WINDOW, seed=0)) * (WINDOW - 1)
    choices = AtlasConfig(tokens=n, window=WINDOW, block=64)
    build_atlas(slide.model, slide.basis, corpus, folder / "atlas", name="planted", config=choices)
    atlas = Atlas.open(folder / "atlas")
    book = LabelBook.create(folder / "atlas.labels")
    assert build_labels(slide.model, slide.basis, atlas, book, config=config)
    return Labelled(slide, atlas, book)


def confusion(found: Labelled) -> Counter[tuple[Role, Kind]]:
    """How many of each role were called which kind."""
    labels = found.book.labels(0)
    return Counter((each.role, labels[index].kind) for index, each in enumerate(found.slide.features))
