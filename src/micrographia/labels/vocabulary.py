"""What a vocabulary's tokens have in common: their form, their frequency, and which are kin.

Two tokens are kin if they differ only in case, a space or a plural, or if the one's embedding is nearer to the other's
than those of all but one in a thousand tokens of the text.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from micrographia.atlas.text import Text
from micrographia.model.model import Model

__all__ = ["CLASSES", "STARTS", "Vocabulary"]

_SAMPLE = 10_000
_CLOSER = 0.999
_NEIGHBOURS = 5
_SUFFIXES = ("ing", "ed", "ly", "tion", "er", "est", "ness", "ment", "able")


def _word(piece: str) -> str:
    return piece.strip()


def _script(name: str) -> Callable[[str], bool]:
    def has(piece: str) -> bool:
        letters = [c for c in piece if c.isalpha()]
        return bool(letters) and all(unicodedata.name(c, "").startswith(name) for c in letters)

    return has


def _suffix(end: str) -> Callable[[str], bool]:
    return lambda piece: _word(piece).isalpha() and _word(piece).endswith(end) and len(_word(piece)) > len(end) + 1


CLASSES: Mapping[str, Callable[[str], bool]] = {
    "a digit": lambda piece: _word(piece).isdecimal(),
    "a mark of punctuation": lambda piece: bool(_word(piece)) and not any(c.isalnum() for c in _word(piece)),
    "a part of a character": lambda piece: "\ufffd" in piece,
    "a line break": lambda piece: "\n" in piece and not piece.strip(),
    "blank space": lambda piece: bool(piece) and not piece.strip() and "\n" not in piece,
    "a capitalised word": lambda piece: piece[:1] == " " and _word(piece).isalpha() and _word(piece).istitle(),
    "a word in capitals": lambda piece: len(_word(piece)) > 1 and _word(piece).isalpha() and _word(piece).isupper(),
    "the inside of a word": lambda piece: piece[:1].isalpha() and piece.isascii() and piece.islower(),
    "a Cyrillic token": _script("CYRILLIC"),
    "a Greek token": _script("GREEK"),
    "an Arabic token": _script("ARABIC"),
    "a Chinese or Japanese token": lambda piece: any(
        unicodedata.name(c, "").startswith(("CJK", "HIRAGANA", "KATAKANA")) for c in piece
    ),
    **{f"a word in -{end}": _suffix(end) for end in _SUFFIXES},
}
"""Classes of tokens that a label may name, each with its test of a token's text."""
STARTS: Mapping[str, Callable[[str], bool]] = {
    "line": lambda piece: "\n" in piece and not piece.rpartition("\n")[2].strip(),
    "sentence": lambda piece: (
        STARTS["line"](piece) or piece.rstrip(" \"')]”’»").endswith((".", "!", "?", "。", "！", "？"))
    ),
}
"""Tests of whether a line or a sentence starts behind a token."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """The tokens of a text."""

    texts: Sequence[str]
    frequency: Float64[np.ndarray, " d_vocab"]
    """Of each token among all, never zero."""
    members: Bool[np.ndarray, "name d_vocab"]
    """Of the classes, in their order."""
    directions: Float32[np.ndarray, "d_vocab d_model"]
    """Embeddings, centred and of length one."""
    sample: Int64[np.ndarray, " token"]
    """Tokens of the text, to compare others with."""
    nearness: dict[int, float]
    """How near a token's kin is, as far as anybody asked."""
    common: Int64[np.ndarray, " token"]
    """The commonest tokens of the text."""
    neighbours: dict[int, Int64[np.ndarray, " few"]]
    """Those of the commonest that are nearest to a token, as far as anybody asked."""
    odd: Mapping[int, str]
    """How tokens are shown that are a part of a character."""
    spaced: bool
    """Whether a word's first token begins with a space."""
    front: int
    """Tokens that stand in front of every text."""
    special: Bool[np.ndarray, " d_vocab"]
    """The tokens that begin and end texts."""
    behind: Mapping[str, Bool[np.ndarray, " d_vocab"]]
    """The tokens behind which a line or a sentence starts."""

    @staticmethod
    def of(model: Model, text: Text, seed: int) -> "Vocabulary":
        n = model.anatomy.d_vocab
        known = min(n, model.tokenizer.d_vocab)
        texts = [model.tokenizer.raw(token).decode("utf-8", "replace") for token in range(known)] + [""] * (n - known)
        counts = np.bincount(text.ids.ravel(), minlength=n)[:n].astype(np.float64)
        frequency = (counts + 0.5) / (counts.sum() + 0.5 * n)
        members = np.array([[holds(piece) for piece in texts] for holds in CLASSES.values()])
        embed = model.weights.embed.float().cpu().numpy()
        embed = embed - frequency.astype(np.float32) @ embed
        directions = embed / np.maximum(np.sqrt((embed**2).sum(1, keepdims=True)), 1e-12)
        sample = np.random.default_rng(seed).permutation(np.flatnonzero(counts))[:_SAMPLE]
        common = np.argsort(-counts, kind="stable")[: min(_SAMPLE, int((counts > 0).sum()))]
        odd = {token: model.tokenizer.piece(token) for token in range(known) if "\ufffd" in texts[token]}
        spaced = sum(text[:1] == " " for text in texts) > len(texts) / 10
        special = np.isin(np.arange(n), [*model.tokenizer.front(), *model.tokenizer.ends])
        behind = {name: special | np.array([holds(piece) for piece in texts]) for name, holds in STARTS.items()}
        front = len(model.tokenizer.front())
        return Vocabulary(
            texts, frequency, members, directions, sample, {}, common, {}, odd, spaced, front, special, behind
        )

    def starts(self, since: str) -> tuple[Bool[np.ndarray, " more"], int]:
        """For every token whether a line or a sentence starts behind it; at the end, for no token, it does. A text
        starts only there, and of its tokens so many do not count."""
        if since == "text":
            return np.append(np.zeros(len(self.texts), dtype=bool), True), self.front
        return np.append(self.behind[since], True), 0

    def kin(self, token: int, others: Int64[np.ndarray, " other"]) -> Bool[np.ndarray, " other"]:
        """Which of some tokens are kin to one."""
        close = self.directions[others] @ self.directions[token] >= self._near(token)
        stem = _stem(self.texts[token])
        names = [_stem(self.texts[int(other)]) for other in others]
        alike = np.array([bool(stem) and name == stem for name in names], dtype=bool)
        return close | alike | (others == token)

    def alike(self, tokens: Int64[np.ndarray, " token"]) -> Int64[np.ndarray, " other"]:
        """The tokens nearest in the embedding to some, without these."""
        new = np.array([token for token in tokens.tolist() if token not in self.neighbours], dtype=np.int64)
        if len(new):
            close = self.directions[new] @ self.directions[self.common].T
            close[new[:, None] == self.common[None]] = -np.inf
            few = min(_NEIGHBOURS, len(self.common))
            best = np.argpartition(-close, few - 1, axis=1)[:, :few]
            self.neighbours.update(zip(new.tolist(), self.common[best], strict=True))
        return np.setdiff1d(
            np.concatenate([tokens[:0], *(self.neighbours[token] for token in tokens.tolist())]), tokens
        )

    def _near(self, token: int) -> float:
        """The cosine from which on others are kin to one."""
        if token not in self.nearness:
            cosines = self.directions[self.sample] @ self.directions[token]
            self.nearness[token] = float(np.quantile(cosines[self.sample != token], _CLOSER))
        return self.nearness[token]

    def words(self, tokens: Sequence[int], most: int = 3) -> str:
        """Tokens as people read them, those that differ only in form once: `years / months / …`."""
        found: dict[str, str] = {}
        for token in tokens:
            found.setdefault(_stem(self.texts[token]) or self.texts[token], self.shown(token))
        shown = list(found.values())
        return " / ".join(shown[:most]) + (" / …" if len(shown) > most else "")

    def shown(self, token: int) -> str:
        """One token as people read it: `years` for a whole word, `…ears` for what goes on with one."""
        text = self.texts[token]
        if not text.strip():
            return text.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣") or "(nothing)"
        word = "".join(c if c.isprintable() else "�" for c in text.strip())
        if "\ufffd" in text:
            return self.odd[token]
        inside = self.spaced and text[:1] == word[0] and word.isascii() and word.isalpha() and word.islower()
        return f"…{word}" if inside else word


def _stem(text: str) -> str:
    """What tokens that differ only in form share; nothing for those that are a part of a character."""
    if "\ufffd" in text:
        return ""
    word = text.strip().casefold()
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
