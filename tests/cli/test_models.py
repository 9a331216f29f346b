"""What `micrographia models` lists, and what it removes."""

import json
from pathlib import Path

import pytest

from micrographia.model.checkpoint import locate
from micrographia.model.conversion import models_dir
from micrographia.model.families import FAMILIES
from tests.cli.calling import Call
from tests.model.tiny_gguf import gguf_of


@pytest.fixture
def converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own that holds one tiny model, converted from a GGUF; no hub's cache."""
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no hub"))
    gguf_of("llama", tmp_path / "tiny model.gguf")
    return locate(str(tmp_path / "tiny model.gguf")).folder


def test_what_is_embedded_cached_and_supported_is_listed(call: Call, converted: Path) -> None:
    shown = call("models").result()
    assert "Embedded  smollm2 (SmolLM2-135M-Instruct), installed" in shown
    (cached,) = (line.split() for line in shown.splitlines() if line.startswith(converted.name))
    assert cached[1] == "converted"
    assert str(converted.parents[1]) in shown.splitlines()
    for family in FAMILIES:
        assert any(
            line.split()[:1] == [family.name] and family.covers in line and family.model_types[0] in line
            for line in shown.splitlines()
        )


def test_an_empty_cache_is_said_to_be_empty_and_is_not_made(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no hub"))
    assert "Nothing is in the cache yet." in call("models").result()
    assert list(tmp_path.iterdir()) == []


def test_json_says_the_same(call: Call, converted: Path) -> None:
    shown = json.loads(call("models", "--json").result())
    assert shown["embedded"] == {"name": "smollm2", "full_name": "SmolLM2-135M-Instruct", "installed": True}
    assert shown["cache"] == str(converted.parents[1])
    (cached,) = shown["cached"]
    size = sum(file.stat().st_size for file in converted.iterdir() if file.name != "manifest.json")
    assert cached | {"name": converted.name, "path": str(converted), "size": size, "kind": "converted"} == cached
    assert [family["name"] for family in shown["families"]] == [family.name for family in FAMILIES]


def test_a_converted_model_is_removed_by_its_name(call: Call, converted: Path) -> None:
    assert call("models", "--remove", "tiny-model").result().startswith("Removed tiny-model: ")
    assert not converted.exists()
    assert "Nothing is in the cache yet." in call("models").result()


def test_a_name_that_is_not_there_removes_nothing(call: Call, converted: Path) -> None:
    for name in ("x", "[red]x[/red]", "", "..", "\udcff\x1b[31m"):
        said = call("models", "--remove", name).complaint(2)
        assert said.startswith(f"There is no converted model {name!r} in {models_dir()}")
        assert converted.name in said
    assert converted.is_dir()


def test_names_that_would_steer_a_terminal_are_shown_inert(
    call: Call, converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = converted.rename(converted.with_name("[red]\x1b[31m[b]-000000000000"))
    shown = call("models").result()
    assert "[red]\\x1b[31m[b]-000000000000" in shown
    assert "\x1b" not in shown
    assert call("models", "--remove", hostile.name).result().startswith("Removed [red]\\x1b[31m[b]-000000000000:")
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path / "[/b]\x1b]0;title\x07"))
    assert "[/b]\\x1b]0;title\\x07" in call("models").result()
