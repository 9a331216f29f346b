"""What a token is made of: its bytes, and how they are shown to people.

A byte-level vocabulary (GPT-2's kind) writes every byte as one letter; a sentencepiece vocabulary writes a
space as `▁` and a byte that is no letter as `<0xE2>`. Shown, every piece is one visible word: a space is
`␣`, a newline `⏎`, a tab `⇥`, and bytes that are not whole characters are `⟨E2 82⟩`.
"""

import json
import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, cast, runtime_checkable

from tokenizers import Tokenizer as Backend

__all__ = ["Spelling", "shown", "spelling_of", "spellings_of", "token_bytes", "unwritable_bytes"]

_SPACE = "▁"
_VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


class Spelling(StrEnum):
    """How a vocabulary writes bytes."""

    BYTE_LEVEL = "byte level"
    SENTENCEPIECE = "sentencepiece"
    PLAIN = "plain"


@runtime_checkable
class _Decoder(Protocol):
    """What is used of a decoder of the tokenizers library: its state is JSON."""

    def __getstate__(self) -> bytes: ...


def spelling_of(backend: Backend) -> Spelling:
    """How a tokenizer's vocabulary writes bytes; its decoder says so."""
    decoder = cast("_Decoder | None", backend.decoder)
    if decoder is None:
        return Spelling.PLAIN
    kinds = _kinds(json.loads(decoder.__getstate__()))
    if "ByteLevel" in kinds:
        return Spelling.BYTE_LEVEL
    return Spelling.SENTENCEPIECE if {"Metaspace", "ByteFallback", "Replace"} & kinds else Spelling.PLAIN


def token_bytes(token: str, spelling: Spelling) -> bytes:
    """The bytes that a vocabulary entry stands for."""
    if spelling is Spelling.BYTE_LEVEL:
        table = _BYTE_OF
        return b"".join(bytes([table[c]]) if c in table else c.encode() for c in token)
    if spelling is Spelling.SENTENCEPIECE:
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes.fromhex(token[3:5])
        return token.replace(_SPACE, " ").encode()
    return token.encode()


def spellings_of(raw: bytes, spelling: Spelling) -> tuple[str, ...]:
    """The vocabulary entries that would stand for exactly these bytes, the usual one first."""
    if spelling is Spelling.BYTE_LEVEL:
        return ("".join(_LETTER_OF[byte] for byte in raw),)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        usual: tuple[str, ...] = ()
    else:
        usual = (text.replace(" ", _SPACE) if spelling is Spelling.SENTENCEPIECE else text,)
    single = spelling is Spelling.SENTENCEPIECE and len(raw) == 1
    return (*usual, f"<0x{raw[0]:02X}>") if single else usual


def unwritable_bytes(backend: Backend, spelling: Spelling) -> frozenset[int]:
    """Bytes that a byte-level vocabulary has no letter for: the tokenizer would drop them without a word."""
    if spelling is not Spelling.BYTE_LEVEL:
        return frozenset()
    return frozenset(byte for byte, letter in _LETTER_OF.items() if backend.token_to_id(letter) is None)


def shown(raw: bytes) -> str:
    """Bytes as people read them, with nothing invisible left."""
    out: list[str] = []
    while raw:
        try:
            out.append(_visible(raw.decode()))
            break
        except UnicodeDecodeError as error:
            out.append(_visible(raw[: error.start].decode()))
            stray = raw[error.start : _next_start(raw, error.start)]
            out.append(f"⟨{stray.hex(' ').upper()}⟩")
            raw = raw[error.start + len(stray) :]
    return "".join(out)


def _next_start(raw: bytes, at: int) -> int:
    """Where the first whole character after a stray byte begins."""
    for start in range(at + 1, len(raw)):
        for end in range(start + 1, min(start + 4, len(raw)) + 1):
            try:
                raw[start:end].decode()
            except UnicodeDecodeError:
                continue
            return start
    return len(raw)


def _visible(text: str) -> str:
    if text and unicodedata.combining(text[0]):
        text = "◌" + text
    return "".join(_VISIBLE.get(c) or (c if _can_be_seen(c) else f"⟨U+{ord(c):04X}⟩") for c in text)


def _can_be_seen(c: str) -> bool:
    return unicodedata.category(c)[0] not in "CZ"


def _kinds(decoder: object) -> set[str]:
    """The types of all steps of a decoder, however nested."""
    if isinstance(decoder, Mapping):
        entries = cast("Mapping[str, object]", decoder)
        return {str(entries.get("type"))}.union(*(_kinds(value) for value in entries.values()))
    if isinstance(decoder, list):
        return set[str]().union(*(_kinds(value) for value in cast("list[object]", decoder)))
    return set()


def _letters() -> dict[int, str]:
    """GPT-2's table: visible Latin-1 letters stand for their own bytes, letters after 255 for the others."""
    itself = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in itself]
    return {byte: chr(byte) for byte in itself} | {byte: chr(256 + i) for i, byte in enumerate(others)}


_LETTER_OF = _letters()
_BYTE_OF = {letter: byte for byte, letter in _LETTER_OF.items()}
