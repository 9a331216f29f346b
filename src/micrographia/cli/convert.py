"""`micrographia convert`: trained bases, and graphs, from one tool's files to another's."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from cyclopts import Parameter, validators
from rich.console import Console
from rich.text import Text

from micrographia.cli.graphs import convert_graph, is_graph
from micrographia.cli.screen import inert, print_json, progress, results
from micrographia.errors import CallError

if TYPE_CHECKING:
    from micrographia.bases.formats.calibrate import Calibrated
    from micrographia.bases.formats.convert import Comparison, Conversion
    from micrographia.bases.formats.parts import BasisFile
    from micrographia.corpus.corpus import Corpus
    from micrographia.model.site import Point

__all__ = ["Source", "Target", "convert"]

Target: TypeAlias = Literal["micrographia", "circuit-tracer", "saelens", "sparsify"]
Source: TypeAlias = Literal[
    "micrographia", "circuit-tracer", "saelens", "sparsify", "gemma-scope", "gemma-scope-2", "dictionary-learning"
]


def convert(
    source: Annotated[Path, Parameter(help="The folder that holds the basis or the graph, or a graph's .json file.")],
    destination: Annotated[
        Path | None,
        Parameter(help="The folder to make, which must not be there yet; of a graph's folder a .json file."),
    ] = None,
    /,
    *,
    to: Annotated[Target | None, Parameter(help="What to write; needed for a basis.")] = None,
    from_: Annotated[Source | None, Parameter(name="--from", help="What it is, where looking does not tell.")] = None,
    storage: Annotated[
        Literal["fp32", "bf16", "int8"],
        Parameter(help="How numbers are stored; int8 only in micrographia's own files."),
    ] = "fp32",
    check: Annotated[
        bool, Parameter(help="Read it back and compare on random inputs; a graph's JSON: check all rules.", negative="")
    ] = False,
    calibrate: Annotated[
        Path | None, Parameter(help="A corpus: TopK becomes JumpReLU, with thresholds from its held-out documents.")
    ] = None,
    positions: Annotated[
        int, Parameter(validator=validators.Number(gte=1), help="On how many positions thresholds are chosen.")
    ] = 8192,
    lossy: Annotated[bool, Parameter(help="Write it even if something of it is lost.", negative="")] = False,
    transcoder: Annotated[
        bool, Parameter(help="dictionary_learning's files are transcoders, which nothing in them says.", negative="")
    ] = False,
    input_site: Annotated[str | None, Parameter(help="What the encoders read, such as mlp_in.")] = None,
    output_site: Annotated[str | None, Parameter(help="What the decoders write, such as mlp_out.")] = None,
    model: Annotated[
        str | None, Parameter(help="The model's name, where the files do not say it; --calibrate opens it.")
    ] = None,
    json: Annotated[bool, Parameter(help="Print as JSON.", negative="")] = False,
) -> None:
    """Convert trained transcoders between Micrographia, circuit-tracer, SAELens and sparsify; read Gemma Scope's too.

    A graph's folder becomes the JSON of circuit-tracer and Neuronpedia, and such a file a folder; --check finds faults.

    What the other tool cannot hold is listed, and refused without --lossy; what --calibrate costs is measured.
    Exit code 1 if --check finds a difference.

        micrographia convert transcoders/ out/ --to circuit-tracer --check
        micrographia convert topk/ out/ --to saelens --calibrate corpus/
        micrographia convert graph/ graph.json --check
    """
    if is_graph(source):
        convert_graph(source, destination, check=check, json=json)
        return
    if destination is None or to is None:
        raise CallError(f"A basis needs a folder to make and a format: convert IN OUT --to {Target.__args__[0]}.")
    from micrographia.bases.formats.convert import convert as convert_basis
    from micrographia.bases.formats.format import Hints
    from micrographia.corpus.corpus import Corpus

    corpus = None if calibrate is None else Corpus.open(calibrate)
    done = convert_basis(
        source,
        destination,
        to,
        said=from_,
        storage=storage,
        hints=Hints(transcoder, _point(input_site), _point(output_site), model),
        lossy=lossy,
        calibrate=None if corpus is None else lambda file: _calibrated(file, corpus, positions),
        check=check,
    )
    if json:
        print_json(_content(done))
    else:
        _print(results(), done, destination)
    if not done.sound:
        sys.exit(1)


def _calibrated(file: "BasisFile", corpus: "Corpus", positions: int) -> "Calibrated":
    from micrographia.bases.formats.calibrate import calibrated
    from micrographia.model.load import load_model

    with progress() as report:
        model = load_model(file.facts.model, progress=report)
        return calibrated(file, model, corpus, positions=positions, progress=report)


def _point(name: str | None) -> "Point | None":
    from micrographia.model.site import Point

    if name is None:
        return None
    if name not in set(Point):
        raise CallError(f"There is no site {name!r}; an MLP is read at mlp_in, and written at mlp_out.")
    return Point(name)


def _print(console: Console, done: "Conversion", destination: Path) -> None:
    from micrographia.store import readable_size

    layers = f"{len(done.layers)} layer{'' if len(done.layers) == 1 else 's'}"
    what = f"{done.kind}, {layers}, {done.n_features} features of {done.d_model} dimensions"
    size = readable_size(done.size)
    console.print(Text.assemble((done.source, "cyan"), " → ", (done.target, "cyan"), f"  {what}"))
    console.print(inert(f"Written: {destination}, {size} as {done.storage}"))
    for line in done.lost:
        console.print(Text.assemble(("Lost: ", "yellow"), line))
    if done.rounding is not None:
        console.print(
            f"Rounding: {done.rounding.overall:.2e} of the weights' size; worst {done.rounding.worst:.2e} "
            f"({done.rounding.where})"
        )
    if done.written is not None:
        _print_comparison(console, "Read back against what was meant", done.written, judged=True)
    if done.changed is not None:
        _print_comparison(console, "Read back against the source", done.changed, judged=done.exact)


def _print_comparison(console: Console, title: str, found: "Comparison", *, judged: bool) -> None:
    verdict = ("equal", "green") if found.equal else ("different", "bold red" if judged else "yellow")
    console.print(
        Text.assemble(
            f"{title}: ",
            verdict,
            f"; activations differ by at most {found.activations:.2e} (largest {found.largest_activation:.3g}, "
            f"{found.active:.1%} active), outputs by {found.outputs:.2e} (largest {found.largest_output:.3g})",
        )
    )


def _content(done: "Conversion") -> dict[str, object]:
    return {**asdict(done), "sound": done.sound}
