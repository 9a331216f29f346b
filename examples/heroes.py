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

import micrographia as mg
from micrographia.graph.files import load_graph
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind
from micrographia.report.outline import Part, parts_of

HERE = Path(__file__).parent
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
        return graph, graph.facts.wall_seconds if graph.facts is not None else 0.0
    start = time.perf_counter()
    graph = scope.trace(hero.prompt)
    seconds = time.perf_counter() - start
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        graph.save(keep)
    return graph, seconds


def run(basis: str, everybody: Sequence[Hero], keep: Path | None) -> tuple[str, list[Found]]:
    """Every hero in one basis."""
    scope = mg.open(basis=basis, dtype="float32")
    found: list[Found] = []
    for number, hero in enumerate(everybody):
        kept = None if keep is None else keep / Path(basis).name / f"{number:02}"
        graph, seconds = traced(scope, hero, kept)
        best = scope.answers(hero.prompt, top=1)[0]
        found.append(look(hero, graph, everybody, best.piece, best.probability, seconds))
        print(f"{basis}: {hero.prompt!r} → {best.piece} {best.probability:.3f}, {seconds:.1f} s", flush=True)
    return scope.chosen.name, found


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


def section(name: str, found: Sequence[Found]) -> str:
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
    ]
    return "\n".join(lines)


def page(sections: Sequence[tuple[str, Sequence[Found]]]) -> str:
    words = "\n".join(f"- {hero.concept}: {', '.join(hero.words)}" for hero in heroes())
    return "\n".join(
        [
            "# Heroes",
            "",
            INTRODUCTION,
            *(section(name, found) for name, found in sections),
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
