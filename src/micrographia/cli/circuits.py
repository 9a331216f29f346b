"""What `micrographia test` does with circuit files: run their claims, and write a first one from a graph."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from micrographia.cli.screen import inert, print_json, progress, results
from micrographia.errors import CallError

if TYPE_CHECKING:
    from micrographia.cli.options import ModelOptions
    from micrographia.evidence.circuit_runs import Held

__all__ = ["is_circuit", "run_circuit_file", "write_first_circuit"]

_CONTROLS = 40


def is_circuit(path: Path) -> bool:
    """Whether this is a circuit file, by its name."""
    from micrographia.evidence.circuits import SUFFIX

    return path.name.endswith(SUFFIX)


def run_circuit_file(
    path: Path, basis: str | None, options: "ModelOptions", *, controls: int | None, seed: int, json: bool
) -> None:
    """Test every claim, green or red. Exit code 1 if one fails."""
    from dataclasses import replace

    from micrographia.evidence.circuits import read_circuit

    circuit = read_circuit(path)
    scope = replace(options, model=options.model or circuit.model).open(basis or circuit.basis)
    run = scope.circuit(circuit, controls=controls or _CONTROLS, seed=seed)
    found: list[Held] = []
    with progress() as report:
        for number, claim in enumerate(circuit.claim):
            report("claims", number, len(circuit.claim))
            found.append(run.test(claim))
    if json:
        print_json({"model": scope.model.name, "basis": scope.chosen.name, "claims": list(map(_content, found))})
    else:
        console = results()
        console.print(Text(inert(circuit.name), style="bold"))
        console.print(Text(f"{inert(scope.model.name)}, read in {inert(scope.chosen.name)}", style="dim"))
        console.print()
        for held in found:
            mark = Text("✓ ", "green") if held.holds else Text("✗ ", "red")
            console.print(Text.assemble(mark, inert(held.claim.words)))
            console.print(Text(f"  {inert(held.figures)}", style="dim"))
        n = sum(held.holds for held in found)
        console.print(
            Text(f"\n{n} of {len(found)} claims hold.", style="bold green" if n == len(found) else "bold red")
        )
    if not all(held.holds for held in found):
        sys.exit(1)


def write_first_circuit(folder: Path, basis: str | None, *, json: bool) -> None:
    """What was confirmed of a graph as a circuit file beside its folder."""
    from micrographia.bases.formats.writing import refuse_taken
    from micrographia.evidence.circuits import SUFFIX, first_circuit, write_circuit
    from micrographia.evidence.files import load_evidence
    from micrographia.graph.files import load_graph

    path = folder.absolute().with_name(folder.absolute().name + SUFFIX)
    graph = load_graph(folder)
    evidence = load_evidence(graph, folder)
    if evidence is None:
        raise CallError(f"Nothing of {folder} was tested, so there is nothing to write: test it first.")
    refuse_taken(path)
    circuit = first_circuit(graph, evidence, folder.absolute().name, basis)
    write_circuit(circuit, path)
    if json:
        print_json({"written": str(path), "claims": len(circuit.claim)})
        return
    results().print(
        Text(f"Written: {inert(str(path))}, with {len(circuit.claim)} claims. Read it before you trust it.")
    )


def _content(held: "Held") -> dict[str, object]:
    return {
        "words": held.claim.words,
        "holds": held.holds,
        "why": held.why,
        "effect": held.effect,
        "interval": None if held.interval is None else list(held.interval),
        "controls": held.controls,
        "band": None if held.band is None else list(held.band),
        "valid": held.valid,
        "prompts": held.prompts,
        "n_controls": held.n_controls,
    }
