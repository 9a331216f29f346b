"""The model that the page looks through, in each basis that it is asked for; opened and used on one thread."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias, final, runtime_checkable

from micrographia.atlas.atlas import Atlas, atlas_beside
from micrographia.bases.named import NEURONS, TRANSCODERS, ChosenBasis, shipped_folder
from micrographia.errors import CallError, UnsupportedError
from micrographia.evidence.bench import Bench
from micrographia.evidence.testing import check_origin
from micrographia.graph.graph import Graph
from micrographia.model.model import Model
from micrographia.model.tokens import Prompt
from micrographia.store import Progress

__all__ = ["Instrument", "Instruments", "Opener"]


@runtime_checkable
class Instrument(Protocol):
    """A model and a basis, ready to look: what the server uses of a `Microscope`."""

    @property
    def model(self) -> Model: ...

    @property
    def chosen(self) -> ChosenBasis: ...

    def trace(
        self,
        prompt: str | Prompt,
        *,
        target: str | None,
        against: str | None,
        position: int,
        max_nodes: int,
        share: float,
        node_share: float,
        edge_share: float,
        progress: Progress,
    ) -> Graph: ...

    def bench(self, prompt: str | Prompt) -> Bench: ...


Opener: TypeAlias = Callable[[str | None, Progress], Instrument]
"""Opens the model in a basis by name; None is the one that the server was started with. The first call loads it."""


@final
class Instruments:
    """All calls but `ready` and `atlas` belong on the thread that owns the model."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._opened: dict[str | None, Instrument] = {}
        self._bench: tuple[str, Bench] | None = None
        self.atlas: Atlas | None = None
        """What is known of the features of the basis that the server was started with, once that is open."""
        self._fingerprints: tuple[str, str] = ("", "")

    @property
    def ready(self) -> Instrument | None:
        """The model in its first basis, if it is open."""
        return self._opened.get(None)

    def opened(self, progress: Progress) -> Instrument:
        """Open the model and the atlas of its basis, or what is open already."""
        if None not in self._opened:
            first = self._opener(None, progress)
            folder = _folder(first.chosen)
            self.atlas = None if folder is None else atlas_beside(folder, first.model, first.chosen.basis)
            if self.atlas is not None:
                self._fingerprints = first.bench(first.model.tokenizer.from_ids([0])).fingerprints()
            self._opened[None] = first
        return self._opened[None]

    def in_basis(self, name: str | None, progress: Progress) -> Instrument:
        """The model in a basis by its name."""
        first = self.opened(progress)
        if name is None or name == first.chosen.name:
            return first
        if name not in self._opened:
            self._opened[name] = self._opener(name, progress)
        return self._opened[name]

    def atlas_of(self, graph: Graph) -> Atlas | None:
        """The atlas, if it is of the features of this graph."""
        facts = graph.facts
        here = facts is not None and (facts.model_fingerprint, facts.basis_fingerprint) == self._fingerprints
        return self.atlas if here else None

    def bench(self, graph: Graph, progress: Progress) -> Bench:
        """A clean run of a graph's prompt in the basis that it was traced in. The last one is kept."""
        key = _key(graph)
        if self._bench is None or self._bench[0] != key:
            instrument = self.in_basis(self._basis_of(graph, progress), progress)
            if graph.facts is None:
                raise UnsupportedError(
                    "This graph does not say which model and basis it was traced in, so no model can be asked about it."
                )
            if graph.facts.model != instrument.model.name:
                raise CallError(
                    f"This graph is of {graph.facts.model}, and the server has {instrument.model.name} open: start it "
                    f"with --model {graph.facts.model}."
                )
            bench = instrument.bench(graph.prompt)
            check_origin(bench, graph)
            self._bench = key, bench
        return self._bench[1]

    def _basis_of(self, graph: Graph, progress: Progress) -> str | None:
        """The name of a graph's basis, as far as a graph says it: neurons, what comes along, or the first one."""
        facts, first = graph.facts, self.opened(progress)
        if facts is None or facts.basis == type(first.chosen.basis).__name__ != "Neurons":
            return None
        if facts.basis == "Neurons":
            return f"{NEURONS}:frozen-gate" if facts.gate_rule == "frozen-gate" else NEURONS
        return None if shipped_folder(first.model) is None else TRANSCODERS


def _key(graph: Graph) -> str:
    facts = graph.facts
    origin = "" if facts is None else f"{facts.model_fingerprint} {facts.basis_fingerprint}"
    return f"{origin} {graph.prompt.ids}"


def _folder(chosen: ChosenBasis) -> Path | None:
    """Where a basis lies on disk; None where it is the model's own neurons."""
    if chosen.facts is None:
        return None
    return shipped_folder() if chosen.name == TRANSCODERS else Path(chosen.name).expanduser()
