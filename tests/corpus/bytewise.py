"""A tokenizer of single bytes, made in a moment, and small things to build a corpus from."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteLevel as Decoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from micrographia.corpus.recipe import Recipe
    from micrographia.model.tokens import Tokenizer

__all__ = ["END", "UNWRITABLE", "bytewise", "content_of", "folder_recipe", "story", "write_files"]

END = 0
UNWRITABLE = "\x04"
WORDS = ("the", "of", "a", "to", "in", "lens", "light", "water", "seed", "snow", "cork", "moss", "flea", "mite", "silk")


def bytewise(name: str = "bytewise", *, d_vocab: int = 257, shifted: int = 0) -> Tokenizer:
    """One token per byte, `<|endoftext|>` in front, and no token for U+0004. `shifted` gives other ids."""
    from micrographia.model.pieces import _LETTER_OF
    from micrographia.model.tokens import BosPolicy, Tokenizer

    letters = [letter for byte, letter in sorted(_LETTER_OF.items()) if byte != ord(UNWRITABLE)]
    vocabulary = {letters[(i + shifted) % len(letters)]: i + 1 for i in range(len(letters))}
    backend = Backend(BPE({"<|endoftext|>": END} | vocabulary, []))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.decoder = Decoder()
    backend.add_special_tokens(["<|endoftext|>"])

    def none() -> object:
        raise AssertionError("transformers is not needed here")

    return Tokenizer(
        name, backend, bos=BosPolicy((END,), "checkpoint"), ends=(END,), context=1 << 20, d_vocab=d_vocab, whole=none
    )


def story(number: int, words: int = 40) -> str:
    """A text that no other number has."""
    chosen = random.Random(number).choices(WORDS, k=words)
    return f"Observation {number}. " + " ".join(chosen) + ".\n"


def write_files(folder: Path, texts: Iterable[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts):
        (folder / f"{number:03}.txt").write_text(text, encoding="utf-8")
    return folder


def folder_recipe(folder: Path, **choices: object) -> Recipe:
    from micrographia.corpus.recipe import Recipe, TextFiles

    return Recipe.model_validate({"sources": (TextFiles(name="stories", path=folder),), "heldout": 0.3} | choices)


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, byte for byte."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
