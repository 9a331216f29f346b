"""From a name to a model: quickly, in the dtype asked for, and saying what Hugging Face's says."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from micrographia.errors import UnsupportedError
from micrographia.microscope import Microscope
from micrographia.model import machine
from micrographia.model.embedded import embedded_folder
from micrographia.model.load import load_model
from tests.model.conftest import save_tiny
from tests.model.tiny_gguf import gguf_of

SECONDS = 3.0
ANSWERS = {
    "The official language of the country where the Eiffel Tower is located is": " French",
    "The country whose capital is Nairobi is located on the continent of": " Africa",
    'The opposite of "small" is "': "large",
    "When Mary and John went to the store, John gave a drink to": " Mary",
    "Monday, Tuesday, Wednesday, Thursday,": " Friday",
    "def add(a, b):\n    return a +": " b",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("load") / "tiny"
    save_tiny("qwen3", folder)
    return folder


def test_a_folder_is_opened_under_its_own_name(folder: Path) -> None:
    model = load_model(str(folder))
    assert (model.name, model.anatomy.family) == ("tiny", "qwen3")
    assert repr(model) == "<Model tiny: qwen3, 3 layers, 4 heads, d_model 24>"


@pytest.mark.parametrize("dtype", machine.DTYPES)
def test_every_weight_has_the_dtype_asked_for(folder: Path, dtype: str) -> None:
    model = load_model(str(folder), dtype=dtype, device="cpu")
    run = model.run("t3 t4", read=["resid_post.0", "attn_norm_scale.1"])
    assert (model.dtype, run.logits.dtype, run["resid_post.0"].dtype) == (machine.DTYPES[dtype],) * 3
    assert run["attn_norm_scale.1"].dtype == torch.promote_types(model.dtype, torch.float32)
    assert run.logits.isfinite().all()


def test_the_dtype_is_chosen_by_the_number_of_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(folder).parameters())
    monkeypatch.setattr(machine, "free_memory", lambda device: 8 * n + 1)
    assert load_model(str(folder), device="cpu").dtype == torch.float32
    monkeypatch.setattr(machine, "free_memory", lambda device: 8 * n)
    assert load_model(str(folder), device="cpu").dtype == torch.bfloat16


def test_a_device_that_is_not_there_is_refused_before_anything_is_read() -> None:
    with pytest.raises(UnsupportedError, match="no device 'tpu'"):
        load_model("there is no such model", device="tpu")


def test_long_work_is_told_to_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path / "cache"))
    gguf_of("llama", tmp_path / "tiny.gguf")
    told: dict[str, list[tuple[int, int]]] = {}
    load_model(
        str(tmp_path / "tiny.gguf"),
        progress=lambda stage, done, total: told.setdefault(stage, []).append((done, total)),
    )
    assert list(told) == ["checking tiny.gguf", "dequantising", "weighing"]
    for steps in told.values():
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
        assert steps[-1][0] == steps[-1][1]


@pytest.fixture(scope="module")
def theirs() -> dict[str, torch.Tensor]:
    """The last logits of Hugging Face's implementation, on the same converted weights and the same ids."""
    from micrographia.model.checkpoint import locate
    from micrographia.model.tokens import Tokenizer

    tokenizer = Tokenizer.load(locate())
    model = AutoModelForCausalLM.from_pretrained(embedded_folder(), dtype=torch.float32).eval()
    with torch.no_grad():
        return {text: model(torch.tensor([tokenizer.prompt(text).ids])).logits[0, -1] for text in ANSWERS}


def test_the_embedded_model_in_float32_is_hugging_faces(smollm2: Microscope, theirs: dict[str, torch.Tensor]) -> None:
    for text, answer in ANSWERS.items():
        ours = smollm2.model.run(text, logits="last").last_logits()[0]
        assert (ours - theirs[text]).abs().max() < 2e-3, text
        assert smollm2.model.tokenizer.decode([int(ours.argmax())]) == answer


def test_the_embedded_model_in_bfloat16_answers_the_same(theirs: dict[str, torch.Tensor]) -> None:
    model = load_model(device="cpu", dtype="bfloat16")
    for text in ANSWERS:
        ours = model.run(text, logits="last").last_logits()[0].float().log_softmax(-1)
        expected = theirs[text].log_softmax(-1)
        assert ours.argmax() == expected.argmax(), text
        assert (expected.exp() * (expected - ours)).sum() < 0.03, text


def test_a_second_opening_is_quick() -> None:
    """Processor time of a fresh process, imports and the check of every file included; the quickest of five."""
    embedded_folder()
    code = "import micrographia as mg; mg.open(device='cpu', dtype='float32')"
    taken: list[float] = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if taken[-1] < SECONDS:
            break
    assert min(taken) < SECONDS
