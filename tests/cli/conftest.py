"""A tiny model in a folder, and the command called in this process.

Our own package is imported inside the fixtures: its shape checks are put in place after conftest files load.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.calling import Call, Called
from tests.model.conftest import save_tiny

if TYPE_CHECKING:
    from micrographia.microscope import Microscope


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama of three layers and four heads, whose tokens are the words `t2` to `t79`."""
    folder = tmp_path_factory.mktemp("folder") / "tiny"
    save_tiny("llama", folder)
    return folder


@pytest.fixture(scope="session")
def scope(folder: Path) -> "Microscope":
    """The same model, opened from Python."""
    from micrographia.microscope import open

    return open(str(folder))


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """call("lens", "t3") is `micrographia lens t3`."""
    from micrographia.cli.app import main

    def called(*arguments: str) -> Called:
        capsys.readouterr()
        try:
            main(arguments)
        except SystemExit as left:
            code = left.code
        else:
            code = 0
        written = capsys.readouterr()
        assert isinstance(code, int)
        return Called(code, written.out, written.err)

    return called
