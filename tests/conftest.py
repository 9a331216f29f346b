"""What every test may count on: one thread, the same random numbers, no network, one cache of models.

The environment is set while this file loads, before torch or a hub client is imported; our own package must
not be imported here, because its shape checks are put in place after this file.
"""

import os
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from micrographia.microscope import Microscope

REPOSITORY = Path(__file__).parents[1]

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Kept between sessions, so that the embedded model is converted once.
os.environ.setdefault("MICROGRAPHIA_CACHE", str(REPOSITORY / ".cache" / "tests"))

settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """Seed what is loaded, and nothing else: a test of a plain file need not wait for torch."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def smollm2() -> "Microscope":
    """The embedded model in float32, opened once."""
    from micrographia.microscope import open

    return open(device="cpu", dtype="float32")
