"""`micrographia trace`: why the model says what it says, as a graph."""

import re
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators
from rich.console import Console
from rich.text import Text

from micrographia.cli.claims import evidence_content
from micrographia.cli.options import BasisOption, ModelOptions, PromptOptions, TargetOptions
from micrographia.cli.screen import inert, print_json, progress, results, shade
from micrographia.errors import BudgetError, CallError

if TYPE_CHECKING:
    from micrographia.evidence.evidence import Evidence
    from micrographia.graph.graph import Graph
    from micrographia.microscope import Microscope
    from micrographia.model.run import Answer

__all__ = ["print_trace", "read_size", "trace"]

_SHARE = validators.Number(gt=0, lte=1)
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def trace(
    prompt: Annotated[str, Parameter(help="The text that the model goes on from.")],
    /,
    *,
    basis: BasisOption = None,
    nodes: Annotated[
        int, Parameter(validator=validators.Number(gte=1), help="Features that are traced, at most.")
    ] = 2048,
    share: Annotated[float, Parameter(validator=_SHARE, help="The part of the influence that is traced.")] = 0.8,
    node_share: Annotated[float, Parameter(validator=_SHARE, help="The part of it whose nodes are shown.")] = 0.8,
    edge_share: Annotated[float, Parameter(validator=_SHARE, help="The part of it whose edges are shown.")] = 0.98,
    group: Annotated[bool, Parameter(help="Put features that do the same together.", negative="--no-group")] = True,
    memory: Annotated[
        str | None, Parameter(help="What may be used, such as 4GB. Default: most of what is free.")
    ] = None,
    top: Annotated[
        int, Parameter(validator=validators.Number(gte=1), help="How many parts of the graph are printed.")
    ] = 24,
    out: Annotated[Path | None, Parameter(help="Keep the graph in this folder, which must not be there yet.")] = None,
    html: Annotated[Path | None, Parameter(help="Write the graph as one HTML file.")] = None,
    graph_json: Annotated[
        Path | None, Parameter(help="Write the graph as circuit-tracer and Neuronpedia read it.")
    ] = None,
    test: Annotated[bool, Parameter(help="Then test its claims on the real model.", negative="")] = False,
    seconds: Annotated[
        float | None, Parameter(validator=validators.Number(gt=0), help="How long --test may go on. Default: 60.")
    ] = None,
    json: Annotated[bool, Parameter(help="Print everything as JSON.", negative="")] = False,
    target_options: TargetOptions = TargetOptions(),
    prompt_options: PromptOptions = PromptOptions(),
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Show why the model answers as it does: which features made it, and through which others.

    The answer is followed down to the prompt's tokens. Each part comes with its share of the influence, its layers,
    where it is active, and the tokens that it promotes; the ledger says what is left out.

        micrographia trace "The capital of France is"
        micrographia trace "The capital of France is" --against " London" --basis neurons --html paris.html
        micrographia trace "The capital of France is" --test --seconds 30
    """
    limit = None if memory is None else read_size(memory)
    if seconds is not None and not test:
        raise CallError("--seconds says how long claims are tested, and none are: add --test.")
    _check_destinations(out, html, graph_json)
    scope, asked = model_options.open(basis), target_options
    tokens = prompt_options.read(scope, prompt)
    with progress() as report, _own_words():
        found = scope.trace(
            tokens,
            target=asked.target,
            against=asked.against,
            position=asked.position,
            max_nodes=nodes,
            share=share,
            node_share=node_share,
            edge_share=edge_share,
            group=group,
            memory=limit,
            progress=report,
        )
    answers = scope.answers(tokens, position=asked.position)
    if out is not None:
        found.save(out)
    evidence = _tested(scope, found, seconds or 60.0, out) if test else None
    written = _written(found, evidence, out, html, graph_json)
    if json:
        from micrographia.report.content import content_of

        verdicts = {} if evidence is None else {"evidence": evidence_content(evidence)}
        print_json({**content_of(found), "basis": scope.chosen.name, **_answers(answers), "files": written, **verdicts})
        return
    console = results()
    print_trace(console, scope, found, answers, top=top, evidence=evidence)
    for word in (asked.target, asked.against):
        if word is not None and not word.startswith(" ") and scope.model.tokenizer.is_token(" " + word):
            said = f"{word!r} and {' ' + word!r} are two tokens; this took the one without the space."
            console.print(Text(said, style="yellow"))
    _print_files(console, written)


@contextmanager
def _own_words() -> Generator[None]:
    """Let a refusal for want of memory name the options of the command."""
    try:
        yield
    except BudgetError as error:
        raise BudgetError.of(error.said, error.fits, nodes="--nodes {}", memory="--memory …") from error


def _tested(scope: "Microscope", found: "Graph", seconds: float, folder: Path | None) -> "Evidence":
    with progress() as report:
        return scope.test(found, seconds=seconds, folder=folder, progress=report)


def print_trace(
    console: Console,
    scope: "Microscope",
    found: "Graph",
    answers: "Sequence[Answer]",
    *,
    top: int = 24,
    evidence: "Evidence | None" = None,
) -> None:
    """The prompt, the answers, and all that is worth a screen of the graph."""
    from micrographia.report.terminal import summary

    console.print(Text(inert(found.prompt.text), style="bold"))
    console.print(Text(f"{inert(scope.model.name)}, read in {inert(scope.chosen.name)}", style="dim"))
    console.print()
    console.print(_answer_line(found, answers))
    console.print()
    console.print(summary(found, console.width, parts=top, evidence=evidence))


def _answer_line(found: "Graph", answers: "Sequence[Answer]") -> Text:
    said = Text("Answers: ", style="bold")
    for number, answer in enumerate(answers):
        said.append("" if number == 0 else ", ")
        said.append(f"{answer.piece} {answer.probability:.3f}", style=shade(answer.probability))
    position = found.targets[0].position
    where = "" if position == len(found.prompt) - 1 else f" at {position} {inert(found.prompt.pieces[position])}"
    return Text.assemble(said, "\n", ("Explained: ", "bold"), _explained(found), where)


def _explained(found: "Graph") -> str:
    """The targets; several likely tokens by their number and probability."""
    names = [inert(target.name) for target in found.targets]
    likely = [target.probability for target in found.targets if target.probability is not None]
    if len(names) == 1 or len(likely) < len(names):
        return ", ".join(names)
    return f"the {len(likely)} likeliest, with {sum(likely):.3f} of the probability"


def _answers(answers: "Sequence[Answer]") -> dict[str, object]:
    return {
        "answers": [{"id": int(a.token), "piece": a.piece, "probability": a.probability} for a in answers],
    }


# ---------------------------------------------------------------- files


def read_size(text: str) -> int:
    """A number of bytes: `4GB`, `500 MB`, `2GiB`."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = None if found is None else _UNITS.get(found[2].upper())
    if found is None or unit is None or float(found[1]) * unit < 1:
        raise CallError(f"{text!r} is no size. Write a number and a unit, such as 4GB, 500MB or 2GiB.")
    return int(float(found[1]) * unit)


def _check_destinations(out: Path | None, *files: Path | None) -> None:
    """Refuse before the work what could not be written after it."""
    from micrographia.bases.formats.writing import refuse_taken

    if out is not None:
        refuse_taken(out)
    named = [path for path in (out, *files) if path is not None]
    if len({path.absolute() for path in named}) < len(named):
        raise CallError("Two of --out, --html and --graph-json have the same name. Give each its own.")
    for path in named:
        if path.is_dir():
            raise CallError(f"{str(path)!r} is a folder. Give the name of a file.")
        if not path.parent.is_dir():
            raise CallError(f"There is no folder {str(path.parent)!r} to write {path.name!r} into.")
        try:
            tempfile.TemporaryFile(dir=path.parent).close()
        except OSError as error:
            raise CallError(
                f"Nothing can be written into {str(path.parent)!r}: {error.strerror}. Choose another place."
            ) from error


def _written(
    found: "Graph",
    evidence: "Evidence | None",
    out: Path | None,
    html: Path | None,
    graph_json: Path | None,
) -> dict[str, str]:
    """Write what was asked for beside the folder, each whole or not at all."""
    from micrographia.graph.exchange import write_graph_json
    from micrographia.report.page import write_page

    written = {} if out is None else {"graph": str(out)}
    if html is not None:
        write_page(found, html, evidence=evidence)
        written["html"] = str(html)
    if graph_json is not None:
        write_graph_json(found, graph_json)
        written["graph_json"] = str(graph_json)
    return written


def _print_files(console: Console, written: Mapping[str, str]) -> None:
    console.print()
    for path in written.values():
        console.print(Text(f"Written: {inert(path)}"))
    if not written:
        console.print(
            Text("Nothing was written: --out FOLDER keeps the graph, --html FILE makes a page of it.", style="dim")
        )
