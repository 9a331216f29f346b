"""`micrographia compare`: two prompts, what differs in them, and which features carry the difference."""

import re
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators
from rich.console import Console
from rich.table import Table
from rich.text import Text

from micrographia.cli.options import BasisOption, ModelOptions, PromptOptions
from micrographia.cli.screen import inert, print_json, progress, results
from micrographia.errors import CallError

if TYPE_CHECKING:
    from micrographia.evidence.comparing import Comparison, Swap, SwapControls
    from micrographia.microscope import Microscope

__all__ = ["compare", "print_comparison", "read_layers"]

_LONGEST = 28


def compare(
    a: Annotated[str, Parameter(help="The prompt that features are put into.")],
    b: Annotated[str, Parameter(help="The prompt that they are taken from.")],
    /,
    *,
    basis: BasisOption = None,
    layers: Annotated[
        str | None, Parameter(help="Swap only what lies in these layers: 8-20. Default: all of them.")
    ] = None,
    nodes: Annotated[
        int, Parameter(validator=validators.Number(gte=1), help="Features of each prompt that are traced, at most.")
    ] = 2048,
    most: Annotated[
        int, Parameter(validator=validators.Number(gte=1), help="Groups that are swapped together, at most.")
    ] = 24,
    seconds: Annotated[
        float,
        Parameter(validator=validators.Number(gt=0), help="How long groups are swapped, after both are traced."),
    ] = 60.0,
    controls: Annotated[
        int, Parameter(validator=validators.Number(gte=20), help="Controls of each of both kinds.")
    ] = 40,
    seed: Annotated[int, Parameter(validator=validators.Number(gte=0, lt=2**63), help="Which controls are drawn.")] = 0,
    top: Annotated[int, Parameter(validator=validators.Number(gte=1), help="How many groups are printed.")] = 12,
    json: Annotated[bool, Parameter(help="Print everything as JSON.", negative="")] = False,
    prompt_options: PromptOptions = PromptOptions(),
    model_options: ModelOptions = ModelOptions(),
) -> None:
    """Compare two prompts that are answered differently: put groups of features of B into A, and see what A says.

    The smallest set of groups that flips the answer stands beside swaps of the same size: steps as long along other
    features, and as many other features of the same places with their values in B. Tracing both takes its time first.

        micrographia compare "The capital of France is" "The capital of Italy is" --layers 8-20
    """
    within = None if layers is None else read_layers(layers)
    scope = model_options.open(basis)
    prompts = (prompt_options.read(scope, a), prompt_options.read(scope, b))
    with progress() as report:
        found = scope.compare(
            *prompts,
            layers=within,
            max_nodes=nodes,
            most=most,
            seconds=seconds,
            controls=controls,
            seed=seed,
            progress=report,
        )
    if json:
        print_json({"model": scope.model.name, "basis": scope.chosen.name, **_content(scope, found)})
    else:
        print_comparison(results(), scope, found, top)


def read_layers(text: str) -> tuple[int, int]:
    """`8-20`, or one layer."""
    found = re.fullmatch(r"\s*(\d+)(?:\s*[-–:]\s*(\d+))?\s*", text)
    if found is None or int(found[1]) > int(found[2] or found[1]):
        raise CallError(f"{text!r} names no layers: write the first and the last, such as 8-20.")
    return int(found[1]), int(found[2] or found[1])


