"""What it costs to put a stand-in in the place of one MLP, or of all: cross-entropy, KL and agreement on next tokens.

Everything is judged at positions 1 to the last but one of a passage; the stand-in writes at every position but 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from micrographia.bases.evaluation.passages import PassageBatch, Passages
from micrographia.bases.evaluation.passes import everywhere, watch
from micrographia.bases.evaluation.standin import MlpView, StandIn, Turn, wide
from micrographia.errors import WorkError
from micrographia.ids import Layer
from micrographia.model.forward import Stream, onward, unembed
from micrographia.model.hooks import Gate, Hooks
from micrographia.model.model import Model
from micrographia.store import Progress

__all__ = ["Splice", "logits_of", "splice_everywhere", "splice_one_layer"]

_HELD = 1 << 25
"""Probabilities of the model as it is that are held at a time."""
_CHUNK = 1 << 24
"""Logits that are computed at a time."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Splice:
    """Sums over documents for one stand-in: a column for each layer spliced alone, or a single one for all at once."""

    loss: Float[Tensor, "document splice"]
    """Cross-entropy of the next token."""
    kl: Float[Tensor, "document splice"]
    """From the model as it is to the spliced one."""
    agreed: Float[Tensor, "document splice"]
    """Positions with the same likeliest token."""
    clean_loss: Float[Tensor, " document"]
    positions: Float[Tensor, " document"]


def splice_one_layer(
    model: Model, passages: Passages, stand_ins: Sequence[StandIn], *, progress: Progress
) -> list[Splice]:
    """Splice each layer alone: the clean residual behind it is changed, and goes on from there."""
    tallies = [_Tally(passages.n_documents, len(stand_in.layers)) for stand_in in stand_ins]
    total = len(passages.passages) * sum(len(stand_in.layers) for stand_in in stand_ins)
    done = 0
    for batch in passages.batches(_tokens_at_once(model), model.device):
        changes: list[dict[Layer, Tensor]] = [{} for _ in stand_ins]
        turns = [stand_in.begin() for stand_in in stand_ins]
        clean = watch(model, batch, partial(_see, turns, changes), residuals=True)
        judge = _Judge(model, batch, clean.last)
        for stand_in, tally, its in zip(stand_ins, tallies, changes, strict=True):
            for column, layer in enumerate(stand_in.layers):
                judge.tell(tally, column, _gone_on(model, batch, layer, clean.residuals[layer], its.pop(layer)))
                done += batch.batch.n_rows
                progress("splicing layers one by one", done, total)
    return [tally.splice() for tally in tallies]


def splice_everywhere(
    model: Model, passages: Passages, stand_ins: Sequence[StandIn], *, progress: Progress
) -> list[Splice]:
    """Splice all layers of a stand-in at once."""
    tallies = [_Tally(passages.n_documents, 1) for _ in stand_ins]
    total, done = len(passages.passages) * len(stand_ins), 0
    for batch in passages.batches(_tokens_at_once(model), model.device):
        clean = watch(model, batch)
        judge = _Judge(model, batch, clean.last)
        for stand_in, tally in zip(stand_ins, tallies, strict=True):
            judge.tell(tally, 0, everywhere(model, batch, stand_in, clean))
            done += batch.batch.n_rows
            progress("splicing all layers", done, total)
    return [tally.splice() for tally in tallies]


