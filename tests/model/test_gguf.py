from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrographia.errors import ModelFileError, UnsupportedError
from micrographia.model.embedded import embedded_source
from micrographia.model.gguf import read_gguf
from tests.model.tiny_gguf import gguf_of


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    gguf_of("llama", path)
    return path


def test_what_was_written_is_read(tiny_file: Path) -> None:
    file = read_gguf(tiny_file)
    assert file.arch == "llama"
    assert file.whole("llama.block_count") == 3
    assert file.texts("tokenizer.ggml.tokens")[:3] == ["<|endoftext|>", "<s>", "</s>"]
    assert file.tensors["blk.2.ffn_down.weight"].shape == (64, 96)
    assert file.dequantised("output_norm.weight").dtype == np.float32


def test_the_embedded_file_has_the_known_sizes() -> None:
    file = read_gguf(embedded_source())
    assert len(file.tensors) == 272
    assert file.tensors["token_embd.weight"].shape == (49152, 576)
    assert len(file.texts("tokenizer.ggml.merges")) == 48900
    assert "output.weight" not in file.tensors


def test_a_block_of_four_bits_is_dequantised_as_it_is_defined() -> None:
    file = read_gguf(embedded_source())
    tensor = file.tensors["blk.3.ffn_down.weight"]
    blocks = np.frombuffer(file.data, np.uint8, tensor.n_bytes, tensor.start).reshape(-1, 20)
    scale, least = blocks[:, :4].copy().view(np.float16).astype(np.float32).T
    nibbles = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1).astype(np.float32)
    expected = scale[:, None] * nibbles + least[:, None]
    assert np.array_equal(file.dequantised(tensor.name), expected.reshape(tensor.shape))


def test_what_is_not_a_gguf_is_refused_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "photo.gguf"
    path.write_bytes(b"\x89PNG" + bytes(100))
    with pytest.raises(ModelFileError, match=r"photo\.gguf is not a GGUF file: it begins with b'\\x89PNG'"):
        read_gguf(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.gguf"
    path.touch()
    with pytest.raises(ModelFileError, match="only 0 bytes"):
        read_gguf(path)


def test_an_unknown_version_is_refused_by_number(tiny_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "future.gguf"
    path.write_bytes(tiny_file.read_bytes()[:4] + (9).to_bytes(4, "little") + tiny_file.read_bytes()[8:])
    with pytest.raises(UnsupportedError, match="version 9; versions 2 and 3 are read"):
        read_gguf(path)


def test_a_file_cut_within_its_tensors_says_which(tiny_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny_file.read_bytes()[:-1000])
    with pytest.raises(ModelFileError, match=r"cut short: the tensor '.*' ends at byte"):
        read_gguf(path)


@given(keep=st.integers(24, 10_000))
def test_a_file_cut_anywhere_is_refused(tiny_file: Path, tmp_path_factory: pytest.TempPathFactory, keep: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut-anywhere.gguf"
    path.write_bytes(tiny_file.read_bytes()[:keep])
    with pytest.raises(ModelFileError):
        read_gguf(path)


@given(at=st.integers(8, 5_000), value=st.integers(0, 255))
def test_a_damaged_header_never_does_worse_than_a_refusal(
    tiny_file: Path, tmp_path_factory: pytest.TempPathFactory, at: int, value: int
) -> None:
    raw = bytearray(tiny_file.read_bytes())
    raw[at] = value
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(raw)
    with suppress(ModelFileError, UnsupportedError):
        file = read_gguf(path)
        assert all(tensor.start + tensor.n_bytes <= len(raw) for tensor in file.tensors.values())
