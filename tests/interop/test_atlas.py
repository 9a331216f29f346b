"""Exported features are read by the records of those who read them; delphi's own cache is imported."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.exchange.delphi import import_delphi
from micrographia.atlas.exchange.export import export_atlas
from micrographia.bases.transcoder import PerLayer
from micrographia.model.model import Model
from tests.atlas.conftest import atlas, basis, corpus, llama, tiny
from tests.atlas.small import fired
from tests.interop.environments import run_peer

__all__ = ["atlas", "basis", "corpus", "llama", "tiny"]


@pytest.fixture(scope="module")
def work(atlas: Atlas, llama: Model, basis: PerLayer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the libraries have read ours, and written theirs."""
    work = tmp_path_factory.mktemp("atlas")
    (work / "ours").mkdir()
    export_atlas(atlas, llama.tokenizer, "circuit-tracer", work / "ours" / "pages")
    export_atlas(atlas, llama.tokenizer, "neuronpedia", work / "ours" / "batches")
    n_windows, length = atlas.text.ids.shape
    acts = {f"layers.{layer}.mlp": torch.zeros(n_windows, length, 40) for layer in atlas.layers}
    for each in fired(llama, basis, atlas.text, 0):
        window, position = divmod(each.place, length)
        acts[f"layers.{each.layer}.mlp"][window, position, each.index] = each.value
    tokens = torch.from_numpy(atlas.text.ids.astype("int64"))
    save_file({**acts, "tokens": tokens}, work / "ours" / "acts.safetensors")
    run_peer("atlas", work)
    return work


def test_every_exported_feature_is_read(work: Path) -> None:
    assert json.loads((work / "theirs" / "read.json").read_text()) == {"circuit-tracer": 80, "neuronpedia": 80}


def test_what_delphi_caches_is_the_same_atlas(
    work: Path, atlas: Atlas, llama: Model, basis: PerLayer, tmp_path: Path
) -> None:
    manifest = import_delphi(work / "theirs", llama, basis, tmp_path / "atlas")
    found = Atlas.open(tmp_path / "atlas")
    assert manifest.active == atlas.manifest.active
    for layer in atlas.layers:
        for index in range(40):
            ours, theirs = atlas.feature(layer, index), found.feature(layer, index)
            assert theirs.count == ours.count
            assert theirs.mean == pytest.approx(ours.mean, rel=1e-3)
            assert {e.place for e in ours.sample} <= {e.place for e in theirs.sample}
