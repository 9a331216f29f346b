"""The tiny models of the model room serve here too, and a wider one: in few dimensions a step anywhere goes as far."""

from unittest.mock import patch

import pytest

from micrographia.model.load import load_model
from micrographia.model.model import Model
from tests.cli.conftest import call
from tests.model.conftest import case, model, save_tiny, tiny
from tests.model.families import TINY

__all__ = ["call", "case", "model", "tiny", "wide"]


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A tiny Llama whose residual stream is 128 wide."""
    folder = tmp_path_factory.mktemp("wide")
    with patch.dict(TINY, {"wide": ("llama", TINY["llama"][1] | {"hidden_size": 128})}):
        save_tiny("wide", folder)
    return load_model(str(folder), dtype="float64", device="cpu")
