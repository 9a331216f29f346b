"""Graphs put to the test on the embedded model: what they predict against what is measured, and how fast.

    python -m benchmarks.evidence [--seconds 60] [--only test|audit|swap|curve|speed] [--out FILE]

Prompts are those of `docs/heroes.md`. Each is traced in the transcoders that come along, its claims are tested for so
many seconds of wall time, and the graph is audited; the first ones are audited in neurons as well. Swaps between two
pairs of prompts and the curve over the size of a circuit stand beside. Results are written after each prompt, and what
is there already is not measured again.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import micrographia as mg
from micrographia.evidence.bench import Bench
from micrographia.evidence.evidence import Agreement, Evidence
from micrographia.evidence.interventions import Free, ablate
from micrographia.evidence.placing import place
from micrographia.evidence.rows import run_rows
from micrographia.evidence.verdicts import FEWEST
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind

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
PARTS = ("test", "audit", "swap", "curve", "speed")


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
            wanted = [part for part in ("test", "audit") if part in parts and book.lacks(part, basis, prompt)]
            if basis == "neurons":
                wanted = [part for part in wanted if part == "audit" and number < IN_NEURONS]
            if wanted:
                graph = scope.trace(prompt)
                if "test" in wanted:
                    book.put("test", basis, prompt, tested(scope, graph, options.seconds))
                if "audit" in wanted:
                    book.put("audit", basis, prompt, asdict(scope.audit(graph)))
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
        "shares": evidence.shares,
        "tried_share": tried(evidence),
        "agreement": {kind: figures(evidence.agreement(kind)) for kind in kinds},
        "agreement_direct_edges": figures(evidence.agreement(direct=True)),
    }


def tried(evidence: Evidence) -> float:
    """The share of influence whose claims had enough controls."""
    return sum(
        one.claim.influence
        for one in evidence.tested
        if one.measured is not None and len(one.measured.controls) >= FEWEST
    )


def figures(agreement: Agreement | None) -> dict[str, float] | None:
    return None if agreement is None else asdict(agreement)


def swapped(scope: mg.Microscope, a: str, b: str, layers: tuple[int, int] | None) -> dict[str, Any]:
    found = scope.compare(a, b, layers=layers)
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
