"""Tiny models of every family, loaded through the same path as any user's folder.

Our own package is imported inside the fixtures: its shape checks are put in place after conftest files load.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from tests.model.families import TINY, VOCAB, hugging_face

if TYPE_CHECKING:
    from micrographia.model.model import Model

    Tiny = Callable[[str], Model]


def save_tiny(case: str, folder: Path) -> None:
    """A checkpoint in float64, with a tokenizer of words `<s>`, `</s>`, `t2` … `t79`."""
    hugging_face(case).save_pretrained(folder)
    backend = Backend(WordLevel({"<s>": 0, "</s>": 1} | {f"t{i}": i for i in range(2, VOCAB)}, unk_token="<s>"))
    backend.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>").save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """tiny("gemma2") is that family's tiny model in float64."""
    from micrographia.model.load import load_model

    @cache
    def build(case: str) -> Model:
        folder = tmp_path_factory.mktemp(case)
        save_tiny(case, folder)
        return load_model(str(folder), dtype="float64", device="cpu")

    return build


@pytest.fixture(params=TINY)
def case(request: pytest.FixtureRequest) -> str:
    """Every family in turn, and some of its variants."""
    return str(request.param)


@pytest.fixture
def model(case: str, tiny: Tiny) -> Model:
    """The tiny model of each case."""
    return tiny(case)
