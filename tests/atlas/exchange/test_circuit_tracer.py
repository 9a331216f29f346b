"""The files are what circuit-tracer's own page reads: index, byte ranges, deflated JSON of its record."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.exchange.export import export_atlas
from micrographia.model.model import Model


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Example(Strict):
    """The record of circuit-tracer 0.5.0 (`frontend/feature_models.py`), and nothing beside."""

    tokens_acts_list: list[float]
    train_token_ind: int
    is_repeated_datapoint: bool
    tokens: list[str]


class Quantile(Strict):
    quantile_name: str
    examples: list[Example]


class Record(Strict):
    transcoder_id: str
    index: int
    examples_quantiles: list[Quantile]
    top_logits: list[str]
    bottom_logits: list[str]
    act_min: float
    act_max: float
    quantile_values: list[float]
    histogram: list[float]
    activation_frequency: float


def fetched(folder: Path, layer: int, index: int) -> dict[str, Any]:
    """As the page does: the index, then the bytes from one offset to the next, of which the last is one too many."""
    said = json.loads(gzip.decompress((folder / "index.json.gz").read_bytes()))[str(layer)]
    start, end = said["offsets"][index], said["offsets"][index + 1]
    got = (folder / said["filename"]).read_bytes()[start : end + 1]
    length = got[0] | got[1] << 8 | got[2] << 16 | got[3] << 24
    return json.loads(zlib.decompress(got[4 : 4 + length]))


@pytest.fixture(scope="module")
def written(atlas: Atlas, llama: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "pages"
    export_atlas(atlas, llama.tokenizer, "circuit-tracer", folder)
    return folder / "features"


def test_every_feature_is_found_by_its_offsets(atlas: Atlas, written: Path) -> None:
    for layer in atlas.layers:
        for index in range(40):
            record, feature = Record.model_validate(fetched(written, layer, index)), atlas.feature(layer, index)
            assert record.index == index
            assert record.activation_frequency == feature.density
            assert record.act_max == feature.largest
            assert sum(record.histogram) == pytest.approx(feature.count)
            assert len(record.top_logits) == len(record.bottom_logits) == 5
            assert len(record.quantile_values) == 100
            assert record.quantile_values == sorted(record.quantile_values)
            assert record.examples_quantiles[0].quantile_name == "Top activations"


def test_examples_mark_the_token_that_is_active(atlas: Atlas, llama: Model, written: Path) -> None:
    record, feature = Record.model_validate(fetched(written, 2, 3)), atlas.feature(2, 3)
    top = record.examples_quantiles[0].examples
    assert len(top) == len(feature.strongest)
    for example, ours in zip(top, feature.strongest, strict=True):
        at = example.train_token_ind
        assert len(example.tokens) == len(example.tokens_acts_list)
        assert example.tokens[at] == llama.tokenizer.raw(ours.tokens[ours.at]).decode()
        assert example.tokens_acts_list[at] == pytest.approx(ours.activation, rel=0.07)
    assert record.top_logits == [llama.tokenizer.raw(said.token).decode() for said in feature.promoted]
