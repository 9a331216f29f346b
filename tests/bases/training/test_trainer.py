"""Training: it learns, it can be killed, and it ends with the same bits."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from micrographia.bases.activation import JumpRelu, TopK
from micrographia.bases.training.blocks import Blocks
from micrographia.bases.training.checkpoint import latest
from micrographia.bases.training.config import TrainConfig
from micrographia.bases.training.layer import TrainedLayer
from micrographia.bases.training.trainer import Trainer, trained_basis
from micrographia.bases.transcoder import CrossLayer
from micrographia.errors import CallError, WorkError
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


def bits(folder: Path) -> dict[str, torch.Tensor]:
    """Every number of the newest checkpoint."""
    newest = latest(folder)
    assert newest is not None
    files = sorted(newest.glob("*.safetensors"))
    assert files
    return {f"{path.name}/{name}": tensor for path in files for name, tensor in load_file(path).items()}


def same(first: Path, second: Path) -> bool:
    one, other = bits(first), bits(second)
    assert one.keys() == other.keys()
    return all(torch.equal(torch.nan_to_num(one[name]), torch.nan_to_num(other[name])) for name in one)


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
        fvu = (transcoder(block.inputs[layer]) - y).square().sum() / (y - y.mean(0)).square().sum()
        assert float(fvu) == pytest.approx(reports[-1].layers[layer].fvu, rel=0.3)


def test_a_cross_layer_transcoder_is_trained_by_the_same_loop(tiny, tmp_path: Path) -> None:
    config = SMALL.model_copy(
        update={"architecture": "cross-layer", "skip": False, "layers": (0, 1, 2), "tokens": 30_000}
    )
    reports = list(trainer(tiny("llama"), tmp_path, config).run())
    assert reports[-1].mean("fvu") < 0.8 * reports[1].mean("fvu")
    basis = trained_basis(tmp_path)
    assert isinstance(basis, CrossLayer)
    assert [len(basis.decoders[Layer(layer)]) for layer in range(3)] == [3, 2, 1]
    with pytest.raises(CallError, match="without gaps"):
        trainer(tiny("llama"), tmp_path / "gaps", config.model_copy(update={"layers": (0, 2)}))


@pytest.mark.parametrize(("architecture", "workers"), [("per-layer", 2), ("cross-layer", 1)])
def test_the_number_of_processes_changes_no_bit(tiny, tmp_path: Path, architecture: str, workers: int) -> None:
    config = SMALL.model_copy(
        update={"architecture": architecture, "skip": False, "layers": (0, 1), "passes": 2, "precision": "bf16"}
    )
    alone = list(trainer(tiny("llama"), tmp_path / "alone", config).run())
    crew = list(trainer(tiny("llama"), tmp_path / "crew", config, workers=workers).run())
    assert same(tmp_path / "alone", tmp_path / "crew")
    assert [progress.layers for progress in alone] == [progress.layers for progress in crew]


def test_a_training_that_is_taken_up_ends_with_the_same_bits(tiny, tmp_path: Path) -> None:
    list(trainer(tiny("llama"), tmp_path / "whole", save_every=3).run())
    for _ in zip(range(5), trainer(tiny("llama"), tmp_path / "broken", save_every=3).run(), strict=False):
        pass
    again = trainer(tiny("llama"), tmp_path / "broken", save_every=3)
    assert 0 < again.next_block < SMALL.n_blocks()
    list(again.run())
    assert same(tmp_path / "whole", tmp_path / "broken")
    assert list(trainer(tiny("llama"), tmp_path / "broken").run()) == []


def test_a_training_that_is_told_to_stop_saves_itself_first(tiny, tmp_path: Path) -> None:
    list(trainer(tiny("llama"), tmp_path / "whole").run())
    stopping = trainer(tiny("llama"), tmp_path / "stopped", save_every=100, workers=1)
    for progress in stopping.run():
        if progress.block == 3:
            stopping.stop()
    again = trainer(tiny("llama"), tmp_path / "stopped")
    assert again.next_block == 3
    list(again.run())
    assert same(tmp_path / "whole", tmp_path / "stopped")


def test_a_worker_that_fails_says_why_and_one_that_dies_is_missed(tiny, tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"learning_rate": 1e30, "passes": 20})
    with pytest.raises(WorkError, match="no longer a number"):
        list(trainer(tiny("llama"), tmp_path / "diverging", config, workers=1).run())
    one = trainer(tiny("llama"), tmp_path / "dying", workers=1)
    running = one.run()
    next(running)
    for child in multiprocessing.active_children():
        child.kill()
    with pytest.raises(WorkError, match="ended by itself"):
        list(running)


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
    start = time.monotonic()
    list(trainer(model, tmp_path / "whole", save_every=1).run())
    duration = time.monotonic() - start
    chance = random.Random(0)
    for _ in range(20):
        killed_at(model, tmp_path / "killed", chance.random() * duration / 6)
    survivor = trainer(model, tmp_path / "killed", save_every=1)
    list(survivor.run())
    assert survivor.next_block == SMALL.n_blocks()
    assert same(tmp_path / "whole", tmp_path / "killed")


def test_other_choices_do_not_go_on_from_a_checkpoint(tiny, tmp_path: Path) -> None:
    list(trainer(tiny("llama"), tmp_path).run())
    with pytest.raises(CallError, match=r"other choices \(k 6 → 7\)"):
        trainer(tiny("llama"), tmp_path, SMALL.model_copy(update={"k": 7}))


def test_dead_features_are_planted_anew(tiny, tmp_path: Path) -> None:
    blocks = trainer(tiny("llama"), tmp_path, SMALL.model_copy(update={"dead_after": 200})).blocks
    block = blocks(0)
    layer = TrainedLayer.begin(blocks.config, Layer(0), blocks.model.weights.blocks[0].mlp, block)
    layer.train(block)
    layer.parameters.encoder_bias[:10] = -1e6
    layer.silent[:10] = 10_000
    block = blocks(1)
    assert layer.replant(block.inputs[Layer(0)], block.outputs[Layer(0)]) >= 10
    codes, _ = layer._codes(block.inputs[Layer(0)])
    assert set(range(10)) & set(codes.feature.tolist())


def test_windows_that_cannot_be_used_are_refused(tiny, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="no position left"):
        trainer(tiny("llama"), tmp_path, SMALL.model_copy(update={"window": 4, "drop_first": 4}))
    with pytest.raises(CallError, match="context, 64"):
        trainer(tiny("llama"), tmp_path, SMALL.model_copy(update={"window": 65}))
    with pytest.raises(CallError, match="layers 0 to"):
        trainer(tiny("llama"), tmp_path, SMALL.model_copy(update={"layers": (0, 99)}))


def test_other_text_does_not_go_on_from_a_checkpoint(tiny, tmp_path: Path) -> None:
    list(trainer(tiny("llama"), tmp_path, text="one").run())
    with pytest.raises(CallError, match="other text"):
        trainer(tiny("llama"), tmp_path, text="two")
