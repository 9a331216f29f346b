"""Folders appear whole or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from micrographia.bases.formats.convert import save_basis
from micrographia.bases.formats.writing import new_folder, write_tensors
from micrographia.errors import CallError, MicrographiaError
from tests.bases.formats.samples import per_layer


def test_a_folder_gets_its_name_when_it_is_complete(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out") as partial:
        (partial / "a").write_text("a")
        assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "a"
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def fail_over(path: Path, error: type[BaseException]) -> None:
    path.write_text("a")
    raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_work_that_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), new_folder(tmp_path / "out") as partial:
        fail_over(partial / "a", error)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "empty", "link"):
        with (
            pytest.raises(CallError, match=f"{name} is there already, and nothing is written over"),
            new_folder(tmp_path / name),
        ):
            pass
    with (
        pytest.raises(CallError, match=r"There is no folder .*nowhere to write out into"),
        new_folder(tmp_path / "nowhere" / "out"),
    ):
        pass


def test_tensors_are_what_safetensors_reads(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(3, 5).T,
        "b": torch.tensor([1, -2, 3], dtype=torch.int8),
        "c": torch.randn(2, 2).bfloat16(),
        "d": torch.tensor(4.0),
    }
    write_tensors(tmp_path / "x.safetensors", tensors)
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in tensors.items()
    )


FULL = """
import resource, sys
from pathlib import Path
from micrographia.bases.formats.convert import convert
from micrographia.errors import MicrographiaError
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
for to in ("micrographia", "circuit-tracer", "saelens", "sparsify"):
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]), to)
    except MicrographiaError as error:
        print(error)
"""


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    save_basis(per_layer(n=100), tmp_path / "in")
    command = [sys.executable, "-c", FULL, str(tmp_path / "in"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert len(said) == 4, done.stdout + done.stderr
    assert all(line.startswith(f"Cannot write {tmp_path / 'out'}: File too large; its disk has ") for line in said)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_place_that_is_no_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MicrographiaError, match="There is no folder"), new_folder(tmp_path / "file" / "out"):
        pass
