import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from micrographia.errors import CacheError, ModelFileError, ModelNameError, UnsupportedError
from micrographia.model.checkpoint import CachedModel, list_cached, locate, remove_cached
from micrographia.model.conversion import models_dir
from tests.model.tiny_gguf import gguf_of, hugging_face


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    hugging_face("llama").save_pretrained(folder, max_shard_size="200KB")
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A model of two or more shards, to be damaged."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture
def converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Convert a tiny GGUF into a cache of its own; returns the GGUF."""
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "tiny model.gguf"
    gguf_of("llama", path)

    def convert() -> Path:
        locate(str(path))
        return path

    return convert


# ---------------------------------------------------------------- folders


def test_a_folder_gives_its_configuration_and_every_tensor(folder: Path) -> None:
    checkpoint = locate(str(folder))
    assert (checkpoint.origin, checkpoint.manifest) == ("folder", None)
    assert checkpoint.config().num_hidden_layers == 3
    expected = hugging_face("llama").state_dict()
    found = checkpoint.tensors()
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert set(found) == set(expected)
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []
    assert found.shape("model.norm.weight") == (64,)
    assert "no such tensor" not in found


def test_a_tensor_is_mapped_and_not_copied(folder: Path) -> None:
    found = locate(str(folder)).tensors()
    assert found["model.norm.weight"].data_ptr() == found["model.norm.weight"].data_ptr()


def test_missing_shards_are_named(folder: Path) -> None:
    shards = sorted(folder.glob("model-*.safetensors"))
    shards[1].unlink()
    with pytest.raises(ModelFileError, match=f"lacks 1 of its {len(shards)} weight files: {shards[1].name}"):
        locate(str(folder)).tensors()


def test_a_shard_that_was_cut_short_is_named(folder: Path) -> None:
    shard = sorted(folder.glob("model-*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=rf"{shard.name} is not a whole safetensors file .*Fetch it again"):
        locate(str(folder)).tensors()


def test_a_shard_that_is_something_else_is_named(folder: Path) -> None:
    shard = sorted(folder.glob("model-*.safetensors"))[0]
    shard.write_bytes(b"<html>not found</html>" * 10)
    with pytest.raises(ModelFileError, match="is not a whole safetensors file"):
        locate(str(folder)).tensors()


def test_an_index_that_leads_out_of_the_folder_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(ModelFileError, match="names files outside its own folder"):
        locate(str(folder)).tensors()


def test_pickled_weights_are_refused(folder: Path) -> None:
    for path in folder.glob("model*"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelFileError, match=r"only as pytorch_model\.bin, which are pickles.*save_pretrained"):
        locate(str(folder)).tensors()


def test_a_folder_without_weights_says_what_it_holds(folder: Path) -> None:
    for path in folder.glob("model*"):
        path.unlink()
    with pytest.raises(ModelFileError, match=r"has no weights.*it holds config\.json, generation_config\.json"):
        locate(str(folder)).tensors()


def test_a_folder_without_a_configuration_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ModelFileError, match=r"has no config\.json.*it holds notes\.txt"):
        locate(str(tmp_path))


def test_a_broken_configuration_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelFileError, match=r"config\.json cannot be read as JSON"):
        locate(str(folder)).config()


def test_an_unknown_model_type_is_named(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "perceptron"}')
    with pytest.raises(UnsupportedError, match="model type 'perceptron'"):
        locate(str(folder)).config()


def test_code_in_a_checkpoint_is_not_run(folder: Path) -> None:
    (folder / "evil.py").write_text("raise SystemExit('run')")
    (folder / "config.json").write_text('{"auto_map": {"AutoConfig": "evil.Config"}}')
    with pytest.raises(UnsupportedError, match="its own code, which is never run"):
        locate(str(folder)).config()


def test_a_folder_may_record_what_it_wants_in_front_and_nothing_else(folder: Path) -> None:
    (folder / "micrographia.json").write_text('{"schema_version": 1, "bos": 7}')
    assert locate(str(folder)).habits().bos == 7
    (folder / "micrographia.json").write_text('{"schema_version": 1, "mood": "good"}')
    with pytest.raises(ModelFileError, match="mood: Extra inputs"):
        locate(str(folder)).habits()


def test_a_single_file_of_weights_is_read_too(tmp_path: Path) -> None:
    hugging_face("llama").save_pretrained(tmp_path)
    assert len(locate(str(tmp_path)).tensors()) == 30


def test_bfloat16_stays_bfloat16(tmp_path: Path) -> None:
    hugging_face("llama").to(torch.bfloat16).save_pretrained(tmp_path)
    assert locate(str(tmp_path)).tensors()["model.norm.weight"].dtype == torch.bfloat16


# ---------------------------------------------------------------- our own cache


def test_a_gguf_is_converted_once_and_found_again(converted: Callable[[], Path]) -> None:
    path = converted()
    checkpoint = locate(str(path))
    assert (checkpoint.name, checkpoint.origin) == ("tiny model", "gguf")
    assert checkpoint.folder.parent == models_dir()
    stages: list[str] = []
    assert locate(str(path), progress=lambda stage, done, total: stages.append(stage)) == checkpoint
    assert set(stages) == {"checking tiny model.gguf"}


@pytest.mark.parametrize("name", ["model-00001-of-00001.safetensors", "config.json", "tokenizer.json"])
def test_one_flipped_byte_in_the_cache_is_noticed_at_load(converted: Callable[[], Path], name: str) -> None:
    path = converted()
    damaged = locate(str(path)).folder / name
    raw = bytearray(damaged.read_bytes())
    raw[len(raw) * 2 // 3] ^= 1
    damaged.write_bytes(raw)
    with pytest.raises(CacheError, match=rf"{name} is damaged: its CRC-32.*Delete it, and it is made anew: rm -r"):
        locate(str(path)).tensors()


def test_a_shard_missing_from_the_cache_is_a_matter_of_the_cache(converted: Callable[[], Path]) -> None:
    path = converted()
    (locate(str(path)).folder / "model-00001-of-00001.safetensors").unlink()
    with pytest.raises(CacheError, match=r"lacks model-00001-of-00001\.safetensors\. Delete it"):
        locate(str(path)).tensors()


def test_what_is_cached_is_listed_and_removed(
    converted: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no hub"))
    assert list_cached() == ()
    path = converted()
    checkpoint = locate(str(path))
    size = sum(file.stat().st_size for file in checkpoint.folder.iterdir() if file.name != "manifest.json")
    assert list_cached() == (CachedModel(checkpoint.folder.name, checkpoint.folder, size, "converted"),)
    with pytest.raises(ModelNameError, match=f"no converted model 'x' .*holds: {checkpoint.folder.name}"):
        remove_cached("x")
    assert remove_cached("tiny-model") >= size
    assert list_cached() == ()


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("smolm2", r"No model is called 'smolm2'\. Did you mean 'smollm2'\?"),
        ("smollm2@main", "Did you mean 'smollm2'"),
        ("gpt-2", "Did you mean 'gpt2'"),
        ("no such model", "Write 'smollm2' for the embedded model"),
        ("", "Write 'smollm2' for the embedded model"),
        ("./nowhere", "There is no file or folder nowhere"),
        ("/no/where", "There is no file or folder /no/where"),
        ("model.gguf", r"There is no file or folder model\.gguf"),
        ("a/b/c", "There is no file or folder a/b/c"),
    ],
)
def test_a_name_that_leads_nowhere_is_answered_with_what_works(spec: str, said: str) -> None:
    with pytest.raises(ModelNameError, match=said):
        locate(spec)


def test_a_lone_weight_file_points_to_its_folder(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert load_file(tmp_path / "model.safetensors")
    with pytest.raises(ModelNameError, match=rf"not a \.gguf.*the folder with config\.json: {tmp_path}"):
        locate(str(tmp_path / "model.safetensors"))


def test_the_configuration_of_a_folder_is_transformers_own(folder: Path) -> None:
    assert isinstance(locate(str(folder)).config(), transformers.LlamaConfig)
