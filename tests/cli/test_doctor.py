"""What `micrographia doctor` says of a machine on which all is well, and of one on which it is not."""

import json
import os
from pathlib import Path

import pytest
import torch

from micrographia.bases import named
from micrographia.bases.formats.convert import save_basis
from micrographia.model import embedded, selftest
from micrographia.model.machine import Speed
from tests.bases.formats.samples import per_layer
from tests.cli.calling import Call


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """How fast this machine multiplies is not what is tested here."""
    speed = {torch.float32: 60.0, torch.bfloat16: 200.0}
    monkeypatch.setattr(selftest, "matmul_speed", lambda dtype, device: Speed(dtype, speed[dtype], 1e-7))


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The embedded model in a cache of its own, made of links: a file to be damaged must be replaced."""
    original = embedded.embedded_folder()
    folder = tmp_path / "cache" / "models" / original.name
    folder.mkdir(parents=True)
    for path in original.iterdir():
        (folder / path.name).symlink_to(path)
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path / "cache"))
    return folder


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def test_a_healthy_machine_is_told_so(call: Call) -> None:
    lines = call("doctor").result().splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ["Installed", "Machine", "Self-test"]
    assert not any("✗" in line for line in lines)
    shown = {line.split()[1]: line for line in lines if line.startswith("  ✓")}
    assert torch.__version__ in shown["torch"]
    assert "all-MiniLM-L6-v2" in shown["embedder"]
    assert "relative error" in shown["forward"]
    assert "answers ␣French with 0.96" in lines[-1]
    assert "bfloat16 pays off" in "".join(lines)
    assert f"{torch.get_num_threads()} threads in use" in "".join(lines)


def test_a_damaged_file_fails_by_name_and_says_how_to_mend_it(call: Call, private: Path) -> None:
    damage(private / "model-00003-of-00003.safetensors")
    shown = call("doctor", "--json")
    assert (shown.code, shown.err) == (1, "")
    found = json.loads(shown.out)
    assert found["healthy"] is False
    failed = [finding for finding in found["findings"] if finding["state"] == "failed"]
    assert [finding["name"] for finding in failed] == ["embedded files", "embedded model"]
    for finding in failed:
        assert f"{private / 'model-00003-of-00003.safetensors'} is damaged" in finding["detail"]
        assert f"Delete it, and it is made anew: rm -r {private}" in finding["detail"]
    assert {f["name"]: f["state"] for f in found["findings"]}["torch"] == "ok"


def test_the_line_that_failed_is_marked(call: Call, private: Path) -> None:
    damage(private / "config.json")
    shown = call("doctor")
    assert (shown.code, shown.err) == (1, "")
    failed = [line for line in shown.out.splitlines() if line.startswith("  ✗")]
    assert len(failed) == 2
    assert all("config.json is damaged: its CRC-32" in line for line in failed)


def test_a_cache_that_cannot_be_written_is_a_failure_and_no_crash(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path / "file" / "[red]\x1b[31m"))
    shown = call("doctor")
    assert (shown.code, shown.err) == (1, "")
    assert f"Cannot write {tmp_path / 'file'}/[red]\\x1b[31m/models/" in shown.out
    assert "\x1b" not in shown.out
    assert os.listdir(tmp_path) == ["file"]


def test_transcoders_that_came_along_are_weighed(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def line() -> str:
        return next(line for line in call("doctor").out.splitlines() if " transcoders " in line)

    monkeypatch.setattr(selftest, "examine", lambda progress: ())
    monkeypatch.setattr(named, "_SHELF", tmp_path)
    assert line().startswith("  · transcoders")
    save_basis(per_layer(), tmp_path / "smollm2-135m")
    assert "30 features in 3 layers; every file has its SHA-256" in line()
    damage(tmp_path / "smollm2-135m" / "layer-001.safetensors")
    assert "layer-001.safetensors is damaged: its SHA-256" in line()
    assert call("doctor").code == 1


def test_what_is_optional_may_be_missing(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named, "_SHELF", tmp_path)
    monkeypatch.setattr(embedded, "is_installed", lambda: False)
    monkeypatch.setattr(selftest, "find_spec", lambda name: None)
    lines = call("doctor").result().splitlines()
    missing = [line.split(None, 1)[1] for line in lines if line.startswith("  ·")]
    names = [line.split("  ")[0] for line in missing]
    assert names == ["pandas", "matplotlib", "embedded model", "transcoders"]
    assert missing[2].endswith(f"not there: {embedded.INSTALL_LINE}")
    assert lines[-1].startswith("  ✓ forward on ")
