"""`micrographia evaluate`: how good a basis is, beside what it has to beat."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators
from rich.console import Console
from rich.table import Table
from rich.text import Text

from micrographia.cli.options import ModelOptions
from micrographia.cli.screen import print_json, progress, results
from micrographia.errors import CallError

if TYPE_CHECKING:
    from micrographia.bases.evaluation.card import Card, Role
    from micrographia.bases.evaluation.subject import Subject
    from micrographia.bases.evaluation.tables import CardTable
    from micrographia.model.model import Model

__all__ = ["evaluate"]

_POSITIVE = validators.Number(gte=1)


def evaluate(
    basis: Annotated[str, Parameter(help="A folder of any tool's transcoders, 'transcoders', or 'neurons'.")],
    /,
    *,
    corpus: Annotated[Path, Parameter(help="The corpus to judge on; see 'micrographia corpus build'.")],
    peer: Annotated[
        tuple[Path, ...],
        Parameter(help="Another folder of transcoders to compare with; may be said again.", negative=""),
    ] = (),
    against: Annotated[
        Path | None, Parameter(help="The same basis before its numbers were rounded: what did rounding lose?")
    ] = None,
    tokens: Annotated[int | None, Parameter(validator=_POSITIVE, help="Positions for FVU, L0, dead and dense.")] = None,
    train_tokens: Annotated[
        int | None, Parameter(validator=_POSITIVE, help="Positions of training text to fit the baselines on.")
    ] = None,
    all_layers_tokens: Annotated[
        int | None, Parameter(validator=_POSITIVE, help="Positions with all layers spliced.")
    ] = None,
    one_layer_tokens: Annotated[
        int | None, Parameter(validator=_POSITIVE, help="Positions with each layer spliced alone: the dearest part.")
    ] = None,
    prompt_tokens: Annotated[
        int | None, Parameter(validator=_POSITIVE, help="Positions to look for replacement accuracy's tokens among.")
    ] = None,
    slope_tokens: Annotated[int | None, Parameter(validator=_POSITIVE, help="Positions to compare slopes at.")] = None,
    graphs: Annotated[
        int | None,
        Parameter(validator=validators.Number(gte=2), help="Prompts to trace, for the means of their graphs: dear."),
    ] = None,
    batch: Annotated[int | None, Parameter(validator=_POSITIVE, help="Tokens that are read at a time.")] = None,
    seed: Annotated[int | None, Parameter(help="Decides which text is read, and the intervals.")] = None,
    markdown: Annotated[Path | None, Parameter(help="Write the card as a page, too.")] = None,
    json: Annotated[bool, Parameter(help="Print the card as JSON.", negative="")] = False,
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Judge a basis on held-out text, beside its baselines: few neurons, a linear map, the mean, nothing.

    What it leaves unexplained (FVU, L0, dead features, slopes), and what it costs in the model's place: one layer at a
    time and all at once. --dtype bfloat16 is quicker.

        micrographia evaluate run/transcoders --corpus corpus --markdown card.md
        micrographia evaluate small/ --against run/transcoders --peer other/ --corpus corpus
    """
    from micrographia.bases.evaluation.card import EvaluationConfig
    from micrographia.bases.evaluation.evaluation import evaluate as evaluate_basis
    from micrographia.bases.named import NEURONS
    from micrographia.corpus.corpus import Corpus
    from micrographia.graph.survey import survey

    said = {
        "tokens": tokens,
        "train_tokens": train_tokens,
        "all_layers_tokens": all_layers_tokens,
        "one_layer_tokens": one_layer_tokens,
        "prompt_tokens": prompt_tokens,
        "slope_tokens": slope_tokens,
        "graphs": graphs,
        "batch": batch,
        "seed": seed,
    }
    config = EvaluationConfig.model_validate({key: value for key, value in said.items() if value is not None})
    if markdown is not None and not markdown.parent.is_dir():
        raise CallError(f"There is no folder {markdown.parent} to write {markdown.name} in.")
    text = Corpus.open(corpus)
    model = model_options.open().model
    with progress() as report:
        card = evaluate_basis(
            model,
            text,
            _basis(basis, model),
            peers=[_opened(folder, model, "peer") for folder in peer],
            unrounded=None if against is None else _opened(against, model, "unrounded"),
            config=config,
            progress=report,
        )
        if config.graphs:
            bases = {card.rows[0].name: basis, NEURONS: NEURONS}
            card = card.model_copy(update={"graphs": survey(model, text, bases, config, report)})
    _give(card, markdown, as_json=json)


def _give(card: "Card", markdown: Path | None, *, as_json: bool) -> None:
    from micrographia.bases.evaluation.tables import markdown as page_of

    if markdown is not None:
        _write(markdown, page_of(card))
    if as_json:
        print_json(card.model_dump(mode="json"))
    else:
        _print(results(), card)


def _basis(said: str, model: "Model") -> "Subject":
    from micrographia.bases.evaluation.subject import neurons
    from micrographia.bases.named import NEURONS, TRANSCODERS, shipped_folder

    if said == NEURONS:
        return neurons(model)
    if said != TRANSCODERS:
        return _opened(Path(said), model, "basis")
    folder = shipped_folder(model)
    if folder is None:
        raise CallError(f"No transcoders come along for {model.name}: give a folder, or {NEURONS!r}.")
    return _opened(folder, model, "basis")


def _opened(folder: Path, model: "Model", role: "Role") -> "Subject":
    from micrographia.bases.evaluation.subject import subject_from

    return subject_from(folder.expanduser(), model, role=role)


def _write(path: Path, text: str) -> None:
    from micrographia.store import atomic_file

    with atomic_file(path) as file:
        file.write(text.encode())


def _print(console: Console, card: "Card") -> None:
    from micrographia.bases.evaluation.tables import remarks, tables_of

    for table in tables_of(card):
        if table.rows:
            console.print(_table(table))
            console.print()
    for line in remarks(card):
        console.print(Text(line, style="dim"))


def _table(its: "CardTable") -> Table:
    """Where the screen is too narrow, an interval stands below its figure."""
    table = Table(title=its.title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1))
    table.add_column(its.head[0], style="cyan")
    for name in its.head[1:]:
        table.add_column(name, justify="right")
    for row in its.rows:
        table.add_row(row[0], *map(_cell, row[1:]))
    return table


def _cell(figure: str) -> Text:
    value, _, interval = figure.partition(" ")
    return Text.assemble(value, (f" {interval}", "dim") if interval else "")
