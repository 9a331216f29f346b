"""`micrographia test`: the claims of a graph, put to the test on the real model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators
from rich.text import Text

from micrographia.cli.options import ModelOptions
from micrographia.cli.screen import inert, print_json, progress, results
from micrographia.errors import CallError, ModelNameError

if TYPE_CHECKING:
    from micrographia.evidence.evidence import Evidence, Tested
    from micrographia.graph.graph import Graph
    from micrographia.microscope import Microscope
    from micrographia.store import Progress

__all__ = ["Extent", "claims", "evidence_content", "opened", "write_plot"]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Extent:
    """What of a graph is tested, and how thoroughly."""

    seconds: Annotated[
        float,
        Parameter(validator=validators.Number(gt=0), help="How long to test, the strongest claims first."),
    ] = 60.0
    claims: Annotated[
        int | None,
        Parameter(
            validator=validators.Number(gte=1),
            help="How many claims about the answer are tested, the strongest. Of more, each needs more. Default: 32.",
        ),
    ] = None
    target: Annotated[
        str | None, Parameter(help="The target that claims are about, such as target.1. Default: the heaviest.")
    ] = None
    controls: Annotated[
        int | None,
        Parameter(
            validator=validators.Number(gte=20), help="Controls of each claim, at most. Default: 199; 40 in a circuit."
        ),
    ] = None
    seed: Annotated[int, Parameter(validator=validators.Number(gte=0, lt=2**63), help="Which controls are drawn.")] = 0


def claims(
    graph: Annotated[
        Path, Parameter(help="The folder of a graph (trace PROMPT --out FOLDER makes one), or a *.circuit.toml file.")
    ],
    /,
    *,
    extent: Extent = Extent(),
    basis: Annotated[
        str | None,
        Parameter(help="The basis that the graph was traced in. Default: neurons, or those that come along."),
    ] = None,
    new: Annotated[
        bool, Parameter(help="Write what was confirmed as a first GRAPH.circuit.toml, and test nothing.", negative="")
    ] = False,
    audit: Annotated[
        bool, Parameter(help="Measure how faithful the graph and its basis are, beside published figures.", negative="")
    ] = False,
    circuit_curve: Annotated[
        bool, Parameter(help="Keep, and remove, nothing but the graph's strongest features.", negative="")
    ] = False,
    anew: Annotated[bool, Parameter(help="Forget what was measured before.", negative="")] = False,
    top: Annotated[
        int, Parameter(validator=validators.Number(gte=1), help="How many parts of the graph are printed.")
    ] = 24,
    plot: Annotated[
        Path | None, Parameter(help="Write a picture of predicted against measured effects, as SVG.")
    ] = None,
    json: Annotated[bool, Parameter(help="Print everything as JSON.", negative="")] = False,
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Test the claims of a graph: take each part out of the real model, and see whether the answer follows.

    The graph predicts by how much. Each part stands beside controls: steps of the same length, at the same places,
    along other features. ✓ confirmed, ✗ refuted, · not decided. The strongest claims about the answer are tested
    first, then those of groups on groups and along edges. What is measured is kept in the graph's folder as it comes;
    the same command goes on from there. A file of claims, *.circuit.toml, is tested likewise.
    --audit and --circuit-curve ask other questions of the same graph.

        micrographia trace "The capital of France is" --out paris
        micrographia test paris --seconds 120
        micrographia test --new paris
    """
    from micrographia.cli.circuits import is_circuit, run_circuit_file, write_first_circuit
    from micrographia.cli.faithfulness import measure_faithfulness
    from micrographia.evidence.files import forget_evidence
    from micrographia.graph.files import load_graph

    if is_circuit(graph):
        return run_circuit_file(graph, basis, model_options, controls=extent.controls, seed=extent.seed, json=json)
    if new:
        return write_first_circuit(graph, basis, json=json)
    if plot is not None and (plot.is_dir() or not plot.parent.is_dir()):
        raise CallError(f"{plot} cannot be a picture: give the name of a file in a folder that is there.")
    found = load_graph(graph)
    scope = opened(found, graph, basis, model_options)
    if audit or circuit_curve:
        return measure_faithfulness(scope, found, audit=audit, curve=circuit_curve, seed=extent.seed, json=json)
    if anew:
        forget_evidence(graph)
    with progress() as bar:
        evidence = _tested(scope, found, extent, graph, bar)
    _report(scope, found, evidence, top, plot, json)


