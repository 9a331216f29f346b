"""A tiny model, a corpus of its words, a random basis, and the atlas of the three.

Our own package is imported inside the fixtures: its shape checks are put in place after conftest files load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bases.evaluation.conftest import build_corpus
from tests.model.conftest import case, model, tiny

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from micrographia.atlas.atlas import Atlas
    from micrographia.bases.transcoder import PerLayer
    from micrographia.corpus.corpus import Corpus
    from micrographia.model.model import Model

__all__ = ["atlas", "basis", "case", "corpus", "llama", "model", "tiny"]


@pytest.fixture(scope="session")
def llama(tiny: Callable[[str], Model]) -> Model:
    return tiny("llama")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, llama: Model) -> Corpus:
    return build_corpus(tmp_path_factory.mktemp("read"), llama)


@pytest.fixture(scope="session")
def basis(llama: Model) -> PerLayer:
    from tests.bases.evaluation.bases import per_layer

    return per_layer(llama, "jumprelu", layers=(0, 2))


@pytest.fixture(scope="session")
def atlas(tmp_path_factory: pytest.TempPathFactory, llama: Model, basis: PerLayer, corpus: Corpus) -> Atlas:
    from micrographia.atlas.atlas import Atlas
    from micrographia.atlas.build import build_atlas
    from tests.atlas.small import SMALL

    folder: Path = tmp_path_factory.mktemp("built") / "atlas"
    build_atlas(llama, basis, corpus, folder, name="random", config=SMALL)
    return Atlas.open(folder)
