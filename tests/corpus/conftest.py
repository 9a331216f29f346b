"""One tokenizer for all tests of the room.

Our own package is imported inside the fixtures: its shape checks are put in place after conftest files load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.corpus.bytewise import bytewise

if TYPE_CHECKING:
    from micrographia.model.tokens import Tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return bytewise()
