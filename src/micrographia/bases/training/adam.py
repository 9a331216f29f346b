"""Adam on tensors that are changed in place, with moments that can be saved, given back, and cleared row by row."""

from collections.abc import Iterable, Mapping, Sequence
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor, nn

__all__ = ["Adam"]

_FUSED = ("cpu", "cuda", "mps")


@final
class Adam:
    """The optimiser of one unit; `first` and `second` are its moments, in the order of its tensors."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.first = [torch.zeros_like(tensor) for tensor in tensors]
        self.second = [torch.zeros_like(tensor) for tensor in tensors]
        self._parameters = [nn.Parameter(tensor, requires_grad=False) for tensor in tensors]
        fused = all(tensor.device.type in _FUSED for tensor in tensors)
        self._optimiser = torch.optim.Adam(self._parameters, lr=0.0, fused=fused or None)
        self.steps = 0

    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """One step against the gradients."""
        for parameter, gradient, first, second in zip(
            self._parameters, gradients, self.first, self.second, strict=True
        ):
            parameter.grad = gradient
            count = torch.tensor(float(self.steps), device=parameter.device)
            self._optimiser.state[parameter] = {"step": count, "exp_avg": first, "exp_avg_sq": second}
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        for parameter in self._parameters:
            parameter.grad = None
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
