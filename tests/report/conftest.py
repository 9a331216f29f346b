"""A tiny model and the atlas of its basis.

Our own package is imported inside the fixtures: its shape checks are put in place after conftest files load.
"""

from tests.atlas.conftest import atlas, basis, case, corpus, llama, model, tiny

__all__ = ["atlas", "basis", "case", "corpus", "llama", "model", "tiny"]
