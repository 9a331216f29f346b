"""What `micrographia convert` does with graphs: a folder of ours to the JSON of other tools and back, and the check."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from micrographia.cli.screen import inert, print_json, results
from micrographia.errors import CallError

if TYPE_CHECKING:
    from micrographia.graph.check import Report

__all__ = ["convert_graph", "is_graph"]


def is_graph(source: Path) -> bool:
    """Whether this is a graph: a JSON file, or a folder whose manifest says so."""
    manifest = source / "manifest.json"
    return source.suffix == ".json" or (
        manifest.is_file() and '"kind": "graph"' in manifest.read_text("utf-8", "ignore")[:4096]
    )


def convert_graph(source: Path, destination: Path | None, *, check: bool, json: bool) -> None:
    """Write a graph's folder as JSON, or JSON as a graph's folder; check the JSON. Exit code 1 if it has errors."""
    if destination is None and not (check and source.suffix == ".json"):
        raise CallError(
            f"Give a destination: a name ending in .json, or a folder to make. --check alone checks {source}."
        )
    if destination is not None:
        _convert(source, destination)
    checked = source if source.suffix == ".json" else destination
    report = _report(checked) if check and checked is not None else None
    if json:
        print_json(_content(source, destination, report))
    else:
        _print(source, destination, report)
    if report is not None and not report.sound:
        sys.exit(1)


def _convert(source: Path, destination: Path) -> None:
    from micrographia.graph.exchange import write_graph_json
    from micrographia.graph.files import load_graph
    from micrographia.graph.imported import import_graph

    if destination.exists():
        raise CallError(f"{destination} is there already, and nothing is written over: choose another name.")
    if (source.suffix == ".json") == (destination.suffix == ".json"):
        raise CallError("A graph's folder becomes a file that ends in .json, and such a file a folder.")
    if source.suffix == ".json":
        import_graph(source).save(destination)
    else:
        write_graph_json(load_graph(source), destination)


def _report(path: Path) -> "Report":
    from micrographia.graph.check import check_graph, read_graph_json

    return check_graph(read_graph_json(path))


def _print(source: Path, destination: Path | None, report: "Report | None") -> None:
    console = results()
    if destination is not None:
        console.print(Text.assemble("Written: ", inert(str(destination)), " from ", inert(str(source))))
    if report is None:
        return
    for finding in report.findings:
        style = "bold red" if finding.level == "error" else "yellow"
        console.print(Text.assemble((f"{finding.level}: ", style), inert(str(finding))))
    verdict = ("sound", "green") if report.sound else ("not sound", "bold red")
    n = len(report.findings)
    found = "nothing found" if n == 0 else f"{n} finding{'' if n == 1 else 's'}"
    console.print(Text.assemble(f"{report.n_nodes} nodes, {report.n_links} links: ", verdict, f", {found}"))


def _content(source: Path, destination: Path | None, report: "Report | None") -> dict[str, object]:
    checked = None
    if report is not None:
        findings = [
            {"level": each.level, "where": each.where, "what": each.what, "more": each.more} for each in report.findings
        ]
        checked = {"sound": report.sound, "nodes": report.n_nodes, "links": report.n_links, "findings": findings}
    return {
        "source": str(source),
        "destination": None if destination is None else str(destination),
        "check": checked,
    }
