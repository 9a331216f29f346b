"""The record of a training's choices: its schedule, its TOML, and what it refuses."""

import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from micrographia.bases.training.config import TrainConfig, config_of, load_config, to_toml
from micrographia.errors import CallError

SMALL = TrainConfig(features=64, k=6, tokens=1000, block=100, batch=10, passes=2, learning_rate=3e-3)


def test_the_rate_rises_then_falls_to_zero() -> None:
    assert SMALL.n_steps() == 200
    rates = [SMALL.rate_at(step) for step in range(201)]
    assert rates[0] < rates[9] == pytest.approx(SMALL.peak_rate())
    assert rates[-1] == 0
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_toml_gives_the_record_again(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"layers": (0, 3), "precision": "bf16", "skip": False})
    text = to_toml(config)
    assert config_of(tomllib.loads(text), "this") == config
    (tmp_path / "train.toml").write_text(text)
    assert config_of(load_config(tmp_path / "train.toml"), "this") == config


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"featuers": 3}, "featuers: Extra inputs"),
        ({"features": 0}, "features: Input should be greater"),
        ({"k": 65, "features": 64}, "65 active features of 64"),
        ({"architecture": "cross-layer", "skip": True}, "skip = false"),
        ({"selection": "best"}, "selection"),
    ],
)
def test_choices_that_make_no_sense_get_a_sentence(choices: dict[str, object], says: str) -> None:
    with pytest.raises(CallError, match=says):
        config_of(choices, "The file")


def test_a_cross_layer_transcoder_has_no_skip_path_unless_it_is_asked_for() -> None:
    assert not config_of({"architecture": "cross-layer"}, "this").skip


def test_a_file_that_is_no_toml_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("features = = 3")
    with pytest.raises(CallError, match="cannot be read as TOML"):
        load_config(tmp_path / "bad.toml")
    with pytest.raises(CallError, match="no file"):
        load_config(tmp_path / "none.toml")
