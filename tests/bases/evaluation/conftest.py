"""A corpus of the tiny models' words; all of them share a tokenizer.

Our own package is imported inside the fixtures: its shape checks are put in place after conftest files load.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.corpus.bytewise import folder_recipe, write_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from micrographia.corpus.corpus import Corpus
    from micrographia.model.model import Model


def build_corpus(folder: Path, model: Model, *, documents: int = 60, words: int = 90) -> Corpus:
    """Documents whose next word often is the one after the last, so that it can be guessed."""
    from micrographia.corpus.build import build
    from micrographia.corpus.corpus import Corpus

    def text(number: int) -> str:
        chance = random.Random(number)
        found = [chance.randrange(2, 80)]
        for _ in range(words):
            found.append((found[-1] - 1) % 78 + 2 if chance.random() < 0.7 else chance.randrange(2, 80))
        return " ".join(f"t{token}" for token in found)

    write_files(folder / "texts", map(text, range(documents)))
    build(folder_recipe(folder / "texts", heldout=0.5), folder / "corpus", model.tokenizer)
    return Corpus.open(folder / "corpus")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[[str], Model]) -> Corpus:
    return build_corpus(tmp_path_factory.mktemp("evaluated"), tiny("gpt2"))


@pytest.fixture(scope="session")
def rectified(tiny: Callable[[str], Model]) -> Model:
    """A GPT-2 whose MLPs are plain ReLU, so that each of them is a transcoder."""
    from micrographia.model.anatomy import Activation
    from micrographia.model.model import Model

    whole = tiny("gpt2")
    return Model("rectified", replace(whole.anatomy, activation=Activation.RELU), whole.weights, whole.tokenizer)
