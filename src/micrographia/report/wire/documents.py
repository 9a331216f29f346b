"""A graph as the page reads it: one record, and its columns as binary data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from micrographia.evidence.evidence import Evidence, Tested
from micrographia.graph.files import manifest_of
from micrographia.graph.graph import Graph
from micrographia.report.books import counted, entries, held, judged, work
from micrographia.report.wire.records import (
    ClaimRecord,
    ColumnRecord,
    EntryRecord,
    EvidenceDocument,
    FactsRecord,
    FeatureDocument,
    GraphDocument,
    GroupRecord,
    LabelRecord,
    LedgerRecord,
    LinkRecord,
    PromptRecord,
    ReadingRecord,
    SharesRecord,
    TargetRecord,
)

__all__ = ["Packed", "evidence_document", "packed"]

_ALIGNED = 8
_EXACT_EDGES = 50_000
"""Up to so many edges, all numbers travel in all their digits."""
_KEPT = {"scores", "ledger", "facts", "foreign"}
_WIDTHS = {"u8": np.uint8, "i16": np.int16, "i32": np.int32, "f32": np.float32, "f64": np.float64}
_NODES = {"kind": "u8", "layer": "i16", "position": "i32", "index": "i32"}
_EDGES = {"source": "i32", "target": "i32"}
_PROMOTED = {
    "promoted.tokens": "tokens",
    "promoted.logits": "logits",
    "suppressed.tokens": "suppressed",
    "suppressed.logits": "suppressed_logits",
}


@dataclass(frozen=True, slots=True)
class Packed:
    """A graph, ready to be sent or put into a file."""

    document: GraphDocument
    columns: bytes


def packed(
    graph: Graph,
    *,
    evidence: Evidence | None = None,
    labels: Mapping[str, LabelRecord] = {},
    features: Mapping[str, FeatureDocument] = {},
) -> Packed:
    """The whole graph. `labels` are by node name and come before the graph's own, `features` by `layer.index`."""
    places, blob = _columns(graph, features)
    p = graph.prompt
    document = GraphDocument(
        model="" if graph.facts is None else graph.facts.model,
        basis="" if graph.facts is None else graph.facts.basis,
        prompt=PromptRecord(ids=tuple(map(int, p.ids)), pieces=p.pieces, text=p.text, prepended=p.prepended),
        targets=tuple(
            TargetRecord(name=t.name, position=t.position, weight=t.weight, probability=t.probability, token=t.token)
            for t in graph.targets
        ),
        shares=SharesRecord(nodes=graph.node_share, edges=graph.edge_share),
        n_layers=graph.n_layers,
        supernodes=_groups(graph),
        ledger=_ledger(graph),
        scores=tuple(
            ReadingRecord(reading=j.reading, replacement=j.replacement, completeness=j.completeness, words=j.words)
            for j in judged(graph)
        ),
        facts=_facts(graph),
        pieces={} if graph.promoted is None else {str(t): said for t, said in sorted(graph.promoted.pieces.items())},
        labels={**_labels(graph), **labels},
        evidence=None if evidence is None else evidence_document(graph, evidence),
        features=dict(features),
        kept=json.dumps(manifest_of(graph).model_dump(include=_KEPT), allow_nan=False),
        columns=places,
    )
    return Packed(document, blob)


def evidence_document(graph: Graph, evidence: Evidence) -> EvidenceDocument:
    """What is known about the claims of a graph; each of its own."""
    return EvidenceDocument(
        target=graph.nodes.find(evidence.target),
        name=evidence.name,
        value=evidence.value,
        probability=evidence.probability,
        rate=evidence.rate,
        claims=tuple(_claim(graph, one) for one in evidence.tested),
        links=tuple(_link(graph, one) for one in evidence.inside),
    )


def _claim(graph: Graph, one: Tested) -> ClaimRecord:
    claim = one.claim
    return ClaimRecord.model_validate(
        dict(name=claim.name, predicted=claim.total, direct=claim.direct, **_tested(graph, one))
    )


