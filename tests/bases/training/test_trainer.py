"""Training: it learns, it can be killed, and it ends with the same bits."""

import os
import random
import signal
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from micrographia.bases.activation import JumpRelu, TopK
from micrographia.bases.training.blocks import Blocks
from micrographia.bases.training.config import TrainConfig
from micrographia.bases.training.trainer import Trainer, rate_at
from micrographia.errors import CallError
from micrographia.ids import Layer
from tests.model.families import VOCAB

SMALL = TrainConfig(
    features=64, k=6, tokens=6000, window=16, block=600, batch=100, dead_after=500, layers=(0, 2), learning_rate=3e-3
)


def windows(first: int, count: int, /) -> torch.Tensor:
    """A language with rules: each token says much about the next."""
    rows = []
    for number in range(first, first + count):
        generator = torch.Generator().manual_seed(number)
        noise = torch.randint(0, 3, (16,), generator=generator)
        start = int(torch.randint(2, VOCAB, (1,), generator=generator))
        rows.append((start + torch.arange(16) * 7 + noise) % (VOCAB - 2) + 2)
    return torch.stack(rows)


def trainer(model, folder: Path, config: TrainConfig = SMALL, **options) -> Trainer:
    layers = tuple(Layer(layer) for layer in config.layers or ())
    return Trainer(Blocks(model, windows, layers, config), folder, **options)


def bits(trained: Trainer) -> list[torch.Tensor]:
    return [tensor for layer in trained.layers.values() for tensor in layer.state().values()]


def same(first: Trainer, second: Trainer) -> bool:
    return all(torch.equal(a, b) for a, b in zip(bits(first), bits(second), strict=True))


@pytest.mark.parametrize("selection", ["topk", "batchtopk"])
@pytest.mark.parametrize("skip", [False, True])
def test_training_explains_what_its_start_does_not(tiny, tmp_path: Path, selection: str, skip: bool) -> None:
    config = SMALL.model_copy(update={"selection": selection, "skip": skip, "tokens": 30_000})
    trained = trainer(tiny("llama"), tmp_path, config)
    reports = list(trained.run())
    for layer in (Layer(0), Layer(2)):
        early, late = reports[1].layers[layer], reports[-1].layers[layer]
        assert late.fvu < 0.8 * early.fvu
        assert abs(late.l0 - 6) <= (1.5 if selection == "batchtopk" else 1e-9)
    kind = JumpRelu if selection == "batchtopk" else TopK
    assert all(isinstance(layer.encoder.rule, kind) for layer in trained.basis().layers.values())


def test_the_finished_basis_explains_new_text_as_well_as_training_said(tiny, tmp_path: Path) -> None:
    model = tiny("llama")
    trained = trainer(model, tmp_path, SMALL.model_copy(update={"tokens": 30_000}))
    reports = list(trained.run())
    block = trained.blocks(10_000)
    for layer, transcoder in trained.basis().layers.items():
        y = block.outputs[layer]
        variance = trained.layers[layer].statistics.variance
        fvu = (transcoder(block.inputs[layer]) - y).square().sum(1).mean() / variance
        assert float(fvu) == pytest.approx(reports[-1].layers[layer].fvu, rel=0.3)


def test_a_training_that_is_taken_up_ends_with_the_same_bits(tiny, tmp_path: Path) -> None:
    whole = trainer(tiny("llama"), tmp_path / "whole", save_every=3)
    list(whole.run())
    broken = trainer(tiny("llama"), tmp_path / "broken", save_every=3)
    for _ in zip(range(5), broken.run(), strict=False):
        pass
    again = trainer(tiny("llama"), tmp_path / "broken", save_every=3)
    assert 0 < again.next_block < SMALL.n_blocks()
    list(again.run())
    assert same(whole, again)
    finished = trainer(tiny("llama"), tmp_path / "broken")
    assert list(finished.run()) == []
    assert same(whole, finished)


def killed_at(model, folder: Path, after: float) -> None:
    """Train in a copy of this process, and kill it without warning."""
    child = os.fork()
    if child == 0:
        list(trainer(model, folder, save_every=1).run())
        os._exit(0)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_killed_twenty_times_it_ends_as_if_left_alone(tiny, tmp_path: Path) -> None:
    model = tiny("llama")
    whole = trainer(model, tmp_path / "whole", save_every=1)
    start = time.monotonic()
    list(whole.run())
    duration = time.monotonic() - start
    chance = random.Random(0)
    for _ in range(20):
        killed_at(model, tmp_path / "killed", chance.random() * duration / 6)
    survivor = trainer(model, tmp_path / "killed", save_every=1)
    assert survivor.next_block > 0
    list(survivor.run())
    assert same(whole, survivor)


def test_other_choices_do_not_go_on_from_a_checkpoint(tiny, tmp_path: Path) -> None:
    list(trainer(tiny("llama"), tmp_path).run())
    with pytest.raises(CallError, match=r"other choices \(k 6 → 7\)"):
        trainer(tiny("llama"), tmp_path, SMALL.model_copy(update={"k": 7}))


def test_dead_features_are_planted_anew(tiny, tmp_path: Path) -> None:
    trained = trainer(tiny("llama"), tmp_path, SMALL.model_copy(update={"dead_after": 200}))
    next(iter(trained.run()))
    layer = trained.layers[Layer(0)]
    layer.parameters.encoder_bias[:10] = -1e6
    layer.silent[:10] = 10_000
    block = trained.blocks(1)
    assert layer.replant(block.inputs[Layer(0)], block.outputs[Layer(0)]) >= 10
    codes, _ = layer._codes(block.inputs[Layer(0)])
    assert set(range(10)) & set(codes.feature.tolist())


def test_windows_that_cannot_be_used_are_refused(tiny, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="no position left"):
        trainer(tiny("llama"), tmp_path, SMALL.model_copy(update={"window": 4, "drop_first": 4}))
    with pytest.raises(CallError, match="context, 64"):
        trainer(tiny("llama"), tmp_path, SMALL.model_copy(update={"window": 65}))


def test_the_rate_rises_then_falls_to_zero() -> None:
    rates = [rate_at(SMALL, step, 100) for step in range(101)]
    assert rates[0] < rates[4] == pytest.approx(SMALL.peak_rate())
    assert rates[-1] == 0
    assert all(a >= b for a, b in pairwise(rates[5:]))
