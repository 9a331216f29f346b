import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from micrographia.errors import UnsupportedError
from micrographia.model.checkpoint import locate
from micrographia.model.tokens import Tokenizer
from tests.model.tiny_gguf import gguf_of

TEXTS = ["ab a b", "  ab\n12 123", "é€😀", "a<s>b</s>", "it's"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("arch", "model", "pre"),
    [
        ("llama", "gpt2", "gpt-2"),
        ("llama", "gpt2", "tekken"),
        ("qwen2", "gpt2", "qwen2"),
        ("llama", "llama", "default"),
        ("gemma2", "gemma", "default"),
        ("gemma3", "gemma", "default"),
        ("phi3", "llama", "default"),
    ],
)
def test_ids_are_those_of_transformers(arch: str, model: str, pre: str, tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    gguf_of(arch, path, tokenizer=model, pre=pre)
    ours = Tokenizer.load(locate(str(path)))
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    for text in TEXTS:
        assert ours.encode(text) == theirs(text, add_special_tokens=False).input_ids, text
        assert list(ours.prompt(text).ids) == theirs(text).input_ids, text
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs(text, add_special_tokens=False).input_ids)


def test_digits_stand_alone_where_the_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    gguf_of("llama", path, pre="smollm")
    assert Tokenizer.load(locate(str(path))).prompt("12", bos="none").pieces == ("1", "2")
    gguf_of("llama", path, pre="gpt-2")
    assert Tokenizer.load(locate(str(path))).prompt("12", bos="none").pieces == ("12",)


def test_llama_3_takes_whole_words_first_and_begins_with_its_token(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    gguf_of("llama", path, pre="llama-bpe")
    folder = locate(str(path)).folder
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["ignore_merges"] is True


def test_an_unknown_cut_of_text_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    gguf_of("llama", path, pre="no-such-cut")
    with pytest.raises(UnsupportedError, match=r"cuts text by 'no-such-cut'.*one of: .*smollm"):
        locate(str(path))
