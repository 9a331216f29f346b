"""What the page can ask for, without a word of HTTP: the shelf, the model at work, features, labels."""

import json
from concurrent.futures import Future
from importlib.metadata import version
from typing import TypeVar, final

from micrographia.errors import CallError
from micrographia.graph.graph import Graph
from micrographia.report.page import page
from micrographia.report.wire.attention import CarriersDocument, HeadDocument
from micrographia.report.wire.documents import Packed, packed
from micrographia.report.wire.features import features_of
from micrographia.report.wire.live import (
    Ability,
    AboutDocument,
    GroupsRequest,
    GroupsSaved,
    TestRequest,
    TraceRequest,
    WhatIfRequest,
)
from micrographia.report.wire.records import LabelRecord
from micrographia.server.attention import Shades, carried, heads_of, one_head
from micrographia.server.features import Features
from micrographia.server.instruments import Instruments, Opener
from micrographia.server.jobs import Job, NotHereError, Worker
from micrographia.server.shelf import Shelf
from micrographia.server.works import answered, tested, traced
from micrographia.store import silent

__all__ = ["Desk"]

_Found = TypeVar("_Found")
_CAN: tuple[Ability, ...] = ("trace", "what-if", "test", "group", "attention")


@final
class Desk:
    """One server's state. All that needs the model goes to the worker's thread."""

    def __init__(self, shelf: Shelf, opener: Opener) -> None:
        self.shelf, self.worker, self.instruments = shelf, Worker(), Instruments(opener)
        self._opening: Future[object] | None = None
        self._words = "The model is being opened."
        self._features: Features | None = None
        self._shades: tuple[str, Shades] | None = None

    def open(self) -> None:
        """Begin to open the model."""

        def heard(stage: str, done: int, total: int, /) -> None:
            self._words = f"The model is being opened: {stage}, {100 * done // max(total, 1)} %."

        self._opening = self.worker.ask(lambda: self.instruments.opened(heard))

    def close(self) -> None:
        self.worker.close()

    # ------------------------------------------------------------ what is there

    def about(self) -> AboutDocument:
        first, failed = self.instruments.ready, ""
        if first is None and self._opening is not None and self._opening.done():
            failed = str(self._opening.exception())
        atlas = self.instruments.atlas is not None
        can: tuple[Ability, ...] = () if failed else (*_CAN, "label") if atlas else _CAN
        return AboutDocument(
            version=version("micrographia"),
            state="failed" if failed else "opening" if first is None else "ready",
            words=failed or ("" if first is not None else self._words),
            model="" if first is None else first.model.name,
            basis="" if first is None else first.chosen.name,
            folder=str(self.shelf.folder),
            has_atlas=atlas,
            can=can,
        )

    def graph(self, name: str) -> Packed:
        """A graph with what is known about its claims, and the labels of its features."""
        graph = self.shelf.graph(name)
        return packed(graph, evidence=self.shelf.evidence(name), labels=self._labels(graph))

    def columns(self, name: str) -> bytes:
        """The columns that the document of a graph describes."""
        return packed(self.shelf.graph(name)).columns

    def html(self, name: str) -> str:
        """A graph as one file, with the features of its nodes where they are known."""
        graph = self.shelf.graph(name)
        atlas, first = self.instruments.atlas_of(graph), self.instruments.ready
        labels = self._labels(graph)
        known = {} if atlas is None or first is None else features_of(graph, atlas, first.model.tokenizer.piece)
        return page(graph, evidence=self.shelf.evidence(name), labels=labels, features=known)

    def features(self, name: str | None = None) -> Features:
        """The features of the atlas; those of a graph, if it was traced in that basis."""
        if name is not None and self.instruments.ready is not None:
            graph = self.shelf.graph(name)
            if self.instruments.atlas is not None and self.instruments.atlas_of(graph) is None:
                raise NotHereError("This graph was traced in another basis than the atlas here is of.")
        atlas, first = self.instruments.atlas, self.instruments.ready
        if first is None:
            raise NotHereError(self.about().words)
        if atlas is None:
            raise NotHereError(
                f"Nothing is known of the features of {first.chosen.name}: there is no atlas. Make one: "
                "micrographia atlas build"
            )
        if self._features is None:
            self._features = Features(atlas, first.model.tokenizer)
        return self._features

    def take(self, body: bytes) -> str:
        """Keep a graph that was sent as JSON."""
        try:
            content: object = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise CallError(f"This is no JSON: {error}.") from error
        return self.shelf.take(content)

    def regroup(self, name: str, wanted: GroupsRequest) -> GroupsSaved:
        """Keep the groups of a graph, unless its claims are being tested."""
        if self.worker.working_on(name):
            raise CallError("The claims of this graph are being tested: its groups can be changed when that has ended.")
        changed = self.shelf.regroup(name, wanted.groups)
        return GroupsSaved(groups=len(changed.graph.supernodes), forgotten=changed.forgotten)

    # ------------------------------------------------------------ what the model is needed for

    def trace(self, wanted: TraceRequest) -> Job:
        return self.worker.start(lambda job: traced(self.instruments, self.shelf, wanted, job))

    def what_if(self, name: str, wanted: WhatIfRequest) -> Job:
        graph = self.shelf.graph(name)
        return self.worker.start(lambda job: answered(self.instruments, graph, wanted, job), quick=True)

    def test(self, name: str, wanted: TestRequest) -> Job:
        self.shelf.volume(name)
        if self.worker.working_on(name):
            raise CallError("The claims of this graph are being tested already.")
        return self.worker.start(lambda job: tested(self.instruments, self.shelf, name, wanted, job), about=name)

    def shades(self, name: str) -> "Future[Shades]":
        """All heads on the prompt of a graph."""
        graph = self.shelf.graph(name)

        def look() -> Shades:
            if self._shades is None or self._shades[0] != name:
                self._shades = name, heads_of(self.instruments.bench(graph, silent))
            return self._shades[1]

        return self.worker.ask(look)

    def head(self, name: str, layer: int, head: int) -> "Future[HeadDocument]":
        """One head on the prompt of a graph."""
        graph = self.shelf.graph(name)
        return self.worker.ask(lambda: one_head(self.instruments.bench(graph, silent), layer, head))

    def carriers(self, name: str, source: str, target: str) -> "Future[CarriersDocument]":
        """An edge of a graph over its heads."""
        graph = self.shelf.graph(name)
        return self.worker.ask(lambda: carried(self.instruments.bench(graph, silent), graph, source, target))

    # ------------------------------------------------------------ parts

    def _labels(self, graph: Graph) -> dict[str, LabelRecord]:
        if self.instruments.atlas_of(graph) is None:
            return {}
        return self.features().of_nodes(graph)
