"""An opened atlas answers at once, and says in one sentence what it is not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import micrographia as mg
from micrographia.atlas.atlas import BESIDE, Atlas, atlas_beside
from micrographia.bases.named import shipped_folder
from micrographia.bases.neurons import Neurons
from micrographia.bases.transcoder import PerLayer
from micrographia.errors import CacheError, CallError
from micrographia.model.model import Model
from tests.bases.evaluation.bases import per_layer
from tests.corpus.bytewise import bytewise


@pytest.fixture
def copy(atlas: Atlas, tmp_path: Path) -> Path:
    shutil.copytree(atlas.folder, tmp_path / "copy")
    return tmp_path / "copy"


def test_it_says_what_it_holds(atlas: Atlas) -> None:
    assert repr(atlas) == "<Atlas of 80 features of random over 600 positions>"
    assert (atlas.layers, atlas.n_positions, atlas.n_features(2)) == ((0, 2), 600, 40)
    atlas.verify()
    assert atlas.layer(0).counts().sum() == atlas.manifest.active[0]


FETCH = """
import sys, time
from micrographia.atlas.atlas import Atlas
atlas, taken = Atlas.open(sys.argv[1]), []
for _ in range(30):
    for index in range(40):
        start = time.process_time()
        atlas.feature(0, index)
        taken.append(time.process_time() - start)
print(sorted(taken)[int(0.99 * len(taken))])
"""


def test_a_feature_is_fetched_within_a_millisecond(atlas: Atlas) -> None:
    """In a process of its own, where nothing checks shapes; CPU time, because others use the machine too."""
    call = [sys.executable, "-c", FETCH, str(atlas.folder)]
    done = subprocess.run(call, check=True, capture_output=True, text=True)
    assert float(done.stdout) < 1e-3


def test_what_it_does_not_have_gets_one_sentence(atlas: Atlas) -> None:
    with pytest.raises(CallError, match=r"Layer 0 of this atlas has the features 0 to 39; there is no 40\."):
        atlas.feature(0, 40)
    with pytest.raises(CallError, match=r"there is no -1\."):
        atlas.feature(0, -1)
    with pytest.raises(CallError, match=r"no layer 1; it has: 0, 2\."):
        atlas.feature(1, 0)


def test_another_basis_and_another_tokenizer_are_refused(atlas: Atlas, llama: Model, basis: PerLayer) -> None:
    atlas.check(llama, basis)
    for other in (per_layer(llama, "jumprelu", layers=(0, 2), seed=1), per_layer(llama, "jumprelu"), Neurons()):
        with pytest.raises(CallError, match="is of another basis, random of llama0"):
            atlas.check(llama, other)
    with pytest.raises(CallError, match=r"in the tokens of llama0 \(80 of them\), which bytewise \(257\) does not"):
        atlas.check_tokenizer(bytewise())


def test_it_is_found_beside_its_basis(atlas: Atlas, llama: Model, basis: PerLayer, tmp_path: Path) -> None:
    assert atlas_beside(tmp_path, llama, basis) is None
    shutil.copytree(atlas.folder, tmp_path / BESIDE)
    found = atlas_beside(tmp_path, llama, basis)
    assert found is not None
    assert found.feature(2, 5).count == atlas.feature(2, 5).count
    with pytest.raises(CallError, match="another basis"):
        atlas_beside(tmp_path, llama, Neurons())


def test_a_damaged_layer_is_refused_when_it_is_used(copy: Path) -> None:
    path = copy / "layer-002.safetensors"
    whole = bytearray(path.read_bytes())
    whole[-5] ^= 1
    path.write_bytes(whole)
    opened = Atlas.open(copy)
    assert opened.feature(0, 1).n_positions == 600
    with pytest.raises(CacheError, match=r"layer-002\.safetensors is damaged: its CRC-32"):
        opened.feature(2, 1)
    with pytest.raises(CacheError, match="SHA-256"):
        opened.verify()


@pytest.mark.parametrize(("name", "change"), [("layer-000", "cut"), ("text", "cut"), ("layer-002", "gone")])
def test_a_file_of_another_size_is_refused_at_once(copy: Path, name: str, change: str) -> None:
    path = copy / f"{name}.safetensors"
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CacheError, match=name):
        Atlas.open(copy)


def test_a_text_that_is_damaged_is_refused(copy: Path) -> None:
    path = copy / "text.safetensors"
    whole = bytearray(path.read_bytes())
    whole[8] = 0
    path.write_bytes(whole)
    with pytest.raises(CacheError, match="damaged"):
        Atlas.open(copy)


def test_a_folder_that_is_no_atlas_is_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(CallError, match="there is no such folder"):
        Atlas.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CallError, match="has no manifest"):
        Atlas.open(tmp_path / "empty")
    manifest = copy / "manifest.json"
    said = json.loads(manifest.read_text())
    for changed, error, match in (
        ({"kind": "graph"}, CallError, "of the kind 'graph'"),
        ({"schema_version": 9}, CacheError, "schema version 9"),
        ({"colour": 1}, CacheError, "colour"),
        ({"files": [{**said["files"][0], "name": "../x"}, *said["files"][1:]]}, CacheError, "outside its own folder"),
        ({"files": said["files"][:-1]}, CacheError, "other files than its layers"),
    ):
        manifest.write_text(json.dumps(said | changed))
        with pytest.raises(error, match=match):
            Atlas.open(copy)
    manifest.write_text("{")
    with pytest.raises(CacheError, match="cannot be read"):
        Atlas.open(copy)


def test_features_that_promote_a_token_are_found(atlas: Atlas) -> None:
    found = list(atlas.promoting(9))
    slow = [
        (layer, index, pytest.approx(said.cosine))
        for layer in atlas.layers
        for index in range(40)
        for said in atlas.feature(layer, index).promoted
        if said.token == 9
    ]
    assert found == slow


def test_the_atlas_that_comes_along_is_of_the_transcoders_that_do() -> None:
    folder = shipped_folder()
    assert folder is not None
    atlas = Atlas.open(folder / BESIDE)
    atlas.verify()
    scope = mg.open(basis="transcoders")
    atlas.check(scope.model, scope.basis)
    feature = atlas.feature(25, 80)
    said = [scope.model.tokenizer.piece(each.token) for each in feature.promoted]
    assert "␣languages" in said
    assert any("speak" in scope.model.tokenizer.decode(each.tokens) for each in feature.strongest)
