"""What is done on the thread that owns the model: a trace, an answer to a change, a test of claims."""

import time

from micrographia.errors import CallError
from micrographia.evidence.bench import Bench
from micrographia.evidence.evidence import Evidence
from micrographia.evidence.files import load_evidence, save_evidence
from micrographia.evidence.interventions import Constrained, Free, Iterative, Mode
from micrographia.evidence.notation import read_intervention
from micrographia.evidence.readout import Readout, readout_of
from micrographia.evidence.testing import Experiment
from micrographia.evidence.whatif import WhatIf, what_if
from micrographia.graph.graph import Graph
from micrographia.graph.nodes import Kind, NodeId
from micrographia.ids import TokenId
from micrographia.report.wire.documents import evidence_document
from micrographia.report.wire.live import (
    ChangedRecord,
    PartialEvent,
    ShiftRecord,
    TargetChange,
    TestRequest,
    Traced,
    TraceRequest,
    WhatIfDocument,
    WhatIfRequest,
    WordRecord,
)
from micrographia.report.wire.records import EvidenceDocument
from micrographia.server.instruments import Instruments
from micrographia.server.jobs import Job
from micrographia.server.shelf import Shelf

__all__ = ["MODES", "answered", "tested", "traced"]

MODES: dict[str, Mode] = {"free": Free(), "constrained": Constrained(), "iterative": Iterative()}
_APART = 0.25
"""Seconds between two reports of what is known so far."""


def traced(instruments: Instruments, shelf: Shelf, wanted: TraceRequest, job: Job) -> Traced:
    """A new graph, kept on the shelf."""
    instrument = instruments.in_basis(wanted.basis, job.report)
    graph = instrument.trace(
        wanted.prompt,
        target=wanted.target,
        against=wanted.against,
        position=wanted.position,
        max_nodes=wanted.nodes,
        share=wanted.share,
        node_share=wanted.node_share,
        edge_share=wanted.edge_share,
        progress=job.report,
    )
    job.check()
    return Traced(id=shelf.add(graph))


def answered(instruments: Instruments, graph: Graph, wanted: WhatIfRequest, job: Job) -> WhatIfDocument:
    """What the real model says when something inside it is changed."""
    begun = time.perf_counter()
    bench = instruments.bench(graph, job.report)
    job.check()
    readouts = _readouts(graph, bench)
    watched = dict.fromkeys(token for _, readout in readouts for token in readout.coefficients)
    named = (bench.model.tokenizer.token(word) for word in wanted.tokens)
    found = what_if(
        bench,
        read_intervention(bench, wanted.changes),
        MODES[wanted.mode],
        tokens=[*map(TokenId, watched), *named],
        position=readouts[0][1].position if readouts else -1,
    )
    return WhatIfDocument(
        mode=wanted.mode,
        shifts=tuple(ShiftRecord(part=str(s.step.part), before=s.clean, after=s.new) for s in found.shifts),
        targets=tuple(_target_change(node, readout, found, bench) for node, readout in readouts),
        words=tuple(
            WordRecord(token=int(w.token), piece=w.piece, before=w.before, after=w.after, logit=w.logit)
            for w in found.words
        ),
        changed=tuple(
            ChangedRecord(node=str(c.feature), before=c.before, after=c.after, written=c.written) for c in found.changed
        ),
        seconds=time.perf_counter() - begun,
    )


def tested(instruments: Instruments, shelf: Shelf, name: str, wanted: TestRequest, job: Job) -> EvidenceDocument:
    """The claims of a graph, tested for so long; what is known is told, and kept, as it comes."""
    graph, volume = shelf.graph(name), shelf.volume(name)
    if volume.kind != "folder":
        raise CallError(
            f"{volume.path.name} is another tool's file and does not say which model it was traced in, so its claims "
            "cannot be tested."
        )
    bench = instruments.bench(graph, job.report)
    known = load_evidence(graph, volume.path)
    experiment = Experiment(bench, graph, target=None if known is None else known.target, known=known)
    said = 0.0

    def keep(found: Evidence) -> None:
        nonlocal said
        save_evidence(found, volume.path)
        if time.monotonic() - said >= _APART:
            job.post(PartialEvent(result=evidence_document(graph, found)))
            said = time.monotonic()
        job.pause()

    return evidence_document(graph, experiment.run(wanted.seconds, keep=keep, progress=job.report))


def _readouts(graph: Graph, bench: Bench) -> list[tuple[int, Readout]]:
    """How each target of a graph is measured that stands where the first one does."""
    first = graph.nodes.spans["target"].start
    found: list[tuple[int, Readout]] = []
    for number, target in enumerate(graph.targets):
        if target.position == graph.targets[0].position:
            found.append((first + number, readout_of(graph, NodeId(Kind.TARGET, index=number), bench.model)))
    return found


def _target_change(node: int, readout: Readout, found: WhatIf, bench: Bench) -> TargetChange:
    moved = {int(word.token): word.logit for word in found.words}
    return TargetChange(
        node=node,
        name=readout.name,
        before=float(readout.value(bench.logits()[readout.position][None])[0]),
        change=sum(c * moved[token] for token, c in readout.coefficients.items()),
    )
