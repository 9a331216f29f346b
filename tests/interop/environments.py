"""The other libraries, each in an environment of its own under `.cache/interop`, made when it is first needed.

An environment holds the pins of `tests/interop/NAME.txt` and sees, behind them, the packages of the environment that
runs the tests: so torch is not installed again. pip takes its index and options from its own variables and files.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from filelock import FileLock

__all__ = ["REQUIRED", "environment", "run_peer"]

HERE = Path(__file__).parent
PLACE = HERE.parents[1] / ".cache" / "interop"
REQUIRED = "MICROGRAPHIA_INTEROP_REQUIRED"
"""With this variable set, a library that cannot be installed fails its tests instead of skipping them."""


def environment(name: str) -> Path:
    """The Python of a library's environment, up to date with its pins."""
    pins, folder = HERE / f"{name}.txt", PLACE / name
    shared = sysconfig.get_paths()["purelib"]
    wanted = hashlib.sha256("\n".join([pins.read_text(), shared, sys.version]).encode()).hexdigest()
    stamp, python = folder / ".stamp", folder / "bin" / "python"
    PLACE.mkdir(parents=True, exist_ok=True)
    with FileLock(PLACE / f"{name}.lock"):
        if not stamp.is_file() or stamp.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=False)
            own = next(folder.glob("lib/python*/site-packages"))
            (own / "shared.pth").write_text(shared + "\n")
            _install(name, python, pins)
            stamp.write_text(wanted)
    return python


def _install(name: str, python: Path, pins: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-input", "--no-deps"]
    done = subprocess.run([*pip, "-r", str(pins)], capture_output=True, text=True, check=False)
    if done.returncode:
        said = f"{name} cannot be installed: {done.stderr.strip()[-400:]}"
        if os.environ.get(REQUIRED):
            pytest.fail(said)
        pytest.skip(said)


def run_peer(name: str, work: Path) -> None:
    """Let the library load all that lies in `work/ours` and save some of its own in `work/theirs`."""
    script = HERE / "peers" / f"{name.replace('-', '_')}.py"
    alone = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))}
    done = subprocess.run(
        [str(environment(name)), "-W", "ignore", str(script), str(work)],
        capture_output=True,
        text=True,
        check=False,
        env=alone | {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-4000:]
