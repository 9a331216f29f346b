"""Adam on tensors that are changed in place, with moments that can be saved, given back, and cleared row by row."""

from collections.abc import Iterable, Mapping, Sequence
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor
from torch.optim.adam import adam

__all__ = ["Adam"]

_FUSED = ("cpu", "cuda", "mps")


@final
class Adam:
    """The optimiser of one unit; `first` and `second` are its moments, in the order of its tensors."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.first = [torch.zeros_like(tensor) for tensor in tensors]
        self.second = [torch.zeros_like(tensor) for tensor in tensors]
        self._tensors = tensors
        self.steps = 0

    def step(self, gradients: Iterable[Tensor], rate: float) -> None:
        """One step against the gradients, each taken when its turn comes and gone before the next is asked for.

        So a gradient that is made only then is still in the cache, and no two need memory at once.
        """
        for tensor, gradient, first, second in zip(self._tensors, gradients, self.first, self.second, strict=True):
            adam(
                [tensor],
                [gradient],
                [first],
                [second],
                [],
                [torch.tensor(float(self.steps), device=tensor.device)],
                fused=tensor.device.type in _FUSED,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=rate,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )
        self.steps += 1

    def forget(self, rows: Int[Tensor, " row"], tensors: Iterable[int]) -> None:
        """Clear what is remembered of some rows of some tensors, by number: they hold something new."""
        for number in tensors:
            self.first[number][rows] = 0
            self.second[number][rows] = 0

    def state(self) -> dict[str, Tensor]:
        """The moments by name; the number of steps is the caller's to keep."""
        groups = (("first", self.first), ("second", self.second))
        return {f"{group}.{i}": moment for group, moments in groups for i, moment in enumerate(moments)}

    def restore(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Take over moments and number of steps."""
        for name, moment in self.state().items():
            moment.copy_(state[name])
        self.steps = steps
