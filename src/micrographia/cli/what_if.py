"""`micrographia what-if`: the answer before and after something inside is changed."""

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators
from rich.console import Console
from rich.table import Table
from rich.text import Text

from micrographia.cli.options import BasisOption, ModelOptions, PromptOptions
from micrographia.cli.screen import inert, print_json, results, shade

if TYPE_CHECKING:
    from micrographia.evidence.interventions import Mode
    from micrographia.evidence.whatif import WhatIf
    from micrographia.microscope import Microscope

__all__ = ["print_what_if", "what_if"]

_SHOWN_STEPS = 8


def what_if(
    prompt: Annotated[str, Parameter(help="The text that the model goes on from.")],
    /,
    *,
    change: Annotated[
        list[str],
        Parameter(
            help="What becomes of what: 25.567@14=0 (layer, feature, position), =x2 to multiply, =+3 to add. Also "
            "error.12@5, token@5, neuron.12.301@5, head.23.4@14. May be given several times.",
            negative="",
        ),
    ],
    mode: Annotated[
        Literal["free", "iterative", "constrained", "frozen"],
        Parameter(help="free: the real model runs on. The others hold parts of it, see the documentation."),
    ] = "free",
    token: Annotated[
        list[str] | None,
        Parameter(help='A next token to watch beside the likeliest: " Italian".', negative=""),
    ] = None,
    position: Annotated[int, Parameter(help="Where the model answers: 0 is the first token, -1 the last.")] = -1,
    generate: Annotated[
        int, Parameter(validator=validators.Number(gte=0), help="How many tokens to write after the prompt.")
    ] = 0,
    top: Annotated[int, Parameter(validator=validators.Number(gte=1), help="How many answers to show.")] = 5,
    features: Annotated[
        int, Parameter(validator=validators.Number(gte=0), help="How many features that change with it to show.")
    ] = 8,
    basis: BasisOption = None,
    json: Annotated[bool, Parameter(help="Print everything as JSON.", negative="")] = False,
    prompt_options: PromptOptions = PromptOptions(),
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Show what the model answers if something inside it is changed.

    Names are those that trace prints. A change at positions from p on, `@9:`, also holds while tokens are written.

        micrographia what-if "The capital of France is" --basis neurons --change 25.567@5=0 --token " London"
        micrographia what-if "The capital of France is" --change neuron.25.567@5:=x3 --generate 20
    """
    scope = model_options.open(basis)
    found = scope.what_if(
        prompt_options.read(scope, prompt),
        change,
        mode=_mode(mode),
        tokens=token or (),
        top=top,
        position=position,
        features=features,
        max_new=generate,
    )
    if json:
        print_json({"model": scope.model.name, "basis": scope.chosen.name, **_content(found)})
    else:
        print_what_if(results(), scope, found)


def print_what_if(console: Console, scope: "Microscope", found: "WhatIf") -> None:
    """What was changed, the answers before and after, what changed with it."""
    console.print(Text(inert(found.prompt.text), style="bold"))
    console.print(
        Text(f"{inert(scope.model.name)}, read in {inert(scope.chosen.name)}; {found.mode.kind}", style="dim")
    )
    console.print()
    for shift in found.shifts[:_SHOWN_STEPS]:
        part = shift.step.part
        where = inert(found.prompt.pieces[part.position])
        console.print(Text.assemble(("Changed: ", "bold"), f"{part} {where}  {shift.clean:.3g} → {shift.new:.3g}"))
    if len(found.shifts) > _SHOWN_STEPS:
        console.print(Text(f"… and {len(found.shifts) - _SHOWN_STEPS} more", style="dim"))
    console.print()
    console.print(_words(found))
    if found.changed:
        console.print()
        console.print(_changed(found))
    for name, text in zip(("Writes, before: ", "Writes, after:  "), found.written or (), strict=False):
        console.print(Text.assemble(("\n" if "before" in name else "") + name, inert(text)))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=True, justify="right" if number else "left")
    return table


def _words(found: "WhatIf") -> Table:
    table = _table("next token", "before", "after", "logit")
    for word in found.words:
        shades = (Text(f"{p:.3f}", style=shade(p)) for p in (word.before, word.after))
        table.add_row(inert(word.piece), *shades, f"{word.logit:+.2f}")
    return table


def _changed(found: "WhatIf") -> Table:
    table = _table("changes with it", "at", "before", "after", "writes")
    for one in found.changed:
        place = f"{one.feature.position} {inert(found.prompt.pieces[one.feature.position])}"
        table.add_row(str(one.feature), place, f"{one.before:.3g}", f"{one.after:.3g}", f"{one.written:.3g}")
    return table


def _mode(name: Literal["free", "iterative", "constrained", "frozen"]) -> "Mode":
    from micrographia.evidence.interventions import Constrained, Free, Iterative

    modes: dict[str, Mode] = {
        "free": Free(),
        "iterative": Iterative(),
        "constrained": Constrained(),
        "frozen": Constrained(frozen=True),
    }
    return modes[name]


def _content(found: "WhatIf") -> dict[str, object]:
    return {
        "prompt": {"ids": list(found.prompt.ids), "pieces": list(found.prompt.pieces)},
        "mode": found.mode.kind,
        "changes": [{"part": str(one.step.part), "before": one.clean, "after": one.new} for one in found.shifts],
        "words": [
            {"id": word.token, "piece": word.piece, "before": word.before, "after": word.after, "logit": word.logit}
            for word in found.words
        ],
        "features": [
            {"feature": str(one.feature), "before": one.before, "after": one.after, "written": one.written}
            for one in found.changed
        ],
        "written": None if found.written is None else {"before": found.written[0], "after": found.written[1]},
    }
