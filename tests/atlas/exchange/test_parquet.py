"""The tables hold every feature and every example, and another program reads them."""

from pathlib import Path

import pandas as pd
import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.exchange.export import export_atlas
from micrographia.errors import CallError
from micrographia.model.model import Model


def test_pandas_reads_the_tables(atlas: Atlas, llama: Model, tmp_path: Path) -> None:
    export_atlas(atlas, llama.tokenizer, "parquet", tmp_path / "out")
    features = pd.read_parquet(tmp_path / "out" / "features.parquet").set_index(["layer", "index"])
    examples = pd.read_parquet(tmp_path / "out" / "examples.parquet")
    assert len(features) == 80
    for layer, index in ((0, 3), (2, 39)):
        feature, row = atlas.feature(layer, index), features.loc[(layer, index)]
        assert row["count"] == feature.count
        assert row["histogram"].tolist() == feature.histogram.tolist()
        assert row["promoted_cosines"].tolist() == [said.cosine for said in feature.promoted]
        mine = examples[(examples["layer"] == layer) & (examples["index"] == index)]
        for kind, several in (("strongest", feature.strongest), ("sample", feature.sample)):
            rows = mine[mine["kind"] == kind]
            assert rows["activation"].tolist() == [example.activation for example in several]
            assert [tuple(ids) for ids in rows["ids"]] == [example.tokens for example in several]
            assert rows["document"].tolist() == [example.document for example in several]
        assert mine["decile"].between(1, 10).all()


def test_without_pyarrow_it_says_what_to_install(atlas: Atlas, llama: Model, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("micrographia.atlas.exchange.parquet.find_spec", lambda name: None)
    with pytest.raises(CallError, match=r"pip install 'micrographia\[parquet\]'"):
        export_atlas(atlas, llama.tokenizer, "parquet", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
