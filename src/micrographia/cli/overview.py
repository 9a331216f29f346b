"""`micrographia overview`: at once, what each active feature does to an answer in all."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators
from rich.console import Console
from rich.table import Table
from rich.text import Text

from micrographia.cli.options import BasisOption, ModelOptions, PromptOptions, TargetOptions
from micrographia.cli.screen import inert, print_json, results

if TYPE_CHECKING:
    from micrographia.graph.overview import Overview
    from micrographia.microscope import Microscope

__all__ = ["overview"]


def overview(
    prompt: Annotated[str, Parameter(help="The text that the model goes on from.")],
    /,
    *,
    basis: BasisOption = None,
    top: Annotated[int, Parameter(validator=validators.Number(gte=1), help="How many features are printed.")] = 20,
    json: Annotated[bool, Parameter(help="Print everything as JSON.", negative="")] = False,
    target_options: TargetOptions = TargetOptions(),
    prompt_options: PromptOptions = PromptOptions(),
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Show at once which features push an answer up or down, through all paths together.

    An effect is what the answer's logit would lose without the feature, to first order: attention, norms and the set of
    active features are held. It says how much, not through what: that is what trace is for.

        micrographia overview "The capital of France is"
        micrographia overview "The capital of France is" --target " Paris" --against " London"
    """
    scope = model_options.open(basis)
    tokens = prompt_options.read(scope, prompt)
    asked = target_options
    found = scope.overview(tokens, target=asked.target, against=asked.against, position=asked.position, top=top)
    if json:
        print_json(_content(scope, found))
        return
    console = results()
    console.print(Text(inert(found.prompt.text), style="bold"))
    console.print(Text(f"{inert(scope.model.name)}, read in {inert(scope.chosen.name)}", style="dim"))
    _print_features(console, found)
    _print_tokens(console, found)


def _print_features(console: Console, found: "Overview") -> None:
    names = " ".join(inert(target.name) for target in found.targets)
    console.print()
    console.print(Text.assemble(("Explained: ", "bold"), names, f", worth {found.value:+.3f}"))
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for name in ("effect", "feature", "at", "active"):
        table.add_column(name, no_wrap=True, justify="left" if name in ("feature", "at") else "right")
    table.add_column("promotes", style="green", no_wrap=True, overflow="ellipsis")
    for one in found.strongest:
        place = one.node.position or 0
        table.add_row(
            _signed(one.effect),
            f"{one.node.layer}.{one.node.index}",
            f"{place} {inert(found.prompt.pieces[place])}",
            f"{one.activation:.3g}",
            Text("  ".join(map(inert, one.promotes))),
        )
    console.print(table)
    hidden = len(found.effect) - len(found.strongest)
    first = inert(found.prompt.pieces[0])
    console.print(Text(f"{hidden:,} active features more; those at 0 {first} are not listed.", style="dim"))


def _print_tokens(console: Console, found: "Overview") -> None:
    """What adds up to the value: features only hand on."""
    console.print()
    console.print(Text("Where it begins", style="bold"))
    table = Table(box=None, pad_edge=False, padding=(0, 1), show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for place, effect in enumerate(found.tokens.tolist()):
        table.add_row(_signed(effect), f"{place} {inert(found.prompt.pieces[place])}")
    table.add_row(_signed(float(found.errors.sum())), "errors: what the basis does not reproduce of the MLPs")
    table.add_row(_signed(found.bias), "bias: constant, whatever the prompt")
    table.add_row(_signed(found.value), Text("in all", style="bold"))
    console.print(table)
    console.print(
        Text("To first order, with attention, norms and the set of active features held as they are.", style="dim")
    )


def _signed(value: float) -> Text:
    return Text(f"{value:+.3f}".replace("-", "−"), style="green" if value > 0 else "red")


def _content(scope: "Microscope", found: "Overview") -> dict[str, object]:
    features = [
        {"node": str(one.node), "activation": one.activation, "effect": one.effect, "promotes": one.promotes}
        for one in found.strongest
    ]
    return {
        "model": scope.model.name,
        "basis": scope.chosen.name,
        "prompt": found.prompt.text,
        "targets": [{"name": t.name, "weight": t.weight, "value": t.value} for t in found.targets],
        "value": found.value,
        "active": len(found.effect),
        "features": features,
        "tokens": found.tokens.tolist(),
        "errors": float(found.errors.sum()),
        "bias": found.bias,
    }
