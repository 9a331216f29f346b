"""Files that are not what they should be: one clear sentence each."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from micrographia.bases.formats.reading import (
    Layout,
    Part,
    below,
    known_keys,
    one_per_layer,
    open_safetensors,
    read_json,
    read_yaml,
)
from micrographia.errors import CallError, MicrographiaError, ModelFileError, UnsupportedError

LAYOUT = Layout(
    (
        Part("W_{layer}", "encoder", "d_model feature"),
        Part("b", "bias", "d_model"),
        Part("s", "skip", "d_in d_out", optional=True),
    ),
    frozenset({"k"}),
)
GOOD = {"W_3": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}


def test_tensors_are_named_turned_and_widened() -> None:
    skip = torch.arange(4.0).reshape(2, 2)
    parts = LAYOUT.read(GOOD | {"s": skip, "b": torch.ones(2).bfloat16(), "k": torch.tensor(3)}, 3, "there")
    assert set(parts) == {"encoder", "bias", "skip"}
    assert torch.equal(parts["encoder"], GOOD["W_3"].T)
    assert torch.equal(parts["skip"], skip.T)
    assert parts["bias"].dtype == torch.float32
    written = LAYOUT.written(parts, 3, torch.float32, "x")
    assert set(written) == {"W_3", "b", "s"}
    assert torch.equal(written["W_3"], GOOD["W_3"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"W_3": None}, "there lacks W_3; its tensors should be W_3, b, s"),
        ({"z": torch.ones(1)}, "there holds z, which nothing here understands"),
        (
            {"b": torch.ones(3)},
            r"b in there has shape \(3,\), which must be \[d_model\]: d_model is 3 here and 2 in W_3",
        ),
        ({"b": torch.ones(2, 1)}, r"b in there has shape \(2, 1\); it must be \[d_model\]"),
        ({"s": torch.ones(2, 3)}, r"s in there has shape \(2, 3\).*d_out is 3 here and 2 in W_3"),
        ({"W_3": torch.ones(2, 0)}, "there holds empty tensors"),
        ({"b": torch.ones(2, dtype=torch.int64)}, "b in there holds torch.int64; floats"),
        ({"b": torch.tensor([1.0, float("nan")])}, "b in there holds 1 of 2 values that are NaN or infinite"),
    ],
)
def test_what_is_wrong_with_tensors_is_said(change: dict[str, torch.Tensor | None], said: str) -> None:
    tensors = {name: tensor for name, tensor in {**GOOD, **change}.items() if tensor is not None}
    with pytest.raises(MicrographiaError, match=said):
        dict(LAYOUT.read(tensors, 3, "there"))


def test_a_pickle_is_not_opened_whatever_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for zipped in (True, False):
        torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(UnsupportedError, match=r"x.safetensors is a pickle, which can run code"):
            open_safetensors(path)


def test_a_truncated_file_is_said_to_be_so(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ModelFileError, match=r"x\.safetensors is not a whole safetensors file .*cut short"):
        open_safetensors(path)
    with pytest.raises(ModelFileError, match=r"none\.safetensors cannot be read: No such file"):
        open_safetensors(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "cannot be read as JSON"), ("[1]", "holds no JSON mapping"), ("[" * 100_000, "cannot be read as JSON")],
)
def test_json_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ModelFileError, match=said):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "cannot be read as YAML"),
        ("- 1", "holds no YAML mapping"),
        ("a: !!python/object/apply:os.getcwd []", "cannot be read as YAML"),
    ],
)
def test_yaml_that_is_none_or_calls_something_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ModelFileError, match=said) as caught:
        read_yaml(tmp_path / "x.yaml")
    assert "\n" not in str(caught.value)


def test_settings_are_all_known_or_refused() -> None:
    known_keys({"a": 1, "b": 2}, ("a",), ("b", "c"), "there")
    with pytest.raises(ModelFileError, match="there lacks a; it has b"):
        known_keys({"b": 2}, ("a",), ("b",), "there")
    with pytest.raises(UnsupportedError, match="there has z, which nothing here understands; known are a, b"):
        known_keys({"a": 1, "z": 2}, ("a",), ("b",), "there")


def test_files_are_found_below_a_folder_one_for_each_layer(tmp_path: Path) -> None:
    for name in ("x", "2/x", "1/a/b/x", "1/a/b/c/x", "2/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in below(tmp_path, "x")]
    assert found == ["1/a/b/x", "2/x", "x"]
    paths = [tmp_path / "2" / "x", tmp_path / "1" / "a" / "b" / "x"]
    assert list(one_per_layer(paths, lambda path: int(path.relative_to(tmp_path).parts[0]), tmp_path)) == [1, 2]
    with pytest.raises(CallError, match="holds 2/x and 1/a/b/x, both of layer 7"):
        one_per_layer(paths, lambda _: 7, tmp_path)
    with pytest.raises(UnsupportedError, match="holds 2/x, whose layer cannot be told"):
        one_per_layer(paths, lambda _: None, tmp_path)
