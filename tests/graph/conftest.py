"""The tiny models of the model room serve here too."""

from tests.model.conftest import case, model, tiny

__all__ = ["case", "model", "tiny"]
