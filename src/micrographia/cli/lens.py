"""`micrographia lens`: what the model would say, layer by layer."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators
from rich.console import Console
from rich.table import Table
from rich.text import Text

from micrographia.cli.options import ModelOptions, PromptOptions
from micrographia.cli.screen import print_json, results, shade

if TYPE_CHECKING:
    from micrographia.microscope import Microscope
    from micrographia.model.lens import Lens

__all__ = ["lens", "print_lens"]

_CELL = 9


def lens(
    prompt: Annotated[str, Parameter(help="The text to look at.")],
    /,
    *,
    watch: Annotated[
        str | None,
        Parameter(
            help='The token whose rank and probability are followed, such as " French". Default: the model\'s answer.'
        ),
    ] = None,
    top: Annotated[
        int, Parameter(validator=validators.Number(gte=1), help="How many tokens per place --json gives.")
    ] = 5,
    between: Annotated[bool, Parameter(help="Show the residual between attention and MLP too.", negative="")] = False,
    json: Annotated[bool, Parameter(help="Print everything as JSON.", negative="")] = False,
    prompt_options: PromptOptions = PromptOptions(),
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Show what the model would say if it stopped at each layer (the logit lens).

    One row per layer, one column per token; a cell is the likeliest next token there. On the right: the rank and
    probability of the watched token at the last position.

        micrographia lens "The capital of France is" --watch " Paris"
    """
    scope = model_options.open()
    found = scope.lens(prompt_options.read(scope, prompt), watch=watch, top=top)
    if json:
        print_json(_content(scope, found))
        return
    print_lens(results(), scope, found, between=between, watch=watch)


def print_lens(
    console: Console, scope: "Microscope", found: "Lens", *, between: bool = False, watch: str | None = None
) -> None:
    """The table of a lens, as many of its last columns as fit, and what the model answers."""
    rows = [i for i, site in enumerate(found.sites) if between or site.point.value != "resid_mid"]
    shown = _columns_that_fit(found, console.width)
    console.print(_table(scope, found, rows, shown))
    console.print(_caption(scope, found, len(shown), watch))


def _columns_that_fit(found: "Lens", width: int) -> range:
    n = len(found.prompt.ids)
    room = (width - 34) // (_CELL + 2)
    return range(max(0, n - max(room, 1)), n)


def _table(scope: "Microscope", found: "Lens", rows: list[int], shown: range) -> Table:
    watched = scope.model.tokenizer.piece(found.watched)
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("read at", style="cyan", no_wrap=True)
    for position in shown:
        table.add_column(_cut(found.prompt.pieces[position]), no_wrap=True)
    table.add_column(f"rank of {watched}", justify="right", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    for i in reversed(rows):
        cells = [
            Text(
                _cut(scope.model.tokenizer.piece(int(found.tokens[i, position, 0]))),
                style=shade(float(found.probabilities[i, position, 0])),
            )
            for position in shown
        ]
        probability = float(found.probability[i, -1])
        table.add_row(
            str(found.sites[i]),
            *cells,
            str(int(found.rank[i, -1]) + 1),
            Text(f"{probability:.3f}", style=shade(probability)),
        )
    return table


def _caption(scope: "Microscope", found: "Lens", n_shown: int, watch: str | None) -> Text:
    answers = ", ".join(
        f"{scope.model.tokenizer.piece(int(token))} {float(p):.3f}"
        for token, p in zip(found.tokens[-1, -1], found.probabilities[-1, -1], strict=True)
    )
    notes: list[str] = []
    if watch is not None and not watch.startswith(" ") and scope.model.tokenizer.is_token(" " + watch):
        notes.append(f"{watch!r} and {' ' + watch!r} are two tokens; this followed the one without the space.")
    hidden = len(found.prompt.ids) - n_shown
    if hidden:
        total = len(found.prompt.ids)
        notes.append(f"The first {hidden} of {total} tokens do not fit; a wider terminal or --json shows them.")
    return Text.assemble(("The model answers: ", "bold"), answers, *((f"\n{note}", "dim") for note in notes))


def _cut(piece: str) -> str:
    return piece if len(piece) <= _CELL else piece[: _CELL - 1] + "…"


def _content(scope: "Microscope", found: "Lens") -> dict[str, object]:
    piece = scope.model.tokenizer.piece
    return {
        "model": scope.model.name,
        "prompt": {"ids": list(found.prompt.ids), "pieces": list(found.prompt.pieces)},
        "watched": {"id": found.watched, "piece": piece(found.watched)},
        "sites": [
            {
                "site": str(site),
                "top": [
                    [
                        {"id": int(token), "piece": piece(int(token)), "probability": float(p)}
                        for token, p in zip(tokens, probabilities, strict=True)
                    ]
                    for tokens, probabilities in zip(found.tokens[i], found.probabilities[i], strict=True)
                ],
                "watched_rank": (found.rank[i] + 1).tolist(),
                "watched_probability": found.probability[i].tolist(),
            }
            for i, site in enumerate(found.sites)
        ],
    }
