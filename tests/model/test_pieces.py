import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE

from micrographia.model.pieces import Spelling, shown, spelling_of, spellings_of, token_bytes
from tests.model.tiny_gguf import byte_letters


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b" French", "␣French"),
        (b"\n\n\t\r", "⏎⏎⇥␍"),
        (b"", ""),
        (b"\xe2\x82", "⟨E2 82⟩"),
        (b"\x98\x80", "⟨98 80⟩"),
        (b" a\xe2\x82", "␣a⟨E2 82⟩"),
        (b"\x80\xc3\xa9t\xc3", "⟨80⟩ét⟨C3⟩"),
        ("é€😀 日本".encode(), "é€😀␣日本"),
        ("\u200b\u202e\x07".encode(), "⟨U+200B⟩⟨U+202E⟩⟨U+0007⟩"),
        ("\u0301".encode(), "◌\u0301"),
        ("\u00a0\u2003".encode(), "⟨U+00A0⟩⟨U+2003⟩"),
    ],
)
def test_a_piece_is_shown_so_that_it_can_be_read(raw: bytes, expected: str) -> None:
    assert shown(raw) == expected


@given(raw=st.binary(max_size=40))
def test_nothing_invisible_is_ever_shown(raw: bytes) -> None:
    text = shown(raw)
    assert text.isprintable()
    assert bool(text) == bool(raw)


@given(raw=st.binary(max_size=40))
def test_byte_level_letters_are_a_bijection(raw: bytes) -> None:
    (letters,) = spellings_of(raw, Spelling.BYTE_LEVEL)
    assert letters == "".join(byte_letters()[byte] for byte in raw)
    assert token_bytes(letters, Spelling.BYTE_LEVEL) == raw


@given(text=st.text().filter(lambda text: "▁" not in text and not text.startswith("<0x")))
def test_sentencepiece_spelling_is_a_bijection_on_text(text: str) -> None:
    for entry in spellings_of(text.encode(), Spelling.SENTENCEPIECE):
        assert token_bytes(entry, Spelling.SENTENCEPIECE) == text.encode()


def test_a_sentencepiece_byte_is_a_byte() -> None:
    assert token_bytes("<0xE2>", Spelling.SENTENCEPIECE) == b"\xe2"
    assert spellings_of(b"\xe2", Spelling.SENTENCEPIECE) == ("<0xE2>",)
    assert spellings_of(b"\n", Spelling.SENTENCEPIECE) == ("\n", "<0x0A>")
    assert spellings_of(b"\xe2\x82", Spelling.SENTENCEPIECE) == ()


@pytest.mark.parametrize(
    ("decoder", "expected"),
    [
        (None, Spelling.PLAIN),
        (decoders.ByteLevel(), Spelling.BYTE_LEVEL),
        (decoders.Sequence([decoders.ByteLevel()]), Spelling.BYTE_LEVEL),
        (decoders.Metaspace(), Spelling.SENTENCEPIECE),
        (decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()]), Spelling.SENTENCEPIECE),
        (decoders.Fuse(), Spelling.PLAIN),
    ],
)
def test_the_decoder_says_how_a_vocabulary_is_spelled(decoder: object, expected: Spelling) -> None:
    backend = Tokenizer(BPE())
    if decoder is not None:
        backend.decoder = decoder
    assert spelling_of(backend) is expected
