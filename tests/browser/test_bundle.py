"""The page in the package is what its sources give."""

import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_bundle_in_the_package_is_the_one_that_is_built(modules: Path) -> None:
    assert (modules / "esbuild").is_dir()
    done = subprocess.run(
        [REPOSITORY / "scripts" / "viewer", "--check"], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert done.returncode == 0, done.stdout + done.stderr
