"""The type checker refuses what it must refuse.

Each wrong line beside this file carries an ignore that names its rule. A line that stops being an error
makes its ignore superfluous, which the project's settings report as an error.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


def test_what_must_be_an_error_is_one() -> None:
    files = [str(path) for path in sorted(HERE.glob("*.py")) if path != Path(__file__)]
    assert files
    command = [sys.executable, "-m", "pyright", *files]
    checked = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
