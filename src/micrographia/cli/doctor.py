"""`micrographia doctor`: what is installed, what is missing, what this machine can do, and proof that it works."""

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from micrographia.cli.screen import inert, print_json, progress, results
from micrographia.errors import MicrographiaError

if TYPE_CHECKING:
    from micrographia.model.selftest import Finding
    from micrographia.store import Progress

__all__ = ["doctor"]

_MARKS = {
    "ok": ("✓", "green"),
    "missing": ("·", "yellow"),
    "failed": ("✗", "bold red"),
    "fact": (" ", "default"),
}


def doctor(
    *,
    json: Annotated[bool, Parameter(help="Print as JSON.", negative="")] = False,
) -> None:
    """Say what is installed, what is missing and what this machine can do, and prove it by running a self-test.

    The self-test runs a small random model and the embedded one: sums that must balance, an answer that must come.
    Exit code 1 if anything that is needed fails.
    """
    from micrographia.model.selftest import examine

    with progress() as report:
        findings = (*examine(report), _transcoders(report), _embedder())
    if json:
        print_json(
            {
                "healthy": all(finding.state != "failed" for finding in findings),
                "findings": [{"area": f.area, "name": f.name, "state": f.state, "detail": f.detail} for f in findings],
            }
        )
    else:
        console = results()
        for area in dict.fromkeys(finding.area for finding in findings):
            console.print(Text(area, style="bold"))
            for finding in findings:
                if finding.area == area:
                    _line(console, finding.state, finding.name, finding.detail)
    if any(finding.state == "failed" for finding in findings):
        sys.exit(1)


def _transcoders(report: "Progress") -> "Finding":
    """Whether the embedded model's transcoders came along, whole."""
    from micrographia.bases.formats.own import read_basis_manifest, verify
    from micrographia.bases.named import shipped_folder
    from micrographia.model.selftest import Finding

    folder, name = shipped_folder(), "transcoders"
    if folder is None:
        return Finding("Installed", name, "missing", "none in this installation: models are read in their neurons")
    try:
        manifest = read_basis_manifest(folder)
        verify(folder, report)
    except MicrographiaError as error:
        return Finding("Installed", name, "failed", str(error))
    n_features = sum(layer.n_features for layer in manifest.layers)
    detail = f"{n_features:,} features in {len(manifest.layers)} layers; every file has its SHA-256"
    return Finding("Installed", name, "ok", detail)


def _embedder() -> "Finding":
    """Whether the package is there that texts may be compared by."""
    from micrographia.labels.minilm import PARCEL
    from micrographia.model.selftest import Finding

    if PARCEL.is_installed():
        return Finding("Installed", "embedder", "ok", "all-MiniLM-L6-v2")
    return Finding("Installed", "embedder", "missing", f"only needed for --embedder minilm: {PARCEL.install_line}")


def _line(console: Console, state: str, name: str, detail: str) -> None:
    mark, style = _MARKS[state]
    text = (inert(detail), "" if state == "failed" else "dim")
    console.print(Text.assemble("  ", (mark, style), f" {name:<22} ", text))
