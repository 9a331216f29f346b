"""The ways in which the text files of packages are written, each as a function from blocks of text to documents."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import cast, final

from micrographia.corpus.documents import lines_of
from micrographia.errors import WorkError

__all__ = ["articles", "conversations", "joined_up"]

_TITLE = re.compile(r" = (?P<title>[^=].*) = \s*")
_HEADING = re.compile(r"^ *(?:= )+(.*?)(?: =)+ *$")
_TIGHT = re.compile(r" @([-,.])@ ")
_BEFORE = re.compile(r" ([,.;:?!%)\]}]|\.\.\.|'(?:s|m|d|ll|re|ve)\b|n't\b)")
_AFTER = re.compile(r"([(\[{$£€#]) ")
_DECODER = json.JSONDecoder()
_QUOTED = re.compile(r'" (.*?) "')


def articles(blocks: Iterable[str]) -> Iterator[tuple[str, str]]:
    """WikiText's articles with their titles, written as in Wikipedia: `role @-@ playing ( 2011 )` is joined up."""
    title, lines = "", list[str]()
    for line in lines_of(blocks):
        if hit := _TITLE.fullmatch(line):
            if lines:
                yield title, "\n".join(lines).lstrip("\n")
            title, lines = joined_up(hit["title"]), []
        if line.strip():
            lines.append(joined_up(line))
    if lines:
        yield title, "\n".join(lines).lstrip("\n")


def joined_up(line: str) -> str:
    """One line of WikiText without the spaces that its tokenisation put in."""
    heading = _HEADING.match(line)
    text = f"\n{heading[1]}\n" if heading else line.strip()
    text = _QUOTED.sub(r'"\1"', _TIGHT.sub(r"\1", text))
    return _AFTER.sub(r"\1", _BEFORE.sub(r"\1", text))


def conversations(blocks: Iterable[str], where: str) -> Iterator[tuple[str, str]]:
    """chitchat-dataset's conversations out of one JSON object: a message per line, an empty line between turns."""
    for name, value in _members(blocks, where):
        content = cast("dict[str, object]", value) if isinstance(value, dict) else {}
        turns = content.get("messages")
        if not isinstance(turns, list):
            raise WorkError(f"{where}: the conversation {name!r} has no list of messages.")
        said = [_said(turn) for turn in cast("list[object]", turns)]
        yield name, "\n\n".join(turn for turn in said if turn)


def _said(turn: object) -> str:
    messages = cast("list[object]", turn) if isinstance(turn, list) else []
    texts = [cast("dict[str, object]", message).get("text") for message in messages if isinstance(message, dict)]
    return "\n".join(text.strip() for text in texts if isinstance(text, str) and text.strip())


def _members(blocks: Iterable[str], where: str) -> Iterator[tuple[str, object]]:
    """The members of a JSON object, one by one: never more of it in memory than the longest member and a block."""
    text = _Json(blocks, where)
    text.expect("{")
    if text.next() == "}":
        return
    while True:
        key = text.value()
        text.expect(":")
        yield str(key), text.value()
        if text.next() == "}":
            return
        text.expect(",")


@final
class _Json:
    """JSON that comes in blocks. Its values are strings, lists and objects, whose end can be seen."""

    __slots__ = ("_blocks", "_held", "_where")

    def __init__(self, blocks: Iterable[str], where: str) -> None:
        self._blocks = iter(blocks)
        self._held = ""
        self._where = where

    def next(self) -> str:
        """The next character that is no white space; it stays."""
        while not (held := self._held.lstrip()):
            self._more()
        self._held = held
        return held[0]

    def expect(self, character: str) -> None:
        if (found := self.next()) != character:
            raise WorkError(f"{self._where} is not one JSON object: {found!r} stands where {character!r} should.")
        self._held = self._held[1:]

    def value(self) -> object:
        self.next()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._held)
            except json.JSONDecodeError:
                self._more(len(self._held))
            else:
                self._held = self._held[end:]
                return cast("object", value)

    def _more(self, wanted: int = 1) -> None:
        """Hold at least `wanted` more characters, or all that there are."""
        added: list[str] = []
        while sum(map(len, added)) < wanted and (block := next(self._blocks, None)) is not None:
            added.append(block)
        if not added:
            raise WorkError(f"{self._where} is not one JSON object: it ends too early, or a value in it is broken.")
        self._held += "".join(added)
