"""An export appears whole or not at all, and never over something."""

from pathlib import Path

import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.exchange.export import EXPORTS, export_atlas
from micrographia.errors import CallError
from micrographia.model.model import Model
from tests.corpus.bytewise import bytewise


@pytest.mark.parametrize("to", EXPORTS)
def test_what_is_there_is_not_written_over(to: str, atlas: Atlas, llama: Model, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(CallError, match="there already"):
        export_atlas(atlas, llama.tokenizer, to, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_wrong_call_gets_one_sentence(atlas: Atlas, llama: Model, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="'csv'; write one of: circuit-tracer, neuronpedia, parquet"):
        export_atlas(atlas, llama.tokenizer, "csv", tmp_path / "out")
    with pytest.raises(CallError, match="does not share"):
        export_atlas(atlas, bytewise(), "parquet", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
