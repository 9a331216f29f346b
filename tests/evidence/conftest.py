"""The tiny models of the model room serve here too."""

from tests.cli.conftest import call
from tests.model.conftest import case, model, tiny

__all__ = ["call", "case", "model", "tiny"]
