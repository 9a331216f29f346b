"""Prompts side by side, as the forward pass takes them: ids, which of them are real, and where each stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from micrographia.errors import CallError
from micrographia.ids import TokenId

__all__ = ["Batch", "Side"]

Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of token ids; `real` is None when no row is padded.

    `positions` counts each row's own tokens from 0, whatever the padding, and goes on after a cached prefix;
    `lengths` is the number of tokens of each row's prompt. A place in a prompt therefore has the same number
    in a batch, alone, padded on either side, and while tokens are being generated after it.
    """

    ids: Int[Tensor, "batch pos"]
    real: Bool[Tensor, "batch pos"] | None
    positions: Int[Tensor, "batch pos"]
    lengths: Int[Tensor, " batch"]

    @staticmethod
    def of(
        rows: Sequence[Sequence[TokenId]],
        *,
        pad: TokenId,
        side: Side = "right",
        device: torch.device | None = None,
    ) -> "Batch":
        """Pad rows to one length. Right padding keeps columns equal to positions."""
        if side not in ("left", "right"):
            raise CallError(f"A batch is padded on the side 'left' or 'right', not {side!r}.")
        width = max(len(row) for row in rows)
        gaps = [[pad] * (width - len(row)) for row in rows]
        ids = [[*row, *gap] if side == "right" else [*gap, *row] for row, gap in zip(rows, gaps, strict=True)]
        lengths = torch.tensor([len(row) for row in rows], device=device)
        columns = torch.arange(width, device=device).expand(len(rows), width)
        start = (width - lengths)[:, None] if side == "left" else torch.zeros_like(lengths)[:, None]
        ragged = any(len(row) != width for row in rows)
        return Batch(
            ids=torch.tensor(ids, device=device),
            real=(columns >= start) & (columns < start + lengths[:, None]) if ragged else None,
            positions=(columns - start).clamp(min=0),
            lengths=lengths,
        )

    @property
    def n_rows(self) -> int:
        return self.ids.shape[0]

    def last_columns(self) -> Int[Tensor, " batch"]:
        """The column of each row's last real token in this batch."""
        if self.real is None:
            return torch.full_like(self.lengths, self.ids.shape[1] - 1)
        columns = torch.arange(self.ids.shape[1], device=self.ids.device)
        return torch.where(self.real, columns, -1).amax(dim=1)

    def followed_by(self, token: Int[Tensor, " batch"]) -> "Batch":
        """One further token for every row, to be run after this batch's keys and values."""
        rows = torch.arange(self.n_rows, device=self.ids.device)
        last = self.positions[rows, self.last_columns()]
        return Batch(ids=token[:, None], real=None, positions=last[:, None] + 1, lengths=self.lengths)

    def joined(self, after: "Batch") -> "Batch":
        """This batch and the columns after it, as one."""
        tail = torch.ones_like(after.ids, dtype=torch.bool)
        return Batch(
            ids=torch.cat([self.ids, after.ids], dim=1),
            real=None if self.real is None else torch.cat([self.real, tail], dim=1),
            positions=torch.cat([self.positions, after.positions], dim=1),
            lengths=self.lengths,
        )
