"""Graphs put to the test on the embedded model: what they predict against what is measured, and how fast.

    python -m benchmarks.evidence [--seconds 60] [--only test|null|audit|swap|curve|speed] [--out FILE]

Prompts are those of `docs/heroes.md`. Each is traced in the transcoders that come along, its claims are tested for so
many seconds of wall time, and the graph is audited; the first ones are audited in neurons as well. As a null, every
second claim gets other features of the same places for members, and is tested among the rest. Swaps between two pairs
of prompts and the curve over the size of a circuit stand beside. Results are written after each prompt, and what is
there already is not measured again.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import micrographia as mg
from micrographia.evidence.bench import Bench
from micrographia.evidence.claims import claims_of
from micrographia.evidence.evidence import Agreement, Tested
from micrographia.evidence.interventions import Free, ablate
from micrographia.evidence.placing import place
from micrographia.evidence.rows import run_rows
from micrographia.evidence.testing import Experiment
from micrographia.evidence.verdicts import FAMILY, judge
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind, NodeId

EIFFEL = "The official language of the country where the Eiffel Tower is located is"
COLOSSEUM = "The official language of the country where the Colosseum is located is"
NAIROBI = "The country whose capital is Nairobi is located on the continent of"
TOKYO = "The country whose capital is Tokyo is located on the continent of"
PROMPTS = (
    EIFFEL,
    COLOSSEUM,
    "The official language of the country whose capital is Moscow is",
    NAIROBI,
    "The company that makes the iPhone was founded by Steve",
    'The opposite of "small" is "',
    "When Mary and John went to the store, John gave a drink to",
    "The keys to the cabinet",
    "Monday, Tuesday, Wednesday, Thursday,",
)
IN_NEURONS = 3
SWAPS = (
    ("neurons", EIFFEL, COLOSSEUM, (1, 23)),
    ("transcoders", EIFFEL, COLOSSEUM, (1, 23)),
    ("transcoders", EIFFEL, COLOSSEUM, None),
    ("transcoders", NAIROBI, TOKYO, (1, 23)),
    ("transcoders", NAIROBI, TOKYO, None),
    ("transcoders", TOKYO, NAIROBI, None),
)
PARTS = ("test", "null", "audit", "swap", "curve", "speed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/evidence.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    book = Book(options.out)
    parts = options.only or PARTS
    scopes = {basis: mg.open(basis=basis) for basis in ("transcoders", "neurons")}
    for number, prompt in enumerate(PROMPTS):
        for basis, scope in scopes.items():
            mine = parts if basis == "transcoders" else [part for part in parts if part == "audit"]
            if basis == "transcoders" or number < IN_NEURONS:
                lacking = [part for part in mine if book.lacks(part, basis, prompt)]
                of_graphs(book, scope, basis, prompt, lacking, options.seconds)
    if "speed" in parts and book.lacks("speed", "transcoders", EIFFEL):
        book.put("speed", "transcoders", EIFFEL, speed(scopes["transcoders"], EIFFEL))
    for basis, scope in scopes.items():
        if "curve" in parts and book.lacks("curve", basis, EIFFEL):
            curves = scope.circuit_curves(scope.trace(EIFFEL))
            book.put("curve", basis, EIFFEL, {each.ablation: asdict(each) for each in curves})
    for basis, a, b, layers in SWAPS:
        name = f"{a} | {b} | {layers}"
        if "swap" in parts and book.lacks("swap", basis, name):
            book.put("swap", basis, name, swapped(scopes[basis], a, b, layers))


def of_graphs(
    book: "Book", scope: mg.Microscope, basis: str, prompt: str, parts: Sequence[str], seconds: float
) -> None:
    """The parts that need a graph of the prompt, from one."""
    measures = {
        "test": lambda graph: tested(scope, graph, seconds),
        "null": lambda graph: among_nulls(scope, graph, seconds),
        "audit": lambda graph: asdict(scope.audit(graph)),
    }
    wanted = [part for part in measures if part in parts]
    graph = scope.trace(prompt) if wanted else None
    for part in wanted:
        book.put(part, basis, prompt, measures[part](graph))


class Book:
    """Results by part, basis and prompt, on disk as they come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def lacks(self, part: str, basis: str, prompt: str) -> bool:
        return prompt not in self.known.get(part, {}).get(basis, {})

    def put(self, part: str, basis: str, prompt: str, found: dict[str, Any]) -> None:
        self.known.setdefault(part, {}).setdefault(basis, {})[prompt] = found
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.known, indent=1) + "\n")
        print(part, basis, prompt, json.dumps(found)[:160], flush=True)


def tested(scope: mg.Microscope, graph: Graph, seconds: float) -> dict[str, Any]:
    start = time.process_time()
    evidence = scope.test(graph, seconds=seconds)
    kinds = ("answer", "group", "paths", "direct")
    return {
        "answer": evidence.name,
        "probability": evidence.probability,
        "cpu_seconds": time.process_time() - start,
        "counts": {kind: evidence.counted(kind) for kind in kinds},
        "tried": {kind: sum(one.measured is not None for one in evidence.of(kind)) for kind in kinds},
        "confirmed_with_every_sign_turned": {kind: turned(evidence.of(kind), evidence.rate) for kind in kinds},
        "shares": evidence.shares,
        "tried_share": sum(one.claim.influence for one in evidence.tried),
        "agreement": {kind: figures(evidence.agreement(kind)) for kind in kinds},
        "agreement_direct_edges": figures(evidence.agreement(direct=True)),
    }


