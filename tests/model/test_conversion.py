import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from micrographia import store
from micrographia.errors import CacheError, UnsupportedError
from micrographia.model.checkpoint import locate
from micrographia.model.conversion import convert, models_dir
from micrographia.model.settings import anatomy_of
from tests.model.tiny_gguf import ARCHS, gguf_of, hugging_face

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path / "cache"))


def loaded_by_transformers(path: Path) -> dict[str, torch.Tensor]:
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    return model.state_dict()


@pytest.mark.parametrize("quantised", [False, True], ids=["float32", "eight bits"])
@pytest.mark.parametrize("arch", ARCHS)
def test_tensors_are_bit_for_bit_those_of_transformers(arch: str, quantised: bool, tmp_path: Path) -> None:
    path = tmp_path / f"{arch}.gguf"
    gguf_of(arch, path, quantised=quantised)
    ours = locate(str(path)).tensors()
    theirs = loaded_by_transformers(path)
    tied = {"lm_head.weight"} if "lm_head.weight" not in ours else set[str]()
    assert set(ours) == set(theirs) - tied
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.parametrize("arch", ARCHS)
def test_tensors_are_those_the_file_was_made_from(arch: str, tmp_path: Path) -> None:
    path = tmp_path / f"{arch}.gguf"
    original = gguf_of(arch, path)
    ours = locate(str(path)).tensors()
    assert set(ours) == set(original)
    for name, tensor in original.items():
        plus_one = ARCHS[arch].norms == "plus one" and name.endswith("norm.weight")
        stored = (tensor + 1) - 1 if plus_one else tensor
        assert torch.equal(ours[name], stored), name


@pytest.mark.parametrize("arch", ARCHS)
def test_the_configuration_describes_the_same_anatomy(arch: str, tmp_path: Path) -> None:
    path = tmp_path / f"{arch}.gguf"
    gguf_of(arch, path)
    checkpoint = locate(str(path))
    theirs = transformers.AutoConfig.from_pretrained(checkpoint.folder)
    assert isinstance(checkpoint.config(), SimpleNamespace)
    assert anatomy_of(checkpoint.config()) == anatomy_of(theirs) == anatomy_of(hugging_face(arch).config)


@pytest.mark.parametrize("arch", ["llama", "gemma3", "phi3"])
def test_the_folder_opens_in_transformers_and_computes_the_same(arch: str, tmp_path: Path) -> None:
    path = tmp_path / f"{arch}.gguf"
    gguf_of(arch, path)
    theirs = hugging_face(arch)
    again = transformers.AutoModelForCausalLM.from_pretrained(
        locate(str(path)).folder, attn_implementation="eager", dtype=torch.float32
    )
    ids = torch.arange(20, 60)[None]
    with torch.no_grad():
        assert torch.allclose(again(ids).logits, theirs(ids).logits, atol=1e-4)


def llama_with(tmp_path: Path, **more: Any) -> str:
    path = tmp_path / "llama.gguf"
    gguf_of("llama", path, **more)
    return str(path)


def test_an_unknown_setting_is_refused_by_name(tmp_path: Path) -> None:
    path = llama_with(tmp_path, keys={"logit_scale": 16.0})
    with pytest.raises(UnsupportedError, match="sets logit_scale for its llama model"):
        locate(path)


def test_an_unknown_tensor_is_refused_by_name(tmp_path: Path) -> None:
    path = llama_with(tmp_path, extra={"blk.0.ffn_gate_inp.weight": np.zeros((4, 64), np.float32)})
    with pytest.raises(UnsupportedError, match=r"a tensor 'blk\.0\.ffn_gate_inp\.weight'"):
        locate(path)