def logits_of(model: Model, residual: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_vocab"]:
    """Logits of some rows of the last residual, at least in float32."""
    with torch.no_grad():
        return unembed(model.weights, model.anatomy, residual[None], Gate(Hooks()))[0].to(wide(model))


def _see(turns: Sequence[Turn], changes: Sequence[dict[Layer, Tensor]], view: MlpView, y: Tensor) -> None:
    for turn, its in zip(turns, changes, strict=True):
        written = turn(view)
        if written is not None:
            its[view.layer] = written.output - y


def _gone_on(
    model: Model, passages: PassageBatch, layer: Layer, residual: Stream, change: Float[Tensor, "row d_model"]
) -> Stream:
    """From the residual behind a block whose MLP wrote something else, everywhere but at position 0."""
    change = change.reshape(residual.shape).clone()
    change[:, 0] = 0
    spliced = (residual + change).to(residual.dtype)
    with torch.no_grad():
        return onward(model.weights, model.anatomy, passages.batch, Gate(Hooks()), spliced, layer=layer + 1)


def _tokens_at_once(model: Model) -> int:
    return max(1, _HELD // model.anatomy.d_vocab)


@final
class _Tally:
    """Sums that grow."""

    def __init__(self, n_documents: int, columns: int) -> None:
        self.loss, self.kl, self.agreed = (torch.zeros(n_documents, columns, dtype=torch.float64) for _ in range(3))
        self.clean_loss, self.positions = (torch.zeros(n_documents, dtype=torch.float64) for _ in range(2))

    def splice(self) -> Splice:
        if not (self.loss.isfinite().all() and self.clean_loss.isfinite().all()):
            raise WorkError(
                "The loss is not a number at some positions: the model overflows in its dtype, with the basis in its "
                "place or without. Evaluate with --dtype float32."
            )
        return Splice(self.loss, self.kl, self.agreed, self.clean_loss, self.positions)


@final
class _Judge:
    """What the model as it is says at the judged positions of a batch, to compare with."""

    def __init__(self, model: Model, passages: PassageBatch, last: Stream) -> None:
        self._model, self._where = model, passages.predicting
        self._documents = passages.document_of(self._where).cpu()
        self._targets: Int[Tensor, " row"] = passages.targets()[self._where]
        self._rows = max(1, _CHUNK // model.anatomy.d_vocab)
        rows = last[self._where]
        self._probabilities = torch.empty(len(rows), model.anatomy.d_vocab, dtype=wide(model), device=rows.device)
        self._loss, self._negative_entropy = (rows.new_empty(len(rows), dtype=wide(model)) for _ in range(2))
        self._best = torch.empty_like(self._targets)
        for chunk in self._chunks():
            logits = logits_of(model, rows[chunk])
            log_sum = logits.logsumexp(-1)
            self._best[chunk] = logits.argmax(-1)
            self._loss[chunk] = log_sum - _taken(logits, self._targets[chunk])
            self._probabilities[chunk] = logits.softmax(-1)
            self._negative_entropy[chunk] = _weighted(self._probabilities[chunk], logits) - log_sum

    def tell(self, tally: _Tally, column: int, last: Stream) -> None:
        """Add what a spliced run says, from its last residual."""
        rows = last[self._where]
        loss, kl, agreed = (torch.empty_like(self._loss) for _ in range(3))
        for chunk in self._chunks():
            logits = logits_of(self._model, rows[chunk])
            log_sum = logits.logsumexp(-1)
            loss[chunk] = log_sum - _taken(logits, self._targets[chunk])
            expected = _weighted(self._probabilities[chunk], logits)
            kl[chunk] = self._negative_entropy[chunk] - expected + log_sum
            agreed[chunk] = (logits.argmax(-1) == self._best[chunk]).to(agreed.dtype)
        for sums, values in ((tally.loss, loss), (tally.kl, kl), (tally.agreed, agreed)):
            sums[:, column].index_add_(0, self._documents, values.cpu().double())
        if column == 0:
            tally.clean_loss.index_add_(0, self._documents, self._loss.cpu().double())
            tally.positions += self._documents.bincount(minlength=len(tally.positions))

    def _chunks(self) -> list[slice]:
        return [slice(start, start + self._rows) for start in range(0, len(self._targets), self._rows)]


def _weighted(weights: Float[Tensor, "row d_vocab"], logits: Float[Tensor, "row d_vocab"]) -> Float[Tensor, " row"]:
    return cast("Tensor", torch.linalg.vecdot(weights, logits))


def _taken(logits: Float[Tensor, "row d_vocab"], tokens: Int[Tensor, " row"]) -> Float[Tensor, " row"]:
    return logits.gather(-1, tokens[:, None])[:, 0]