def turned(claims: Sequence[Tested], rate: float) -> int:
    """How many of the claims that were tried would be confirmed if each said the opposite."""
    tried = [(one.claim, one.measured) for one in claims if one.measured is not None]
    judged = judge(
        [-claim.sign for claim, _ in tried],
        [measured.effect for _, measured in tried],
        [measured.controls for _, measured in tried],
        rate,
    )
    return sum(one.verdict == "confirmed" for one in judged)


def among_nulls(scope: mg.Microscope, graph: Graph, seconds: float) -> dict[str, Any]:
    """The claims about the answer, every second one with members that the graph does not show."""
    bench = scope.bench(graph.prompt)
    strangers = exchanged(graph, bench, seed=0)
    evidence = Experiment(bench, strangers.graph, inside=False).run(seconds)
    verdicts: dict[str, list[str]] = {"null": [], "own": []}
    for one in evidence.tried:
        whose = "null" if set(one.claim.members) <= strangers.nodes else "own"
        verdicts[whose].append(one.judgement.verdict)
    return {whose: {each: found.count(each) for each in sorted(set(found))} for whose, found in verdicts.items()}


@dataclass(frozen=True)
class Exchanged:
    """A graph in which some features stand for others, and these."""

    graph: Graph
    nodes: frozenset[NodeId]


def exchanged(graph: Graph, bench: Bench, seed: int) -> Exchanged:
    """Predictions stay, and every second claim's members become features that are active at the same places."""
    chance, n = np.random.default_rng(seed), graph.nodes
    index, activation = n.index.copy(), n.activation.copy()
    taken = {(node.layer, node.position, node.index) for node in n if node.kind == Kind.FEATURE}
    names: dict[NodeId, NodeId] = {}
    for claim in claims_of(graph)[:FAMILY][::2]:
        for member in claim.members:
            layer, position = member.layer or 0, member.position or 0
            there = bench.active(layer)[position].nonzero()[:, 0].tolist()
            free = [i for i in there if (layer, position, i) not in taken]
            if free:
                chosen = int(chance.choice(free))
                taken.add((layer, position, chosen))
                names[member] = NodeId(Kind.FEATURE, layer, position, chosen)
                index[n.find(member)] = chosen
                activation[n.find(member)] = float(bench.active(layer)[position, chosen])
    groups = tuple(replace(g, members=tuple(names.get(one, one) for one in g.members)) for g in graph.supernodes)
    nodes = replace(n, index=index, activation=activation)
    return Exchanged(replace(graph, nodes=nodes, supernodes=groups, labels={}), frozenset(names.values()))


def figures(agreement: Agreement | None) -> dict[str, float] | None:
    return None if agreement is None else asdict(agreement)


def swapped(scope: mg.Microscope, a: str, b: str, layers: tuple[int, int] | None) -> dict[str, Any]:
    found = scope.compare(a, b, layers=layers, seconds=math.inf)
    piece = scope.model.tokenizer.piece
    return {
        "answers": [piece(token) for token in found.answers],
        "gaps": found.gaps,
        "groups": len(found.swaps),
        "whole": found.share(found.whole),
        "flips": found.flips,
        "set": [
            {"of": s.of, "members": list(map(str, s.members)), "promotes": s.promotes, "effect": s.effect}
            for s in found.smallest
        ],
        "share": found.share(found.effect),
        "probabilities": found.probabilities,
        "controls": {
            name: {"n": len(each.effects), "flips": each.flips, "mean_share": found.share(float(np.mean(each.effects)))}
            for name, each in (("random", found.random), ("others", found.others))
        },
    }


def speed(scope: mg.Microscope, prompt: str) -> dict[str, Any]:
    """Interventions per minute of one core, at random places of the graph, and what batching changes."""
    graph, bench = scope.trace(prompt), scope.bench(prompt)
    nodes = [node for node in graph.nodes if node.kind == Kind.FEATURE and (node.position or 0) > 0]
    drawn = np.random.default_rng(0).permutation(len(nodes))[:240]
    rows = [place(bench, ablate([nodes[i]]), Free()) for i in drawn]
    run_rows(bench, rows[:2], Free())
    wall, cpu = time.perf_counter(), time.process_time()
    batched = torch.cat([run_rows(bench, rows[i : i + 20], Free()).logits for i in range(0, len(rows), 20)])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    alone = torch.cat([run_rows(bench, [row], Free()).logits for row in rows[:40]])
    return {
        "interventions": len(rows),
        "per_minute_of_cpu": 60 * len(rows) / cpu,
        "per_minute_of_wall_beside_other_work": 60 * len(rows) / wall,
        "batched_against_one_by_one_float32": float((batched[:40] - alone).abs().max()),
        "in_float64": in_float64(graph),
    }


def in_float64(graph: Graph) -> float:
    scope = mg.open(basis="transcoders", dtype="float64")
    bench: Bench = scope.bench(graph.prompt)
    nodes = [node for node in graph.nodes if node.kind == Kind.FEATURE and (node.position or 0) > 0][:200:10]
    rows = [place(bench, ablate([node]), Free()) for node in nodes if active(bench, node)]
    batched = run_rows(bench, rows, Free()).logits
    alone = torch.cat([run_rows(bench, [row], Free()).logits for row in rows])
    return float((batched - alone).abs().max())


def active(bench: Bench, node: Any) -> bool:
    return bool(bench.active(node.layer)[node.position, node.index] != 0)


if __name__ == "__main__":
    main()
