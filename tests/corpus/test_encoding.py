import threading
import time
from collections.abc import Iterator

import pytest

from micrographia.corpus.documents import Document
from micrographia.corpus.encoding import Encoder, tokenizer_sha256
from micrographia.errors import WorkError
from micrographia.model.checkpoint import locate
from micrographia.model.tokens import Tokenizer
from tests.corpus.bytewise import UNWRITABLE, bytewise, story


def documents(*texts: str) -> list[Document]:
    return [Document(str(number), text, number) for number, text in enumerate(texts)]


def test_a_special_token_that_is_written_out_is_text(tokenizer: Tokenizer) -> None:
    text = "a<|endoftext|>b"
    assert 0 in tokenizer.encode(text)
    (found,) = Encoder(tokenizer, "auto").encode(documents(text))
    assert 0 not in found.ids
    assert tokenizer.decode(found.ids.tolist()) == text


def test_the_embedded_model_reads_its_own_tokens_as_text_too() -> None:
    smollm = Tokenizer.load(locate(None))
    text = "usage: tool <filename> <|im_end|>"
    (found,) = Encoder(smollm, "auto").encode(documents(text))
    assert min(found.ids) > 16
    assert smollm.decode(found.ids.tolist()) == text
    assert smollm.encode(text) != found.ids.tolist()


def test_what_cannot_be_written_is_replaced_and_counted(tokenizer: Tokenizer) -> None:
    (found, plain) = Encoder(tokenizer, "auto").encode(documents(f"a{UNWRITABLE}{UNWRITABLE}b\ud800", "é"))
    assert tokenizer.decode(found.ids.tolist()) == "a\ufffd\ufffdb\ufffd"
    assert (found.replaced, plain.replaced) == (3, 0)


def test_what_stands_in_front_is_a_choice(tokenizer: Tokenizer) -> None:
    assert [Encoder(tokenizer, bos).front for bos in ("auto", "none", 5)] == [(0,), (), (5,)]


def test_ids_take_two_bytes_where_they_can(tokenizer: Tokenizer) -> None:
    assert Encoder(tokenizer, "auto").dtype == "<u2"
    assert Encoder(bytewise(d_vocab=1 << 16), "auto").dtype == "<u2"
    assert Encoder(bytewise(d_vocab=(1 << 16) + 1), "auto").dtype == "<u4"


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_documents_come_in_order_however_many_work(tokenizer: Tokenizer, workers: int) -> None:
    given = documents(*(story(number) for number in range(1500)))
    found = Encoder(tokenizer, "auto").encoded(iter(given), workers=workers)
    assert [encoded.document.name for encoded in found] == [document.name for document in given]


def test_reading_stays_only_some_way_ahead(tokenizer: Tokenizer) -> None:
    read = 0

    def endless() -> Iterator[Document]:
        nonlocal read
        while True:
            read += 1
            yield Document(str(read), "a" * 1000, read)

    stream = Encoder(tokenizer, "auto").encoded(endless(), workers=2)
    next(stream)
    assert read <= 6 * 200
    stream.close()
    time.sleep(0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encoding")]


def test_a_failure_of_the_source_comes_through(tokenizer: Tokenizer) -> None:
    def broken() -> Iterator[Document]:
        yield Document("0", "a", 0)
        raise WorkError("no more")

    with pytest.raises(WorkError, match="no more"):
        list(Encoder(tokenizer, "auto").encoded(broken(), workers=1))


def test_tokenizers_are_the_same_if_they_give_the_same_ids(tokenizer: Tokenizer) -> None:
    assert tokenizer_sha256(tokenizer) == tokenizer_sha256(bytewise("another name"))
    others = [bytewise(shifted=1), bytewise(d_vocab=258)]
    assert len({tokenizer_sha256(other) for other in (tokenizer, *others)}) == 3
