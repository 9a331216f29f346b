"""Bytes to documents, as a stream: decoded strictly, cut where they are too long, known by a fingerprint."""

import codecs
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from micrographia.errors import WorkError

__all__ = ["Document", "Readable", "cut", "decoded", "documents_of", "fingerprint", "lines_of"]

_BLOCK = 1 << 18
_LONGEST_LINE = 1 << 26


@runtime_checkable
class Readable(Protocol):
    """An open file: what remains of it, at most `size` bytes at a time, and nothing at its end."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Document:
    """A text of its own. Documents of one `group` go into the same split."""

    name: str
    text: str
    group: int
    place: int = 0
    """How far its source had come when it came to this one."""


def fingerprint(text: str) -> int:
    """64 bits that are equal for texts which differ in white space only."""
    plain = " ".join(text.split()).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(plain, digest_size=8).digest(), "little")


def decoded(stream: Readable, where: str) -> Iterator[str]:
    """The text of a file, block by block; what is no UTF-8 text is refused by its place."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    breaks = io.IncrementalNewlineDecoder(None, translate=True)
    done = 0
    while block := stream.read(_BLOCK):
        if b"\0" in block:
            raise WorkError(f"{where} is not text: its byte {done + block.index(0)} is 0. Leave it out, or convert it.")
        yield breaks.decode(_strict(decoder, block, done, where))
        done += len(block)
    yield breaks.decode(_strict(decoder, b"", done, where, final=True), final=True)


def _strict(decoder: codecs.IncrementalDecoder, block: bytes, done: int, where: str, *, final: bool = False) -> str:
    pending = len(decoder.getstate()[0])
    try:
        return decoder.decode(block, final)
    except UnicodeDecodeError as error:
        at = done - pending + error.start
        raise WorkError(
            f"{where} is not UTF-8: {error.reason} at byte {at} (0x{error.object[error.start]:02x}). "
            "Leave it out, or convert it."
        ) from error


def lines_of(blocks: Iterable[str]) -> Iterator[str]:
    """Lines without their line feeds. A line of 64 million characters is taken for two."""
    rest = ""
    for block in blocks:
        *whole, rest = (rest + block).split("\n")
        yield from whole
        if len(rest) > _LONGEST_LINE:
            yield rest
            rest = ""
    if rest:
        yield rest


def cut(blocks: Iterable[str], longest: int) -> Iterator[str]:
    """A text in pieces of at most `longest` characters: at an empty line if there is one, else where it is blank."""
    held = ""
    for block in blocks:
        held += block
        start = 0
        while len(held) - start > longest:
            end = _seam(held, start, start + longest)
            yield held[start:end]
            start = end
        held = held[start:]
    if held:
        yield held


def _seam(text: str, start: int, end: int) -> int:
    """The best place to cut before `end`, not in the first half."""
    middle = (start + end) // 2
    for blank in ("\n\n", "\n", " "):
        at = text.rfind(blank, middle, end)
        if at >= 0:
            return at + len(blank)
    return end


def documents_of(
    name: str, blocks: Iterable[str], longest: int, *, together: bool = True, place: int = 0
) -> Iterator[Document]:
    """The documents that one text becomes. Where they stay together, the first one decides on the split of all."""
    group = None
    for number, piece in enumerate(cut(blocks, longest)):
        if group is None or not together:
            group = fingerprint(piece)
        yield Document(name if number == 0 else f"{name}#{number}", piece, group, place)
