import json
from pathlib import Path

import numpy as np
import pytest

from micrographia.corpus.build import build
from micrographia.corpus.corpus import Corpus
from micrographia.errors import CacheError, CallError
from micrographia.model.tokens import Tokenizer
from tests.corpus.bytewise import bytewise, folder_recipe, story, write_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("corpus")
    texts = write_files(place / "texts", (story(number) for number in range(50)))
    build(folder_recipe(texts), place / "c", bytewise(), shard_tokens=3000)
    return place / "c"


@pytest.fixture
def corpus(folder: Path) -> Corpus:
    return Corpus.open(folder)


def test_documents_know_where_they_are_from(corpus: Corpus, tokenizer: Tokenizer) -> None:
    found = [*corpus.documents("train"), *corpus.documents("heldout")]
    assert sorted(d.name for d in found) == [f"{n:03}.txt" for n in range(50)]
    assert {d.source for d in found} == {"stories"}
    assert all(d.ids.dtype == np.uint16 and d.ids[0] == 0 for d in found)
    assert tokenizer.decode(next(d for d in found if d.name == "007.txt").ids[1:].tolist()) == story(7)


def test_a_sample_is_of_different_documents_and_the_same_again(corpus: Corpus) -> None:
    names = [d.name for d in corpus.sample("train", 10)]
    assert len(set(names)) == 10
    assert names == [d.name for d in corpus.sample("train", 10)]
    assert names != [d.name for d in corpus.sample("train", 10, seed=1)]
    everything = corpus.sample("heldout", 1000)
    assert len(everything) == corpus.manifest.tally("heldout").documents


def test_windows_are_text_of_the_documents_they_lie_in(corpus: Corpus, tokenizer: Tokenizer) -> None:
    for window in corpus.windows("train", 40, packed=False, seed=None):
        document = corpus.document("train", corpus.document_at("train", window.start))
        assert tokenizer.decode(window.ids[1:].tolist()) in tokenizer.decode(document.ids.tolist())


def test_a_cursor_of_another_corpus_is_refused(corpus: Corpus, folder: Path, tmp_path: Path) -> None:
    texts = write_files(tmp_path / "texts", (story(number) for number in range(50)))
    build(folder_recipe(texts), tmp_path / "c", bytewise())
    cursor = Corpus.open(tmp_path / "c").windows("train", 32).reader().cursor
    with pytest.raises(CallError, match="The cursor belongs to other windows: corpus '"):
        corpus.windows("train", 32).reader(cursor)
    assert next(corpus.windows("train", 32).reader()).ids.shape == (32,)


def test_the_wrong_tokenizer_is_refused(corpus: Corpus, tokenizer: Tokenizer) -> None:
    corpus.check_tokenizer(tokenizer)
    with pytest.raises(
        CallError, match=r"written in the tokens of bytewise \(257 of them\), which other \(257\) does not"
    ):
        corpus.check_tokenizer(bytewise("other", shifted=3))


def test_what_is_not_there_is_refused(corpus: Corpus) -> None:
    n = corpus.manifest.tally("train").documents
    with pytest.raises(CallError, match=f"The train split has {n} documents; there is no number {n}"):
        corpus.document("train", n)


def damaged(folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy, copy / "shard-00001.safetensors"


def test_damage_is_noticed_when_a_corpus_is_opened(folder: Path, tmp_path: Path) -> None:
    copy, shard = damaged(folder, tmp_path)
    content = bytearray(shard.read_bytes())
    content[-7] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CacheError, match=r"shard-00001\.safetensors is damaged: its CRC-32"):
        Corpus.open(copy)
    shard.write_bytes(content[:-1])
    with pytest.raises(CacheError, match=r"it has .* bytes, and had"):
        Corpus.open(copy)
    shard.unlink()
    with pytest.raises(CacheError, match="is missing"):
        Corpus.open(copy)


def test_a_forged_file_is_noticed_by_verify(folder: Path, tmp_path: Path) -> None:
    copy, _ = damaged(folder, tmp_path)
    Corpus.open(copy).verify()
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["shards"][0]["file"]["sha256"] = "0" * 64
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CacheError, match=r"shard-00000\.safetensors is damaged: its SHA-256"):
        Corpus.open(copy).verify()
