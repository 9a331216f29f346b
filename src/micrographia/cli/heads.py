"""`micrographia heads`: what every attention head looks at."""

import random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators
from rich.table import Table
from rich.text import Text

from micrographia.cli.carriers import show_carriers
from micrographia.cli.options import ModelOptions, PromptOptions, read_text
from micrographia.cli.screen import print_json, results
from micrographia.errors import CallError

if TYPE_CHECKING:
    from micrographia.microscope import Microscope
    from micrographia.model.direct import HeadTops
    from micrographia.model.heads import HeadScores, Score
    from micrographia.model.tokens import Prompt

__all__ = ["heads"]

_SCORES: "tuple[Score, ...]" = ("induction", "previous", "first", "entropy")
_CHUNK = 256


def heads(
    prompt: Annotated[str | None, Parameter(help="The text to look at; with --edge, a graph's folder.")] = None,
    /,
    *,
    edge: Annotated[
        tuple[str, str] | None,
        Parameter(help="Two nodes of a graph: which heads carry the edge from the first to the second."),
    ] = None,
    basis: Annotated[str | None, Parameter(help="With --edge: the folder of the basis that it was traced in.")] = None,
    corpus: Annotated[Path | None, Parameter(help="A text file to score the heads on, instead of a prompt.")] = None,
    sample: Annotated[
        int,
        Parameter(
            validator=validators.Number(gte=1), help=f"How many pieces of {_CHUNK} tokens of the corpus to read."
        ),
    ] = 32,
    sort: Annotated[
        Literal["induction", "previous", "first", "entropy"], Parameter(help="The score to sort by.")
    ] = "induction",
    top: Annotated[int, Parameter(validator=validators.Number(gte=1), help="How many heads to show.")] = 20,
    seed: Annotated[
        int,
        Parameter(
            validator=validators.Number(gte=0, lt=2**63), help="Which pieces are drawn, and which random tokens."
        ),
    ] = 0,
    json: Annotated[bool, Parameter(help="Print every head as JSON.", negative="")] = False,
    prompt_options: PromptOptions = PromptOptions(),
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """List attention heads by what they look at.

    previous and first: the attention a head pays to the token before, and to the first one. entropy: how widely it
    looks, in bits. induction: on random tokens said twice, the attention it pays to the token after the earlier copy.
    Each score stands beside what uniform attention would get. With a prompt, the last column shows the tokens that the
    head's output promotes at the last position.

    With a graph and --edge, the edge is split exactly over the heads that deliver it, or take it up.

        micrographia heads "When Mary and John went to the store, John gave a drink to"
        micrographia heads --corpus book.txt --sort previous
        micrographia heads paris --edge token@4 target.0
    """
    if edge is not None:
        if prompt is None or corpus is not None:
            raise CallError("--edge needs a graph: micrographia heads GRAPH --edge token@4 target.0")
        return show_carriers(Path(prompt), edge, basis, model_options, top=top, json=json)
    if (prompt is None) == (corpus is None):
        raise CallError('Give either a prompt or --corpus FILE, as in: micrographia heads "The cat sat on the mat".')
    text = None if corpus is None else read_text(corpus)
    scope = model_options.open()
    if text is None:
        prompts = [prompt_options.read(scope, prompt or "")]
    else:
        prompts = _pieces(scope, text, sample, seed, prompt_options.bos)
    scores = scope.heads(prompts, seed=seed)
    promoted = None if prompt is None else scope.head_tops(prompts[0], top=5)
    if json:
        print_json(_content(scope, scores, promoted))
        return
    console = results()
    console.print(_table(scope, scores, promoted, sort, top))
    console.print(
        Text(
            f"{len(prompts)} text{'s' * (len(prompts) != 1)}, {scores.n_positions} positions; induction on "
            f"{scores.n_repeated} random sequences of 32 tokens said twice, seed {seed}.",
            style="dim",
        )
    )


def _pieces(scope: "Microscope", text: str, sample: int, seed: int, bos: str) -> "list[Prompt]":
    """Random pieces of a text, cut from its ids, each with the same token in front."""
    tokenizer = scope.model.tokenizer
    ids, front = tokenizer.encode(text), tokenizer.front(bos)
    if not ids:
        raise CallError("The corpus holds no text. Give a file with at least two tokens.")
    chunk = min(_CHUNK, tokenizer.context - len(front))
    starts = list(range(0, max(len(ids) - 1, 1), chunk))
    chosen = sorted(random.Random(seed).sample(starts, min(sample, len(starts))))
    return [tokenizer.from_ids([*front, *ids[start : start + chunk]]) for start in chosen]


def _table(scope: "Microscope", scores: "HeadScores", promoted: "HeadTops | None", sort: "Score", top: int) -> Table:
    uniform = scores.uniform
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("head", style="cyan", no_wrap=True)
    for name in _SCORES:
        table.add_column(name, justify="right", no_wrap=True, style="bold" if name == sort else "")
    if promoted is not None:
        table.add_column("promotes at the last position", no_wrap=True)
    table.add_row(
        "uniform",
        *(_figure(name, float(uniform[name].mean())) for name in _SCORES),
        *([""] if promoted else []),
        style="dim",
    )
    for layer, head in scores.top(sort, top):
        cells = [_figure(name, float(scores.table(name)[layer, head])) for name in _SCORES]
        if promoted is not None:
            cells.append(" ".join(scope.model.tokenizer.piece(int(token)) for token in promoted.tokens[layer, head]))
        table.add_row(f"{layer}.{head}", *cells)
    return table


def _figure(name: str, value: float) -> str:
    return f"{value:.2f} bit" if name == "entropy" else f"{value:.3f}"


def _content(scope: "Microscope", scores: "HeadScores", promoted: "HeadTops | None") -> dict[str, object]:
    piece = scope.model.tokenizer.piece
    rows: list[dict[str, object]] = []
    for layer, head in scores.top("induction", scores.induction.numel()):
        row: dict[str, object] = {"layer": layer, "head": head}
        row |= {name: float(scores.table(name)[layer, head]) for name in _SCORES}
        if promoted is not None:
            row["promotes"] = [piece(int(token)) for token in promoted.tokens[layer, head]]
        rows.append(row)
    return {
        "model": scope.model.name,
        "positions": scores.n_positions,
        "repeated_sequences": scores.n_repeated,
        "uniform": {name: scores.uniform[name].tolist() for name in _SCORES},
        "heads": rows,
    }
