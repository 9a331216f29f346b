"""What `micrographia train` makes, how it goes on, and what it refuses."""

import errno
import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from micrographia.bases.activation import JumpRelu
from micrographia.bases.formats.convert import open_basis
from micrographia.bases.training import checkpoint
from micrographia.bases.training.config import config_of, load_config
from micrographia.corpus.corpus import Corpus
from tests.cli.calling import Call, command
from tests.corpus.bytewise import write_files

CHOICES = {"features": 24, "k": 4, "window": 16, "block": 200, "batch": 50, "tokens": 1000, "workers": 0}


def small(**changed: object) -> list[str]:
    """The flags of a training that takes a moment."""
    chosen = CHOICES | {"precision": "fp32"} | changed
    return [word for name, value in chosen.items() for word in (f"--{name.replace('_', '-')}", str(value))]


SMALL = small()


@pytest.fixture(scope="module")
def corpus(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some thousand words that the tiny model knows."""
    from micrographia.cli.app import main

    place = tmp_path_factory.mktemp("corpus")
    chance = random.Random(0)
    words = [f"t{number}" for number in range(2, 80)]
    texts = write_files(place / "texts", (" ".join(chance.choices(words, k=200)) for _ in range(40)))
    with pytest.raises(SystemExit) as left:
        main(["corpus", "build", str(texts), "--out", str(place / "corpus"), "--model", str(folder)])
    assert not left.value.code
    return place / "corpus"


@pytest.fixture
def start(call: Call, corpus: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """start("--k", "5") trains a tiny transcoder into ./run."""
    monkeypatch.chdir(tmp_path)

    def called(*more: str):
        return call("train", "--corpus", str(corpus), "--out", "run", "--model", str(folder), *more)

    return called


def weights(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "transcoders").glob("*.safetensors"))}


def test_it_leaves_transcoders_a_log_and_its_choices(start, tmp_path: Path, folder: Path) -> None:
    shown = start(*SMALL).result()
    assert "Written: run/transcoders" in shown
    assert "micrographia evaluate run/transcoders" in shown
    file = open_basis(tmp_path / "run" / "transcoders")
    assert sorted(file.layers) == [0, 1, 2]
    assert all(isinstance(each.encoder.rule, JumpRelu) for each in file.basis().layers.values())
    assert file.facts.first_position == "left-out"
    assert file.facts.training["features"] == 24
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["block"] for line in lines] == [1, 2, 3, 4, 5]
    assert set(lines[-1]["layers"]) == {"0", "1", "2"}
    assert config_of(load_config(tmp_path / "run" / "train.toml"), "x").features == 24


def test_json_says_where_it_is_and_how_it_went(start) -> None:
    found = json.loads(start(*SMALL, "--layers", "1", "--json").result())
    assert (found["folder"], found["blocks"], found["of"]) == ("run/transcoders", 5, 5)
    assert 0 < found["training_text"]["fvu"] < 2


def test_what_is_there_is_not_trained_over_and_can_be_trained_longer(start, tmp_path: Path) -> None:
    start(*SMALL).result()
    once = weights(tmp_path / "run")
    assert "stands before block 5 of 5. Go on with it by --resume" in start(*SMALL).complaint(2)
    start("--resume", "--workers", "0").result()
    assert weights(tmp_path / "run") == once
    assert "k 4 → 5" in start("--resume", "--k", "5").complaint(2)
    start("--resume", "--workers", "0", "--tokens", "1600").result()
    assert weights(tmp_path / "run") != once
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["block"] for line in lines] == list(range(1, 9))


def test_a_training_can_start_from_trained_weights(
    start, tmp_path: Path, folder: Path, corpus: Path, call: Call
) -> None:
    start(*SMALL).result()
    more = [
        "train",
        "--corpus",
        str(corpus),
        "--out",
        "more",
        "--model",
        str(folder),
        "--start-from",
        "run/transcoders",
    ]
    call(*more, *small(learning_rate=1e-12)).result()
    first, second = (open_basis(tmp_path / name / "transcoders").basis() for name in ("run", "more"))
    for layer in first.layers:
        assert (first.layers[layer].encoder.weight - second.layers[layer].encoder.weight).abs().max() < 1e-6
    more[4] = "other"
    assert "24 features" in call(*more, *small(features=25)).complaint(2)


def test_a_file_gives_the_choices_and_flags_go_before_it(start, call: Call, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("features = 20\nk = 3\nwindow = 16\nblock = 200\nbatch = 50\ntokens = 200\n")
    start("--config", "my.toml", "--k", "2", "--workers", "0").result()
    config = config_of(load_config(tmp_path / "run" / "train.toml"), "x")
    assert (config.features, config.k) == (20, 2)
    other = ("train", "--corpus", str(corpus), "--out", "other")
    (tmp_path / "bad.toml").write_text("features = 20\nlearningrate = 3\n")
    assert "learningrate: Extra inputs are not permitted" in call(*other, "--config", "bad.toml").complaint(2)


def test_bad_calls_get_one_sentence_and_leave_nothing(start, call: Call, corpus: Path, tmp_path: Path) -> None:
    assert "holds no training to go on with" in start("--resume").complaint(2)
    assert "too little text" in start(*small(block=1_000_000)).complaint(1)
    assert "layers 0 to 2, and 7" in start(*small(layers=7)).complaint(2)
    assert "65 active features of 24" in start(*small(k=65)).complaint(2)
    missing = call("train", "--corpus", "nowhere", "--out", "run")
    assert "nowhere" in missing.complaint(missing.code)
    assert missing.code in (1, 2)
    assert "which" in call("train", "--corpus", str(corpus), "--out", "run").complaint(2), "another model's tokens"
    assert not (tmp_path / "run").exists()


def test_a_full_disk_leaves_the_last_checkpoint(start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = checkpoint.write_state, []

    def full(folder: Path, name: str, state) -> None:
        written.append(name)
        if len(written) > 3:  # the second checkpoint
            (folder / f"{name}.safetensors").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(folder))
        write(folder, name, state)

    monkeypatch.setattr("micrographia.bases.training.crew.write_state", full)
    assert "--resume" in start(*SMALL, "--save-every", "2").complaint(1)
    run = tmp_path / "run"
    assert [path.name for path in run.glob("*checkpoint*")] == ["checkpoint-000002"]
    assert not (run / "transcoders").exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    start("--resume", "--workers", "0").result()
    assert load_file(run / "checkpoint-000005" / "layer-0.safetensors")


def test_ctrl_c_finishes_the_block_and_resume_ends_with_the_same_numbers(
    start, corpus: Path, folder: Path, tmp_path: Path
) -> None:
    long = small(tokens=20_000, save_every=1000)
    arguments = ["train", "--corpus", str(corpus), "--model", str(folder), "--out", "broken", *long]
    running = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "broken" / "log.jsonl"
    until = time.monotonic() + 60
    while not (log.is_file() and log.read_text().count("\n") >= 3) and time.monotonic() < until:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "Go on: the same command with --resume" in out
    assert "finished and saved first" in err
    done = subprocess.run(command(*arguments, "--resume"), check=True, capture_output=True, text=True)
    assert "Written: broken/transcoders" in done.stdout
    start(*long).result()
    assert weights(tmp_path / "run") == weights(tmp_path / "broken")


def test_a_terminal_sees_a_table(corpus: Path, folder: Path, tmp_path: Path) -> None:
    arguments = ["train", "--corpus", str(corpus), "--model", str(folder), "--out", str(tmp_path / "run"), *SMALL]
    master, slave = pty.openpty()
    done = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    seen = b""
    while True:
        try:
            seen += os.read(master, 4096)
        except OSError:
            break
    assert done.wait(timeout=60) == 0
    assert b"FVU" in seen
    assert b"ETA" in seen
    assert b"tokens/s" in seen


def test_the_corpus_that_these_tests_train_on_is_real(corpus: Path) -> None:
    assert Corpus.open(corpus).manifest.tally("train").tokens > 5000
    assert sys.executable
