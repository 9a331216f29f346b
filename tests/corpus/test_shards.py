from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from micrographia.corpus.documents import Document
from micrographia.corpus.encoding import Encoder
from micrographia.corpus.shards import Draft, Shard
from micrographia.errors import CacheError
from micrographia.model.tokens import Tokenizer


def write(path: Path, tokenizer: Tokenizer) -> Draft:
    encoder = Encoder(tokenizer, "auto")
    draft = Draft(encoder.dtype, encoder.front)
    names = ["a", "", "ü/b#1"]
    encoded = encoder.encode([Document(name, text, 0) for name, text in zip(names, ["one", "two!", "3"], strict=True)])
    assert [draft.add("train", 7, found) for found in encoded] == [4, 5, 2]
    draft.write(path, '{"so far": 3}')
    return draft


def test_a_shard_comes_back_as_it_was_filled(tmp_path: Path, tokenizer: Tokenizer) -> None:
    draft = write(tmp_path / "s", tokenizer)
    shard = Shard.open(tmp_path / "s")
    table = shard.table("train")
    assert draft.n_tokens == len(table.tokens) == 11
    assert [table.name(i) for i in range(3)] == ["a", "", "ü/b#1"]
    assert [table.bounds(i) for i in range(3)] == [(0, 4), (4, 9), (9, 11)]
    assert tokenizer.decode(table.tokens.tolist()) == "<|endoftext|>one<|endoftext|>two!<|endoftext|>3"
    assert table.sources.tolist() == [7, 7, 7]
    assert len(shard.table("heldout").tokens) == len(shard.heldout.starts) == 0
    assert shard.state == '{"so far": 3}'


def test_a_shard_is_a_safetensors_file_that_is_mapped_and_not_read(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write(tmp_path / "s", tokenizer)
    table = Shard.open(tmp_path / "s").train
    assert load_file(tmp_path / "s")["train.tokens"].tolist() == table.tokens.tolist()
    assert not table.tokens.flags.writeable
    base: object = table.tokens
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 100, bytes(8) + b"{}", b"\x02" + bytes(7) + b"{}"])
def test_what_is_no_shard_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(CacheError, match=r"s is not a whole shard .*Delete it"):
        Shard.open(tmp_path / "s")


def test_a_shard_that_is_cut_short_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write(tmp_path / "s", tokenizer)
    (tmp_path / "s").write_bytes((tmp_path / "s").read_bytes()[:-5])
    with pytest.raises(CacheError, match="is not a whole shard"):
        Shard.open(tmp_path / "s")
