"""`pytest --circuits` runs every claim of `*.circuit.toml` files as a test of its own.

It is a package of its own so that pytest, which imports it at every start, imports nothing of Micrographia for it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from micrographia.evidence.circuit_runs import CircuitRun, Held
    from micrographia.evidence.circuits import Circuit, CircuitClaim

__all__ = ["CircuitError", "CircuitFile", "CircuitItem", "pytest_addoption", "pytest_collect_file"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, all of which do nothing without the first."""
    group = parser.getgroup("circuits", "claims about language models")
    group.addoption("--circuits", action="store_true", help="run the claims of *.circuit.toml files as tests")
    group.addoption("--circuit-model", default=None, help="another model than the files name")
    group.addoption("--circuit-basis", default=None, help="another basis than the files name")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "CircuitFile | None":
    """Take circuit files where they are asked for."""
    wanted = parent.config.getoption("circuits") and file_path.name.endswith(".circuit.toml")
    return CircuitFile.from_parent(parent, path=file_path) if wanted else None


class CircuitError(Exception):
    """A claim does not hold."""


class CircuitFile(pytest.File):
    """A circuit file; its model is opened when the first claim is tested."""

    _run: "CircuitRun | None" = None

    def collect(self) -> "Iterator[CircuitItem]":
        """One test for each claim."""
        from micrographia.errors import MicrographiaError
        from micrographia.evidence.circuits import read_circuit

        try:
            circuit = read_circuit(self.path)
        except MicrographiaError as error:
            raise self.CollectError(str(error)) from error
        for claim in circuit.claim:
            yield CircuitItem.from_parent(self, name=claim.words, claim=claim, circuit=circuit)

    def run_of(self, circuit: "Circuit") -> "CircuitRun":
        """The file on its model."""
        if self._run is None:
            from micrographia.microscope import open as open_microscope

            model, basis = (self.config.getoption(name) for name in ("circuit_model", "circuit_basis"))
            scope = open_microscope(model or circuit.model, basis=basis or circuit.basis)
            self._run = scope.circuit(circuit)
        return self._run


class CircuitItem(pytest.Item):
    """A claim as a test."""

    def __init__(self, name: str, parent: CircuitFile, claim: "CircuitClaim", circuit: "Circuit") -> None:
        super().__init__(name, parent)
        self._file = parent
        self._claim = claim
        self._circuit = circuit
        self.held: Held | None = None

    def runtest(self) -> None:
        """Measure, and fail with the figures where the claim does not hold."""
        from micrographia.errors import MicrographiaError

        try:
            self.held = self._file.run_of(self._circuit).test(self._claim)
        except MicrographiaError as error:
            raise CircuitError(str(error)) from error
        self.add_report_section("call", "circuit", self.held.figures)
        if not self.held.holds:
            raise CircuitError(self.held.figures)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """The sentence alone, where it is one."""
        if isinstance(excinfo.value, CircuitError):
            return f"{self._claim.words}\n    {excinfo.value}"
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the claim stands."""
        return self.path, 0, self.name
