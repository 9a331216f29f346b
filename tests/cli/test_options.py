"""The options that commands share: which model, prompt or file, and what is said of those that lead nowhere."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from micrographia.cli.options import ModelOptions, PromptOptions, read_text
from micrographia.errors import CallError
from micrographia.microscope import Microscope
from tests.cli.calling import Call, spawn
from tests.model.tiny_gguf import gguf_of


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A model's folder, to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "model"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, not there yet."""
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept(cache: Path) -> list[str]:
    """The files in a cache, without the locks, which hold nothing."""
    return sorted(
        str(path.relative_to(cache)) for path in cache.rglob("*") if path.suffix != ".lock" and path.is_file()
    )


# ---------------------------------------------------------------- what is good


def test_device_and_dtype_are_passed_on(folder: Path) -> None:
    opened = ModelOptions(str(folder), device="cpu", dtype="bfloat16").open()
    assert (opened.model.dtype, opened.model.device) == (torch.bfloat16, torch.device("cpu"))
    assert ModelOptions(str(folder)).open().model.dtype == torch.float32


def test_what_stands_in_front_is_chosen(call: Call, folder: Path, smollm2: Microscope) -> None:
    assert PromptOptions().read(smollm2, "Hello").ids[0] == 0
    assert PromptOptions(bos="none").read(smollm2, "Hello").ids == smollm2.model.tokenizer.prompt("Hello").ids[1:]
    assert PromptOptions(bos="<|im_start|>").read(smollm2, "Hello").ids[0] == 1
    shown = json.loads(call("lens", "t3", "--bos", "t9", "--model", str(folder), "--json").result())
    assert shown["prompt"]["ids"] == [9, 3]


def test_a_chat_is_written_in_the_models_own_template(smollm2: Microscope) -> None:
    prompt = PromptOptions(chat=True).read(smollm2, "What is [red]2[/red]?")
    assert "<|im_start|>user\nWhat is [red]2[/red]?<|im_end|>\n<|im_start|>assistant" in prompt.text


def test_a_text_is_read_as_utf_8_to_the_last_byte(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes("🙂\r\n\0é".encode())
    assert read_text(tmp_path / "text") == "🙂\n\0é"


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff")
    for path in (tmp_path / "none", tmp_path, tmp_path / "binary", tmp_path / ("x" * 5000), Path("a\0b")):
        with pytest.raises(CallError):
            read_text(path)


# ---------------------------------------------------------------- prompts


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([""], "The prompt is empty. Write at least one character of text."),
        (["t3 " * 65], "This takes 65 tokens and tiny reads at most 64. Shorten it by 1."),
        (["t3", "--watch", "t3 t4"], "'t3 t4' is 2 tokens for tiny, not one: 't3' 't4'. Choose one of its pieces"),
        (["t3", "--watch", "zz"], "'zz' is no token of tiny, which reads it as '<s>'."),
        (["t3", "--watch", ""], "A token needs at least one character; the name given is empty."),
        (["t3", "--bos", "[/red]"], "'[/red]' is no token of tiny"),
        (["t3", "--chat"], "tiny has no chat template. Write the conversation as a plain prompt."),
        (["t3", "--dtype", "int8"], "There is no dtype 'int8'; write one of: float32, bfloat16, float64, float16."),
        (["t3", "--device", "tpu"], "There is no device 'tpu' here; there is: cpu"),
        (["t3", "--device", "\x1b[31m"], r"There is no device '\x1b[31m' here"),
        (["t3 \udcff"], r"The text holds '\udcff', which is half a character: it is not Unicode."),
        (["t3", "--watch", "\udcff"], r"The text holds '\udcff'"),
    ],
)
def test_a_prompt_or_choice_that_cannot_be_is_a_wrong_call(
    call: Call, folder: Path, arguments: list[str], said: str
) -> None:
    assert call("lens", *arguments, "--model", str(folder)).complaint(2).startswith(said)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what others lack")
def test_a_gpu_that_is_not_there_is_not_used_in_silence(call: Call, folder: Path) -> None:
    assert call("lens", "t3", "--model", str(folder), "--device", "cuda").complaint(2) == (
        "There is no device 'cuda' here; there is: cpu."
    )


def test_a_prompt_may_look_like_an_option_or_like_anything(call: Call, folder: Path) -> None:
    for prompt in ("-5", "\x1b[31mt3", "[red]t3[/red]", "t3\0t4", "\u202et3", "🙂"):
        shown = call("lens", prompt, "--model", str(folder)).result()
        assert "The model answers: " in shown
        assert "\x1b" not in shown


# ---------------------------------------------------------------- models


def write(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("smolm2", 2, "No model is called 'smolm2'. Did you mean 'smollm2'?"),
        ("", 2, "No model is called ''."),
        ("./nowhere", 2, "There is no file or folder nowhere."),
        ("~nobody-of-this-name/x", 2, "There is no file or folder ~nobody-of-this-name/x."),
        ("x" * 5000, 2, "No model is called 'xxx"),
        ("\x1b[31m[red]x[/red]\0\udcff", 2, r"No model is called '\x1b[31m[red]x[/red]\x00\udcff'."),
        ("lab/model", 1, "lab/model is not in the hub's cache"),
        ("lab/model@main", 1, "lab/model is not in the hub's cache"),
    ],
)
def test_a_name_that_leads_nowhere(call: Call, name: str, code: int, said: str) -> None:
    assert call("lens", "t3", "--model", name).complaint(code).startswith(said)


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def with_pickles_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def without_a_shard(folder: Path) -> None:
    names = {"a": "model-1.safetensors", "b": "model-2.safetensors"}
    (folder / "model.safetensors").rename(folder / names["a"])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def without_a_tokenizer(folder: Path) -> None:
    for path in folder.glob("token*"):
        path.unlink()


