"""A dozen prompts traced, and the intermediate concept looked for by a rule: writes docs/heroes.md.

    python examples/heroes.py [--basis neurons --basis transcoders] [--keep graphs] [--out docs/heroes.md]

The prompts, their concepts and the words that stand for each were written down in heroes.json before any graph was
searched for them. A graph *shows* a concept if one of its words is among the five tokens that a shown part promotes, at
a position of the prompt itself; words of the prompt and of the answer do not count. The control is the same question
about the concepts of all other prompts: what shows theirs as well shows nothing.

With `--keep`, graphs are kept in a folder, and those that are there already are not traced again.
"""

import argparse
import json
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import micrographia as mg
from micrographia.graph.files import load_graph
from micrographia.graph.graph import Graph, NodeLabel
from micrographia.graph.nodes import Kind, NodeId
from micrographia.labels.label import KINDS, Label
from micrographia.labels.naming import named
from micrographia.labels.store import LabelBook
from micrographia.report.outline import Part, parts_of

HERE = Path(__file__).parent
NULLS = ("shuffled", "random", "top_token")
INTRODUCTION = """\
Prompts of different kinds, traced as `micrographia trace` does and chosen before; `examples/heroes.py` wrote this page.
Replacement and completeness are those of what is *shown*, of what was *traced*, and as *circuit-tracer* counts. Errors,
folded and not shown are parts of the [ledger](tracing.md#what-is-printed); path is the mean number of features between
a token and the answer.

![The graph of the first prompt in transcoders: tokens from left to right, layers upwards](img/graph.svg)

A graph shows a concept if one of its words is among the five tokens that a shown part promotes at a position of the
prompt itself; words of the prompt and of the answer do not count. Concepts and words were written down before any graph
was searched for them. The control is the same question about the other prompts' concepts. That a part promotes a word
is no proof that the model uses it as a step: that takes an intervention.
"""


OF_KINDS = """\
Of the influence of a graph's features, how much is in features of each [kind](labels.md), and how much in such with a
label:"""
UNGUESSED = """\
In each graph the three most influential features whose label has no word in common with the tokens that they promote or
stand at: what one would not have guessed from those. The score is on unseen documents, and .5 is chance; beside it
stand the same score of shuffled labels, of random directions, and of the commonest token of the strongest places as a
rule. ≠: the feature does something else in this prompt. `micrographia label --explain LAYER/FEATURE` prints the
evidence."""


@dataclass(frozen=True, slots=True)
class Hero:
    """A prompt, what the model should say, and what may lie between."""

    kind: str
    prompt: str
    answer: str
    concept: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What shows a concept in a graph."""

    parts: tuple[Part, ...]

    @property
    def share(self) -> float:
        return sum(part.share for part in self.parts)


@dataclass(frozen=True, slots=True)
class Found:
    """A hero's graph, and which concepts it shows: its own, and those of others."""

    hero: Hero
    graph: Graph
    answer: str
    probability: float
    seconds: float
    own: Shown
    others: int
    of: int


def heroes() -> tuple[Hero, ...]:
    read = json.loads((HERE / "heroes.json").read_text(encoding="utf-8"))
    return tuple(Hero(**{**each, "words": tuple(each["words"])}) for each in read)


def plain(piece: str) -> str:
    """A token as a word: without its space, in small letters."""
    return piece.removeprefix("␣").strip().casefold()


def usable(words: Iterable[str], hero: Hero) -> frozenset[str]:
    """The words of a concept that a prompt and its answer do not say themselves."""
    said = {word.casefold() for word in re.findall(r"\w+", f"{hero.prompt} {hero.answer}")}
    return frozenset(word.casefold() for word in words) - said


def shown(graph: Graph, words: frozenset[str]) -> Shown:
    """The parts that promote one of these words, the strongest first."""
    found = [
        part
        for part in parts_of(graph)
        if part.kind == Kind.FEATURE and any(plain(said.piece) in words for said in part.promotes)
    ]
    return Shown(tuple(sorted(found, key=lambda part: -part.share)))


def look(hero: Hero, graph: Graph, everybody: Sequence[Hero], answer: str, probability: float, seconds: float) -> Found:
    """Whether a graph shows the hero's concept, and how many of the others'."""
    own = usable(hero.words, hero)
    others = [usable(other.words, hero) - own for other in everybody if other != hero]
    asked = [words for words in others if words]
    hits = sum(bool(shown(graph, words).parts) for words in asked)
    return Found(hero, graph, answer, probability, seconds, shown(graph, own), hits, len(asked))


