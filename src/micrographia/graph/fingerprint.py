"""Which basis a graph was traced in."""

from micrographia.bases.basis import Decomposition
from micrographia.bases.neurons import Neurons
from micrographia.model.fingerprint import fingerprint

__all__ = ["basis_fingerprint"]


def basis_fingerprint(basis: object, found: Decomposition) -> str:
    """Of every matrix that features read and write through; of the rule's name where features are neurons."""
    if isinstance(basis, Neurons):
        return fingerprint(basis.gate_rule, ())
    return fingerprint(
        "basis",
        (
            tensor
            for layer in found.layers
            for tensor in (*(t.rows for t in layer.reads), *(t.rows for t in layer.writes.values()), layer.skip)
            if tensor is not None
        ),
    )