def config(**changes: object) -> Callable[[Path], None]:
    return lambda folder: write(folder, **changes)


FOLDERS: list[tuple[Callable[[Path], None], int, str]] = [
    (without_config, 1, " has no config.json, so it is not a model in Hugging Face's layout; it holds "),
    (without_weights, 1, " has no weights: neither model.safetensors nor model.safetensors.index.json"),
    (with_pickles_only, 1, " has its weights only as pytorch_model.bin, which are pickles"),
    (without_a_shard, 1, " lacks 1 of its 2 weight files: model-2.safetensors. Fetch them again."),
    (cut_short, 1, " is not a whole safetensors file"),
    (without_a_tokenizer, 1, " has no tokenizer that transformers can read"),
    (config(model_type="bert"), 2, "Models of type 'bert' cannot be read yet. Families that can: gpt2 "),
    (config(model_type="mamba"), 2, "Models of type 'mamba' cannot be read yet. Families that can: gpt2 "),
    (config(model_type="\x1b[31m[/red]"), 2, r"(model type '\x1b[31m[/red]')"),
    (config(num_hidden_layers=4), 1, "The checkpoint has no tensor 'model.layers.3.input_layernorm.weight'"),
    (config(num_hidden_layers="three"), 2, "Field 'num_hidden_layers' expected int, got str"),
    (config(num_attention_heads=0), 2, " cannot read "),
    (config(hidden_size=25), 2, "not a multiple of the number of attention heads"),
    (config(vocab_size=79), 1, "has shape (80, 24); the configuration asks for (79, 24)"),
    (config(hidden_act="relu6"), 2, "The activation 'relu6' is not read"),
    (config(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}), 2, "of type 'dynamic'"),
]


@pytest.mark.parametrize(("damage", "code", "said"), FOLDERS)
def test_a_folder_that_is_no_model(
    call: Call, copy: Path, damage: Callable[[Path], None], code: int, said: str
) -> None:
    damage(copy)
    before = sorted(copy.iterdir())
    assert said in call("lens", "t3", "--model", str(copy)).complaint(code)
    assert sorted(copy.iterdir()) == before


def test_a_file_that_is_not_a_gguf_leaves_nothing_behind(call: Call, cache: Path, tmp_path: Path) -> None:
    gguf_of("llama", tmp_path / "whole.gguf")
    whole = (tmp_path / "whole.gguf").read_bytes()
    for content in (b"", b"hello", b"GGUF", whole[:1000], whole[: len(whole) // 2], whole[:-1]):
        path = tmp_path / "model.gguf"
        path.write_bytes(content)
        assert str(path) in call("lens", "a", "--model", str(path)).complaint(1)
        assert kept(cache) == []
    lone = tmp_path / "model.safetensors"
    lone.touch()
    assert f"give the folder with config.json: {tmp_path}" in call("lens", "a", "--model", str(lone)).complaint(2)


def test_a_damaged_file_in_the_cache_is_named_and_can_be_deleted(call: Call, cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    gguf_of("llama", path)
    shown = call("lens", "a", "--model", str(path)).result()
    (folder,) = (cache / "models").glob("model-*[!k]")
    (weights,) = folder.glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-5] ^= 4
    weights.write_bytes(content)
    said = call("lens", "a", "--model", str(path)).complaint(1)
    assert said.startswith(f"{weights} is damaged: its CRC-32 is ")
    assert said.endswith(f"Delete it, and it is made anew: rm -r {folder}")
    subprocess.run(said.rpartition("anew: ")[2], shell=True, check=True)
    assert call("lens", "a", "--model", str(path)).result() == shown


def test_a_cache_that_is_no_folder_is_answered_with_another_place(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "deeper"):
        monkeypatch.setenv("MICROGRAPHIA_CACHE", str(place))
        said = call("lens", "Hello").complaint(1)
        assert said.startswith(f"Cannot write {place}/models/smollm2-")
        assert said.endswith("Choose another place for the cache: export MICROGRAPHIA_CACHE=/path/with/room")


def test_a_full_disk_leaves_what_can_be_gone_on_from(call: Call, cache: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk; it is met in the middle of the weights."""
    path = tmp_path / "model.gguf"
    gguf_of("llama", path)
    full = spawn(
        "lens",
        "a",
        "--model",
        str(path),
        before="import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (90_000,) * 2)",
    )
    said = full.complaint(1)
    assert said.startswith(f"Cannot write {cache}/models/model-")
    assert "File too large" in said
    assert "export MICROGRAPHIA_CACHE=" in said
    assert not [name for name in kept(cache) if name.endswith((".tmp", ".safetensors", "manifest.json"))]
    assert call("lens", "a", "--model", str(path)).result()
    assert not list(cache.rglob("*.partial"))
