"""A thinned atlas is the one that smaller choices build."""

from pathlib import Path

import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.build import build_atlas
from micrographia.atlas.thin import thin
from micrographia.bases.transcoder import PerLayer
from micrographia.corpus.corpus import Corpus
from micrographia.errors import CallError
from micrographia.model.model import Model
from tests.atlas.small import SMALL, content


def test_it_is_what_smaller_choices_build(
    atlas: Atlas, llama: Model, basis: PerLayer, corpus: Corpus, tmp_path: Path
) -> None:
    smaller = {"strongest": 2, "sample": 3, "before": 1, "after": 0, "promoted": 2}
    config = SMALL.model_copy(update=smaller)
    manifest = thin(atlas, tmp_path / "thin", config)
    build_atlas(llama, basis, corpus, tmp_path / "built", name="random", config=config)
    assert content(tmp_path / "thin") == content(tmp_path / "built")
    assert manifest.size < atlas.manifest.size
    assert Atlas.open(tmp_path / "thin").feature(0, 3).strongest[0].activation == atlas.feature(0, 3).largest


def test_it_only_becomes_smaller(atlas: Atlas, tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"only be made smaller.*sample 6 → 7, seed 0 → 1"):
        thin(atlas, tmp_path / "thin", SMALL.model_copy(update={"sample": 7, "seed": 1}))
    with pytest.raises(CallError, match="there already"):
        thin(atlas, tmp_path, SMALL)
    assert list(tmp_path.iterdir()) == []
