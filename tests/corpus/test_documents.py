import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrographia.corpus.documents import cut, decoded, documents_of, fingerprint, lines_of
from micrographia.errors import WorkError


class InSips:
    """A file that gives a few bytes at a time."""

    def __init__(self, content: bytes, sip: int) -> None:
        self.stream = io.BytesIO(content)
        self.sip = sip

    def read(self, size: int, /) -> bytes:
        return self.stream.read(min(size, self.sip))


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\ufeff")), sip=st.integers(1, 9))
def test_text_survives_being_read_in_sips(text: str, sip: int) -> None:
    assert "".join(decoded(InSips(text.encode(), sip), "x")) == text


def test_a_byte_order_mark_and_carriage_returns_are_no_text() -> None:
    assert "".join(decoded(InSips(b"\xef\xbb\xbfa\r\nb\rc", 1), "x")) == "a\nb\nc"


@pytest.mark.parametrize("sip", [1, 2, 3, 100])
def test_bytes_that_are_no_utf8_are_refused_by_their_place(sip: int) -> None:
    with pytest.raises(WorkError, match=r"x is not UTF-8: invalid start byte at byte 4 \(0xff\)"):
        list(decoded(InSips("aé\n".encode() + b"\xffz", sip), "x"))
    with pytest.raises(WorkError, match=r"unexpected end of data at byte 1 \(0xc3\)"):
        list(decoded(InSips(b"a\xc3", sip), "x"))


def test_binary_junk_is_refused_by_its_first_zero() -> None:
    with pytest.raises(WorkError, match="x is not text: its byte 5 is 0"):
        list(decoded(InSips(b"ELF\x01\x02\0\xff", 3), "x"))


@given(text=st.text("ab \n", max_size=300), longest=st.integers(1, 40), block=st.integers(1, 50))
def test_pieces_are_the_text_and_do_not_depend_on_how_it_comes(text: str, longest: int, block: int) -> None:
    blocks = [text[i : i + block] for i in range(0, len(text), block)]
    pieces = list(cut(blocks, longest))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= longest for piece in pieces)
    assert pieces == list(cut([text], longest))


def test_a_text_is_cut_where_it_is_emptiest() -> None:
    assert list(cut(["one\n\ntwo three\nfour"], 15)) == ["one\n\ntwo three\n", "four"]
    assert list(cut(["one two\n\nthree four"], 15)) == ["one two\n\n", "three four"]
    assert list(cut(["abcdefghij"], 4)) == ["abcd", "efgh", "ij"]


@given(text=st.text("ab\n", max_size=60), block=st.integers(1, 9))
def test_lines_are_those_of_the_text(text: str, block: int) -> None:
    found = list(lines_of(text[i : i + block] for i in range(0, len(text), block)))
    assert found == (text.split("\n")[:-1] if text.endswith("\n") or not text else text.split("\n"))


@given(words=st.lists(st.text("abc", min_size=1), min_size=1), gaps=st.lists(st.sampled_from([" ", "\n", " \t "])))
def test_a_fingerprint_sees_words_and_not_the_space_between_them(words: list[str], gaps: list[str]) -> None:
    spaced = "".join(word + (gaps[i % len(gaps)] if gaps else " ") for i, word in enumerate(words))
    assert fingerprint(spaced) == fingerprint(" ".join(words))
    assert fingerprint(spaced) != fingerprint(spaced + "d")


def test_pieces_of_one_text_share_a_group_if_they_stay_together() -> None:
    together = list(documents_of("book", ["abcdef"], 2))
    assert [document.name for document in together] == ["book", "book#1", "book#2"]
    assert {document.group for document in together} == {fingerprint("ab")}
    apart = list(documents_of("book", ["abcdef"], 2, together=False))
    assert [document.group for document in apart] == [fingerprint(text) for text in ("ab", "cd", "ef")]