def test_an_unknown_architecture_is_answered_with_those_that_are_read(tmp_path: Path) -> None:
    path = Path(llama_with(tmp_path))
    path.write_bytes(path.read_bytes().replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0mamba", 1))
    with pytest.raises(UnsupportedError, match="'mamba'; these are read from GGUF: llama, qwen2, qwen3"):
        locate(str(path))


def test_llama_3_s_table_of_divisors_becomes_its_rule(tmp_path: Path) -> None:
    rule = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rule |= {"original_max_position_embeddings": 8192, "rope_theta": 500_000.0}
    config = transformers.LlamaConfig(hidden_size=64, num_attention_heads=1, head_dim=64, rope_parameters=rule)
    bent, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 500_000.0 ** (-np.arange(0, 64, 2) / 64)
    divisors = (plain / bent.numpy()).astype(np.float32)
    path = llama_with(tmp_path, keys={"rope.freq_base": 500_000.0}, extra={"rope_freqs.weight": divisors})
    assert locate(path).config().rope_parameters == rule


def test_a_table_of_divisors_that_follows_no_rule_is_refused(tmp_path: Path) -> None:
    path = llama_with(tmp_path, extra={"rope_freqs.weight": np.linspace(1, 8, 8, dtype=np.float32)})
    with pytest.raises(UnsupportedError, match="a table that is not Llama 3's rule"):
        locate(path)


def test_a_linear_stretch_is_carried_over(tmp_path: Path) -> None:
    path = llama_with(tmp_path, keys={"rope.scaling.type": "linear", "rope.scaling.factor": 4.0})
    assert locate(path).config().rope_parameters == {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}


# ---------------------------------------------------------------- accidents

CONVERT = """
import os, signal, sys, time
from pathlib import Path
from micrographia.errors import MicrographiaError
from micrographia.model.conversion import convert
def progress(stage, done, total):
    {progress}
try:
    print(convert(Path(sys.argv[1]), name="tiny", sha256="0" * 64, progress=progress, shard_bytes=60_000))
except MicrographiaError as error:
    print(f"{{type(error).__name__}}: {{error}}", file=sys.stderr)
    raise SystemExit(error.exit_code)
"""


def converting(path: Path, progress: str = "pass", before: str = "") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", before + CONVERT.format(progress=progress), str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
    )


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.endswith(".tmp")]


def test_a_killed_conversion_is_gone_on_with_where_it_stopped(tmp_path: Path) -> None:
    path = Path(llama_with(tmp_path))
    killer = "if stage == 'dequantising' and done > total / 2: os.kill(os.getpid(), signal.SIGKILL)"
    dead = converting(path, killer)
    dead.communicate()
    assert dead.returncode == -9
    partial = models_dir() / "tiny-000000000000.partial"
    assert not partial.with_suffix("").exists()
    kept = {shard.name: shard.stat().st_ino for shard in partial.glob("*.safetensors")}
    assert len(kept) >= 2
    seen: list[int] = []
    folder = convert(
        path,
        name="tiny",
        sha256="0" * 64,
        progress=lambda stage, done, total: seen.append(done) if stage == "dequantising" else None,
        shard_bytes=60_000,
    )
    assert {name: (folder / name).stat().st_ino for name in kept} == kept
    assert min(seen) > 0
    assert left_over(models_dir()) == []
    store.verify_files(folder, store.read_manifest(folder).files)


def test_two_processes_at_once_convert_once(tmp_path: Path) -> None:
    path = Path(llama_with(tmp_path))
    slowly = "print(stage); time.sleep(0.1)"
    both = [converting(path, slowly), converting(path, slowly)]
    said = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len({out.splitlines()[-1] for out, _ in said}) == 1
    assert sum("waiting for another process" in out for out, _ in said) == 1
    assert sorted("dequantising" in out for out, _ in said) == [False, True]


def test_a_full_disk_is_a_clear_sentence_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    path = Path(llama_with(tmp_path))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
    process = converting(path, before=limit)
    _, said = process.communicate()
    assert process.returncode == 1
    assert "CacheError: Cannot write" in said
    assert "which takes" in said
    assert "export MICROGRAPHIA_CACHE=" in said
    assert "Traceback" not in said
    assert left_over(models_dir()) == []
    assert not (models_dir() / "tiny-000000000000").exists()


def test_a_cache_that_cannot_be_made_is_a_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = llama_with(tmp_path)
    blocked = tmp_path / "a file"
    blocked.touch()
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(blocked))
    with pytest.raises(CacheError, match=r"Cannot write .*a file.*Choose another place for the cache"):
        locate(path)