def traced(scope: mg.Microscope, hero: Hero, keep: Path | None) -> tuple[Graph, float]:
    """A hero's graph and the seconds it took: traced now, or kept from before."""
    if keep is not None and keep.is_dir():
        graph = load_graph(keep)
        graph = graph if scope.labels is None else named(graph, scope.labels, scope.model.tokenizer)
        return graph, graph.facts.wall_seconds if graph.facts is not None else 0.0
    start = time.perf_counter()
    graph = scope.trace(hero.prompt)
    seconds = time.perf_counter() - start
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        graph.save(keep)
    return graph, seconds


def run(basis: str, everybody: Sequence[Hero], keep: Path | None) -> tuple[str, list[Found], LabelBook | None]:
    """Every hero in one basis."""
    scope = mg.open(basis=basis, dtype="float32")
    found: list[Found] = []
    for number, hero in enumerate(everybody):
        kept = None if keep is None else keep / Path(basis).name / f"{number:02}"
        graph, seconds = traced(scope, hero, kept)
        best = scope.answers(hero.prompt, top=1)[0]
        found.append(look(hero, graph, everybody, best.piece, best.probability, seconds))
        print(f"{basis}: {hero.prompt!r} → {best.piece} {best.probability:.3f}, {seconds:.1f} s", flush=True)
    return scope.chosen.name, found, scope.labels


# ---------------------------------------------------------------- the page


def cell(text: str) -> str:
    """A text from outside, as it stands in a table of Markdown."""
    return "`" + text.replace("`", "'").replace("|", "¦").replace("\n", "⏎") + "`"


def figures(found: Found) -> str:
    g = found.graph
    s, ledger = g.scores, g.ledger
    assert s is not None
    assert ledger is not None
    ends, nodes = ledger.ends, len(g.nodes)
    columns = [
        cell(found.hero.prompt),
        f"{cell(found.answer)} {found.probability:.2f}",
        f"{nodes:,}",
        f"{len(g.edges):,}",
        f"{s.shown.replacement:.2f} / {s.trace.replacement:.2f} / {s.peer.replacement:.2f}",
        f"{s.shown.completeness:.2f} / {s.trace.completeness:.2f} / {s.peer.completeness:.2f}",
        f"{ends.errors:.0%}",
        f"{ends.folded:.0%}",
        f"{ends.pruned + ends.hidden:.0%}",
        f"{s.path_length:.1f}",
        f"{found.seconds:.0f}",
    ]
    return f"| {' | '.join(columns)} |"


def concept(found: Found) -> str:
    where = "; ".join(
        f"{cell(part.name)} at {cell(part.places)}, layer {part.layers} ({part.share:.1%})"
        for part in found.own.parts[:3]
    )
    more = len(found.own.parts) - 3
    where += f" and {more} more" if more > 0 else ""
    shows = f"yes, {found.own.share:.1%}" if found.own.parts else "no"
    columns = (cell(found.hero.answer), found.hero.concept, shows, f"{found.others} of {found.of}", where or "–")
    return f"| {' | '.join(columns)} |"


# ---------------------------------------------------------------- labels


@dataclass(frozen=True, slots=True)
class Named:
    """A feature with a label that its promoted tokens do not give away."""

    node: NodeId
    label: Label
    here: NodeLabel
    share: float


def unguessed(graph: Graph, book: LabelBook) -> list[Named]:
    """The labelled features that are not on the token in front, the most influential first, of whose label's words
    none is among the tokens that the feature promotes here, nor the token that it stands at. Each feature once."""
    n, found = graph.nodes, dict[tuple[int, int], Named]()
    for i in np.argsort(-n.influence, kind="stable").tolist():
        name = n.id(i)
        here = graph.labels.get(name)
        if name.kind is not Kind.FEATURE or here is None or not here.text or n.position[i] < graph.prompt.prepended:
            continue
        layer, index = int(n.layer[i]), int(n.index[i])
        there = graph.prompt.pieces[int(n.position[i])]
        promoted = {stem(plain(piece)) for piece in (there, *(piece for piece, _ in graph.node(name).promotes))}
        if (layer, index) not in found and not promoted & set(map(stem, re.findall(r"[^\W_]+", here.text.casefold()))):
            label = book.label(layer, index)
            assert label is not None
            found[layer, index] = Named(name, label, here, float(n.influence[i]))
    return list(found.values())


def stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def kinds(graph: Graph) -> str:
    """What share of the features' influence is in features of each kind, and in features with a label."""
    n = graph.nodes
    span = n.spans["feature"]
    weight = {name: float(n.influence[i]) for i, name in enumerate(n) if i < span.stop}
    total = sum(weight.values()) or 1.0
    sums: dict[str, float] = {}
    for name, share in weight.items():
        here = graph.labels.get(name)
        sums[here.kind if here is not None else "?"] = sums.get(here.kind if here is not None else "?", 0.0) + share
    having = sum(share for name, share in weight.items() if name in graph.labels and graph.labels[name].text)
    columns = [f"{sums.get(kind, 0.0) / total:.0%}" for kind in KINDS[:-1]]
    return " | ".join([*columns, f"{having / total:.0%}"])


def labelled(found: Sequence[Found], book: LabelBook) -> str:
    """Kinds of every graph, and of each the labels that nobody would have guessed."""
    lines = [
        "### Kinds and labels",
        "",
        OF_KINDS,
        "",
        f"| answer | {' | '.join(KINDS[:-1])} | labelled |",
        f"|{'---|' * (len(KINDS) + 1)}",
        *(f"| {cell(each.hero.answer)} | {kinds(each.graph)} |" for each in found),
        "",
        UNGUESSED,
        "",
        "| answer | feature | at | promotes here | label | kind | score | shuffled, random, top token |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        rows = [unguessed_row(each, one) for one in unguessed(each.graph, book)[:3]]
        lines += rows or [f"| {cell(each.hero.answer)} | none |" + " |" * 6]
    return "\n".join([*lines, ""])


def unguessed_row(found: Found, one: Named) -> str:
    place = one.node.position or 0
    promotes = " ".join(piece for piece, _ in found.graph.node(one.node).promotes[:3])
    nulls = one.label.nulls or {}
    beside = ", ".join(f"{nulls[name]:.2f}" if nulls.get(name) is not None else "–" for name in NULLS)
    score = "–" if one.label.score is None else f"{one.label.score:.2f}"
    columns = [
        cell(found.hero.answer),
        cell(str(one.node)),
        cell(f"{place} {found.graph.prompt.pieces[place]}"),
        cell(promotes),
        cell(one.here.text) + (" ≠" if one.here.agrees is False else ""),
        one.here.kind,
        score,
        beside,
    ]
    return f"| {' | '.join(columns)} |"


def section(name: str, found: Sequence[Found], book: LabelBook | None = None) -> str:
    n = len(found)
    hits, controls, asked = (
        sum(bool(f.own.parts) for f in found),
        sum(f.others for f in found),
        sum(f.of for f in found),
    )
    lines = [
        f"## Read in {cell(name)}",
        "",
        "| prompt | answer | nodes | edges | replacement | completeness | errors | folded | not shown | path | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *map(figures, found),
        "",
        f"The concept is shown in {hits} of {n} graphs ({hits / n:.0%}); concepts of other prompts in {controls} of "
        f"{asked} questions ({controls / max(asked, 1):.0%}).",
        "",
        "| answer | concept | shown, share of influence | others' concepts shown | where |",
        "|---|---|---|---|---|",
        *map(concept, found),
        "",
        *([] if book is None else [labelled(found, book)]),
    ]
    return "\n".join(lines)


def page(sections: Sequence[tuple[str, Sequence[Found], LabelBook | None]]) -> str:
    words = "\n".join(f"- {hero.concept}: {', '.join(hero.words)}" for hero in heroes())
    return "\n".join(
        [
            "# Heroes",
            "",
            INTRODUCTION,
            *(section(name, found, book) for name, found, book in sections),
            "## The words",
            "",
            words,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--basis", action="append", help="neurons, transcoders, or a folder; may be said again")
    parser.add_argument("--keep", type=Path, help="a folder for the graphs")
    parser.add_argument("--first", type=int, help="only so many prompts")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "heroes.md")
    chosen = parser.parse_args()
    everybody = heroes()[: chosen.first]
    sections = [run(basis, everybody, chosen.keep) for basis in chosen.basis or ["neurons", "transcoders"]]
    chosen.out.write_text(page(sections), encoding="utf-8")
    print(f"written: {chosen.out}")


if __name__ == "__main__":
    main()
