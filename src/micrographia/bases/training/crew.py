"""Who trains the units: this process alone, or a crew of processes that share the blocks by memory.

Units share nothing but what they read, so the number of processes changes no bit. While a crew trains on one block,
its master reads the next.
"""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast, final, runtime_checkable

import torch
import torch.multiprocessing as processes

from micrographia.bases.training.blocks import Block
from micrographia.bases.training.checkpoint import read_state, write_state
from micrographia.bases.training.config import TrainConfig
from micrographia.bases.training.cross import TrainedCrossLayer
from micrographia.bases.training.layer import TrainedLayer
from micrographia.bases.training.unit import LayerProgress, Unit
from micrographia.bases.transcoder import TranscoderLayer
from micrographia.errors import MicrographiaError, WorkError
from micrographia.ids import Layer
from micrographia.model.weights import MlpWeights

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

__all__ = ["Alone", "Crew", "Job", "Processes"]

_Progress: TypeAlias = Mapping[Layer, LayerProgress]
_Order: TypeAlias = tuple[Literal["train"], int, int] | tuple[Literal["save"], Path] | tuple[Literal["stop"]]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What must be known to train some layers: the choices, the MLPs, and the room in which blocks come."""

    config: TrainConfig
    mlps: Mapping[Layer, MlpWeights]
    rooms: tuple[Block, ...]
    checkpoint: Path | None
    """Where to go on from; None begins anew, from the first block."""
    threads: int = 1
    start: Mapping[Layer, TranscoderLayer] | None = None
    """Weights to begin with, instead of such as are made from the first block."""

    def of(self, layers: Sequence[Layer]) -> "Job":
        """The same for some of the layers."""
        rooms = tuple(
            Block(-1, {i: room.inputs[i] for i in layers}, {i: room.outputs[i] for i in layers}) for room in self.rooms
        )
        start = None if self.start is None else {i: self.start[i] for i in layers}
        return Job(self.config, {i: self.mlps[i] for i in layers}, rooms, self.checkpoint, self.threads, start)


@runtime_checkable
class Crew(Protocol):
    """Trains every unit on one block after the other.

    `begin` is told in which room block `number` lies, and may return before the work is done; `finish` waits for it.
    Between the two the block must not change. `save` writes the state of every unit into a folder.
    """

    def begin(self, room: int, number: int, /) -> None: ...
    def finish(self) -> _Progress: ...
    def save(self, folder: Path, /) -> None: ...
    def close(self) -> None: ...


@final
class Alone:
    """All units in this process."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._done: _Progress = {}
        self.units: dict[str, Unit] = {}
        if job.checkpoint is not None:
            self.units = _restored(job, job.checkpoint)

    def begin(self, room: int, number: int, /) -> None:
        block = Block(number, self._job.rooms[room].inputs, self._job.rooms[room].outputs)
        self.units = self.units or _begun(self._job, block)
        self._done = {layer: found for unit in self.units.values() for layer, found in unit.train(block).items()}

    def finish(self) -> _Progress:
        return self._done

    def save(self, folder: Path, /) -> None:
        for name, unit in self.units.items():
            write_state(folder, name, unit.state())

    def close(self) -> None:
        """Nothing is held."""


@final
class Processes:
    """Layers dealt out to processes, each of which trains its own."""

    def __init__(self, job: Job, n: int) -> None:
        layers = tuple(job.mlps)
        shares = [layers] if job.config.architecture == "cross-layer" else [layers[i::n] for i in range(n)]
        start = processes.get_context("spawn")
        self._workers: list[tuple[BaseProcess, Connection]] = []
        for share in filter(None, shares):
            mine, theirs = start.Pipe()
            worker = start.Process(target=_work, args=(job.of(share), theirs), daemon=True)
            worker.start()
            theirs.close()
            self._workers.append((worker, mine))

    def begin(self, room: int, number: int, /) -> None:
        self._order(("train", room, number))

    def finish(self) -> _Progress:
        return {layer: found for answer in self._answers() for layer, found in answer.items()}

    def save(self, folder: Path, /) -> None:
        self._order(("save", folder))
        self._answers()

    def close(self) -> None:
        for worker, pipe in self._workers:
            if worker.is_alive():
                _tell(pipe, ("stop",))
            worker.join(timeout=10)
            if worker.is_alive():
                worker.kill()
            pipe.close()
        self._workers = []

    def _order(self, order: _Order) -> None:
        for _, pipe in self._workers:
            _tell(pipe, order)

    def _answers(self) -> list[_Progress]:
        return [_answer(worker, pipe) for worker, pipe in self._workers]


def _tell(pipe: "Connection", order: _Order) -> None:
    try:
        pipe.send(order)
    except OSError:
        return  # a worker that is gone is noticed, and named, when its answer is missing


def _answer(worker: "BaseProcess", pipe: "Connection") -> _Progress:
    try:
        found = cast("_Progress | Exception", pipe.recv())
    except (EOFError, OSError):
        worker.join(timeout=5)
        raise WorkError(
            f"A worker process ended by itself (exit code {worker.exitcode}): perhaps there was too little memory. "
            "Go on from the last checkpoint with --resume, with a smaller --block or fewer --workers."
        ) from None
    if isinstance(found, Exception):
        raise found
    return found


def _work(job: Job, pipe: "Connection") -> None:
    """A worker's life: it does as it is told until its master stops it or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the master's business
    torch.set_num_threads(job.threads)
    crew: Alone | None = None
    while True:
        try:
            order = cast("_Order", pipe.recv())
        except EOFError:
            return
        try:
            crew = crew or Alone(job)
            answer: _Progress = {}
            match order:
                case ("train", room, number):
                    crew.begin(room, number)
                    answer = crew.finish()
                case ("save", folder):
                    crew.save(folder)
                case ("stop",):
                    return
            pipe.send(answer)
        except (MicrographiaError, OSError) as error:
            pipe.send(error)


def _begun(job: Job, block: Block) -> dict[str, Unit]:
    if job.config.architecture == "cross-layer":
        return {"cross": TrainedCrossLayer.begin(job.config, job.mlps, block)}
    start: Mapping[Layer, TranscoderLayer] = job.start or {}
    return {
        _file(layer): TrainedLayer.begin(job.config, layer, mlp, block, start.get(layer))
        for layer, mlp in job.mlps.items()
    }


def _restored(job: Job, checkpoint: Path) -> dict[str, Unit]:
    device = next(iter(job.rooms[0].inputs.values())).device
    if job.config.architecture == "cross-layer":
        state = read_state(checkpoint, "cross", device)
        return {"cross": TrainedCrossLayer.restored(job.config, tuple(job.mlps), state)}
    return {
        _file(layer): TrainedLayer.restored(job.config, layer, read_state(checkpoint, _file(layer), device))
        for layer in job.mlps
    }


def _file(layer: Layer) -> str:
    return f"layer-{layer}"