def print_comparison(console: Console, scope: "Microscope", found: "Comparison", top: int) -> None:
    """The prompts, what differs, what each group does, the smallest set, its controls."""
    from micrographia.report.words import joined

    names = [inert(scope.model.tokenizer.piece(token)) for token in found.answers]
    for name, prompt, answer in zip("AB", found.prompts, names, strict=True):
        console.print(Text.assemble((f"{name}  ", "bold"), inert(prompt.text), ("  " + answer, "bold green")))
    console.print(Text(f"{inert(scope.model.name)}, read in {inert(scope.chosen.name)}", style="dim"))
    console.print(Text.assemble(("Differs: ", "bold"), _differing(found)))
    console.print()
    said = (
        f"The logit of {names[1]} less that of {names[0]} is {found.gaps[0]:+.2f} in A and {found.gaps[1]:+.2f} in B."
    )
    console.print(Text(f"{said} Each group of features, put into A as it is in B, moves it by"))
    console.print(_table(found, found.swaps[:top]))
    hidden = len(found.swaps) - top
    if hidden > 0:
        console.print(Text(f"… and {hidden} more groups.", style="dim"))
    if found.unmeasured:
        said = f"There was no time for {joined(found.unmeasured, 'group')} of less influence; --seconds gives more."
        console.print(Text(said, style="yellow"))
    together = f"{found.whole:+.2f}, {found.share(found.whole):.0%} of the way from A to B"
    console.print(Text(f"All {len(found.swaps)} groups together: {together}."))
    console.print()
    groups = joined(len(found.smallest), "group")
    flips, fails = f"Smallest set found that flips the answer: {groups}", f"No set flips it; the best has {groups}"
    fails = fails if found.ended else f"No set flips it in the time given (--seconds); the best has {groups}"
    head = flips if found.flips else fails
    console.print(Text(head, style="bold green" if found.flips else "bold yellow"))
    console.print(_table(found, found.smallest))
    p = found.probabilities
    console.print(
        Text(
            f"together {found.effect:+.2f}, {found.share(found.effect):.0%} of the way; then {names[0]} has {p[0]:.3f} "
            f"and {names[1]} {p[1]:.3f}."
        )
    )
    for words, each in (
        ("as long, along other features", found.random),
        ("others of the same places, as in B", found.others),
    ):
        console.print(Text(f"Controls, {words}: {_controls(found, each)}", style="dim"))


def _differing(found: "Comparison") -> str:
    a, b = found.prompts
    pairs = dict(found.aligned)
    taken = set(pairs.values())
    parts = [
        f"{i} {a.pieces[i]} ≠ {b.pieces[pairs[i]]}" if i in pairs else f"{i} {a.pieces[i]} (A only)"
        for i in range(len(a))
        if i not in pairs or a.ids[i] != b.ids[pairs[i]]
    ]
    parts += [f"{j} {b.pieces[j]} (B only)" for j in range(len(b)) if j not in taken]
    return inert(", ".join(parts)) or "nothing"


def _table(found: "Comparison", swaps: "tuple[Swap, ...]") -> Table:
    from micrographia.report.words import span

    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("moves", justify="right", no_wrap=True)
    table.add_column("of", no_wrap=True)
    table.add_column("group", no_wrap=True)
    table.add_column("layers", no_wrap=True)
    table.add_column("at", no_wrap=True)
    table.add_column("promotes", no_wrap=True, overflow="ellipsis")
    for swap in swaps:
        name = inert(swap.name)
        count = f" ×{len(swap.members)}" if len(swap.members) > 1 else ""
        layers = sorted({node.layer for node in swap.members if node.layer is not None})
        places = sorted({node.position for node in swap.members if node.position is not None})
        at = f"{places[0]} {inert(found.prompts[0].pieces[places[0]])}"
        at = at if len(places) == 1 else ",".join(map(str, places))
        promotes = Text(inert("  ".join(swap.promotes[:4])), "green")
        moves = f"{swap.effect:+.2f}"
        table.add_row(moves, swap.of, name[:_LONGEST] + count, span(layers[0], layers[-1]), at, promotes)
    return table


def _controls(found: "Comparison", each: "SwapControls") -> str:
    if not each.effects:
        return "there are none"
    mean = sum(each.effects) / len(each.effects)
    return (
        f"{each.flips} of {len(each.effects)} flip it; {mean:+.2f} on average ({found.share(mean):.0%} of the way), "
        f"{max(each.effects):+.2f} at most"
    )


def _content(scope: "Microscope", found: "Comparison") -> dict[str, object]:
    return {
        "prompts": [{"ids": list(map(int, p.ids)), "pieces": list(p.pieces)} for p in found.prompts],
        "answers": [{"id": int(token), "piece": scope.model.tokenizer.piece(token)} for token in found.answers],
        "gaps": list(found.gaps),
        "aligned": [list(pair) for pair in found.aligned],
        "swaps": [_swap(swap) for swap in found.swaps],
        "unmeasured": found.unmeasured,
        "whole": found.whole,
        "smallest": {
            "groups": [_swap(swap) for swap in found.smallest],
            "effect": found.effect,
            "share": found.share(found.effect),
            "flips": found.flips,
            "ended": found.ended,
            "probabilities": list(found.probabilities),
        },
        "controls": {
            name: {"flips": each.flips, "effects": list(each.effects)}
            for name, each in (("random", found.random), ("others", found.others))
        },
    }


def _swap(swap: "Swap") -> dict[str, object]:
    return {
        "name": swap.name,
        "of": swap.of,
        "members": list(map(str, swap.members)),
        "values": list(swap.values),
        "promotes": list(swap.promotes),
        "effect": swap.effect,
    }