def _tested(scope: "Microscope", graph: "Graph", extent: Extent, folder: Path, report: "Progress") -> "Evidence":
    from micrographia.evidence.verdicts import MOST

    return scope.test(
        graph,
        seconds=extent.seconds,
        target=extent.target,
        claims=extent.claims,
        controls=extent.controls or MOST,
        seed=extent.seed,
        folder=folder,
        progress=report,
    )


def _report(scope: "Microscope", found: "Graph", evidence: "Evidence", top: int, plot: Path | None, json: bool) -> None:
    if plot is not None:
        write_plot(evidence, plot)
    if json:
        print_json(evidence_content(evidence))
    else:
        _print(scope, found, evidence, top, plot)


def _print(scope: "Microscope", found: "Graph", evidence: "Evidence", top: int, plot: Path | None) -> None:
    from micrographia.report.verdicts import verdicts

    console = results()
    console.print(Text(inert(found.prompt.text), style="bold"))
    console.print(Text(f"{inert(scope.model.name)}, read in {inert(scope.chosen.name)}", style="dim"))
    console.print()
    console.print(verdicts(found, evidence, console.width, parts=top))
    if plot is not None:
        console.print(Text(f"\nWritten: {inert(str(plot))}"))


def write_plot(evidence: "Evidence", path: Path) -> None:
    """The picture of predicted against measured effects, whole or not at all."""
    from micrographia.report.scatter import scatter
    from micrographia.store import atomic_file

    with atomic_file(path) as stream:
        stream.write(scatter(evidence).encode())


def opened(graph: "Graph", folder: Path, basis: str | None, options: ModelOptions) -> "Microscope":
    """The model and the basis that the graph was traced in."""
    facts = graph.facts
    if facts is None:
        raise CallError(f"{folder} does not say which model it was traced in, so no model can be asked about it.")
    if basis is None and facts.basis == "Neurons":
        basis = f"neurons:{facts.gate_rule or 'half'}"
    name = options.model or facts.model
    try:
        return ModelOptions(name, options.device, options.dtype).open(basis)
    except ModelNameError as error:
        if options.model is not None:
            raise
        raise CallError(
            f"{folder} was traced in {facts.model!r}, which is not found by that name: give it as --model."
        ) from error


def evidence_content(evidence: "Evidence") -> dict[str, object]:
    """All that is known, as JSON has it."""
    agreements = {"all_paths": evidence.agreement(), "direct_edges": evidence.agreement(direct=True)}
    agreements |= {f"inside_{kind}": evidence.agreement(kind) for kind in ("group", "paths", "direct")}
    return {
        "target": str(evidence.target),
        "name": evidence.name,
        "value": evidence.value,
        "probability": evidence.probability,
        "counts": dict(evidence.counts),
        "shares": dict(evidence.shares),
        "agreement": {
            name: None
            if one is None
            else {
                "n": one.n,
                "signs": one.signs,
                "pearson": one.pearson,
                "spearman": one.spearman,
                "slope": one.slope,
            }
            for name, one in agreements.items()
        },
        "rate": evidence.rate,
        "seed": evidence.seed,
        "claims": [_claim(one) for one in evidence.tested],
        "inside": [
            {"kind": one.claim.kind, "to": one.claim.to, "reads": list(map(str, one.claim.reads)), **_claim(one)}
            for one in evidence.inside
        ],
    }


def _claim(one: "Tested") -> dict[str, object]:
    claim, judged, measured = one.claim, one.judgement, one.measured
    content: dict[str, object] = {
        "name": claim.name,
        "members": list(map(str, claim.members)),
        "influence": claim.influence,
        "predicted": {"total": claim.total, "direct": claim.direct},
        "verdict": judged.verdict,
        "why": judged.why,
    }
    if measured is not None:
        content |= {
            "effect": measured.effect,
            "probability": measured.probability,
            "p": judged.p,
            "band": None if judged.low is None else [judged.low, judged.high],
            "controls": list(measured.controls),
        }
    return content