def _link(graph: Graph, one: Tested) -> LinkRecord:
    claim = one.claim
    reads = tuple(map(graph.nodes.find, claim.reads))
    return LinkRecord.model_validate(
        dict(
            kind=claim.kind,
            name=claim.name,
            to=claim.to,
            reads=reads,
            predicted=claim.predicted,
            **_tested(graph, one),
        )
    )


def _tested(graph: Graph, one: Tested) -> dict[str, object]:
    """What every claim has: what is taken out, what came of it, and what that is worth."""
    judged_, measured = one.judgement, one.measured
    return dict(
        members=tuple(map(graph.nodes.find, one.claim.members)),
        effect=None if measured is None else measured.effect,
        low=judged_.low,
        high=judged_.high,
        verdict=judged_.verdict,
        why=judged_.why,
        p=judged_.p,
        n_controls=0 if measured is None else len(measured.controls),
    )


def _groups(graph: Graph) -> tuple[GroupRecord, ...]:
    return tuple(
        GroupRecord(name=g.name, members=tuple(map(graph.nodes.find, g.members)), reason=g.reason, by=g.by)
        for g in graph.supernodes
    )


def _labels(graph: Graph) -> dict[str, LabelRecord]:
    return {
        str(name): LabelRecord(text=said.text, kind=said.kind or None, score=said.score, by=said.by, agrees=said.agrees)
        for name, said in sorted(graph.labels.items(), key=str)
    }


def _ledger(graph: Graph) -> LedgerRecord | None:
    if graph.ledger is None:
        return None
    return LedgerRecord(
        entries=tuple(
            EntryRecord(name=e.name, share=e.share, state=e.state, words=e.words)
            for e in entries(graph.ledger, graph.facts)
        ),
        sentences=(counted(graph.ledger), *held(graph.ledger)),
    )


def _facts(graph: Graph) -> FactsRecord | None:
    f = graph.facts
    if f is None:
        return None
    return FactsRecord(
        model=f.model,
        basis=f.basis,
        model_fingerprint=f.model_fingerprint,
        basis_fingerprint=f.basis_fingerprint,
        gate_rule=f.gate_rule,
        selection=f.selection,
        work=work(f),
        versions=dict(sorted(f.versions.items())),
    )


# ---------------------------------------------------------------- columns


def _columns(graph: Graph, features: Mapping[str, FeatureDocument]) -> tuple[tuple[ColumnRecord, ...], bytes]:
    places: list[ColumnRecord] = []
    blob = bytearray()
    for name, (dtype, column) in _listed(graph, features).items():
        blob += bytes(-len(blob) % _ALIGNED)
        narrow = np.ascontiguousarray(column, dtype=np.dtype(_WIDTHS[dtype]).newbyteorder("<"))
        places.append(ColumnRecord.model_validate(dict(name=name, dtype=dtype, shape=column.shape, offset=len(blob))))
        blob += narrow.tobytes()
    return tuple(places), bytes(blob)


def _listed(graph: Graph, features: Mapping[str, FeatureDocument]) -> dict[str, tuple[str, np.ndarray]]:
    n, e, p = graph.nodes, graph.edges, graph.promoted
    number = "f64" if len(e) <= _EXACT_EDGES else "f32"
    found = {
        f"nodes.{each.name}": (_NODES.get(each.name, "f64"), np.asarray(getattr(n, each.name))) for each in fields(n)
    }
    if features:
        names = (f"{layer}.{index}" for layer, index in zip(n.layer.tolist(), n.index.tolist(), strict=True))
        known = (features.get(name) if kind == 0 else None for name, kind in zip(names, n.kind.tolist(), strict=True))
        found["nodes.density"] = "f32", np.array([np.nan if one is None else one.density for one in known])
    found |= {
        f"edges.{each.name}": (_EDGES.get(each.name, number), np.asarray(getattr(e, each.name))) for each in fields(e)
    }
    if p is not None:
        found |= {
            name: ("i32" if name.endswith("tokens") else number, np.asarray(getattr(p, field)))
            for name, field in _PROMOTED.items()
        }
    return found
