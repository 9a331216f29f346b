"""The vocabulary of places: what a number means is part of its type."""

from typing import NewType

__all__ = ["Head", "Layer", "NeuronIndex", "Position", "TokenId"]

Layer = NewType("Layer", int)
"""A block of the model, counted from 0."""

Position = NewType("Position", int)
"""A place in a prompt, counted from 0; the prepended token, where there is one, is position 0."""

TokenId = NewType("TokenId", int)
"""An index into the model's vocabulary."""

Head = NewType("Head", int)
"""A query head of one layer, counted from 0."""

NeuronIndex = NewType("NeuronIndex", int)
"""A hidden unit of one layer's MLP, counted from 0."""
