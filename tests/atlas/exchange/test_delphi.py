"""A cache as delphi writes it becomes the atlas that reading the same text makes."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.exchange.delphi import import_delphi
from micrographia.bases.neurons import Neurons
from micrographia.bases.transcoder import PerLayer
from micrographia.errors import CacheError, CallError, ModelFileError, UnsupportedError
from micrographia.model.model import Model
from tests.atlas.small import fired
from tests.bases.evaluation.bases import cross_layer


def save_splits(atlas: Atlas, model: Model, basis: PerLayer, folder: Path, splits: int = 2) -> Path:
    """What delphi's `save_splits` and `save_config` leave: half floats, features counted from the file's first one."""
    found = list(fired(model, basis, atlas.text, 0))
    length, tokens = atlas.text.length, atlas.text.ids.astype(np.int64)
    for layer in atlas.layers:
        place = folder / f"layers.{layer}.mlp"
        place.mkdir(parents=True)
        mine = [each for each in found if each.layer == layer]
        for start, end in ((40 * i // splits, 40 * (i + 1) // splits - 1) for i in range(splits)):
            some = [each for each in mine if start <= each.index <= end]
            locations = [(*divmod(each.place, length), each.index - start) for each in some]
            save_file(
                {
                    "locations": np.array(locations, dtype=np.uint16),
                    "activations": np.array([each.value for each in some], dtype=np.float16),
                    "tokens": tokens,
                },
                place / f"{start}_{end}.safetensors",
            )
        said = {"dataset_repo": "some/texts", "dataset_split": "train", "ctx_len": length, "model_name": model.name}
        (place / "config.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def cache(atlas: Atlas, llama: Model, basis: PerLayer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_splits(atlas, llama, basis, tmp_path_factory.mktemp("delphi") / "cache")


def test_it_is_the_atlas_of_the_same_text(
    cache: Path, atlas: Atlas, llama: Model, basis: PerLayer, tmp_path: Path
) -> None:
    manifest = import_delphi(cache, llama, basis, tmp_path / "atlas", name="random")
    found = Atlas.open(tmp_path / "atlas")
    found.check(llama, basis)
    assert manifest.imported_from == "delphi"
    assert manifest.plan.sources[0].name == "delphi: some/texts train"
    assert manifest.active == atlas.manifest.active
    for layer in atlas.layers:
        for index in range(40):
            ours, theirs = atlas.feature(layer, index), found.feature(layer, index)
            assert theirs.count == ours.count
            assert theirs.mean == pytest.approx(ours.mean, rel=1e-3)
            assert theirs.promoted[:5] == ours.promoted
            both = min(len(ours.strongest), len(theirs.strongest))
            activations = [[e.activation for e in some[:both]] for some in (ours.strongest, theirs.strongest)]
            assert activations[0] == pytest.approx(activations[1], rel=2e-3)
            kept = {e.place: e for e in theirs.sample}
            shared = [e for e in ours.sample if e.place in kept]
            assert len(shared) == len(ours.sample)
            for example in shared:
                same = kept[example.place]
                assert same.tokens[same.at] == example.tokens[example.at]
                n = min(same.at, example.at) + 1
                left = [some.activations[some.at - n + 1 : some.at + 1] for some in (same, example)]
                assert left[0] == pytest.approx(left[1], rel=0.14)


def test_what_is_no_cache_of_this_basis_gets_one_sentence(
    cache: Path, atlas: Atlas, llama: Model, basis: PerLayer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(CallError, match="There is no folder"):
        import_delphi(tmp_path / "no", llama, basis, out)
    with pytest.raises(CallError, match=r"no cache of delphi: no folder in it has files such as 0_511"):
        import_delphi(tmp_path, llama, basis, out)
    with pytest.raises(UnsupportedError, match="trained features"):
        import_delphi(cache, llama, Neurons(), out)
    lacking = PerLayer({layer: its for layer, its in basis.layers.items() if layer == 0})
    with pytest.raises(CallError, match="has layer 2, and the basis has: 0"):
        import_delphi(cache, llama, lacking, out)
    with pytest.raises(CallError, match="there already"):
        import_delphi(cache, llama, basis, tmp_path)
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"tokens": None}, CallError, "without its tokens"),
        ({"locations": None}, ModelFileError, "no file of a delphi cache"),
        ({"tokens": np.full((4, 16), 80, np.int64)}, CallError, "has the token 80, and llama0 ends at 79"),
        ({"locations": np.array([[999, 1, 1]], np.uint16)}, ModelFileError, "a location outside"),
    ],
)
def test_a_file_that_is_not_right_gets_one_sentence(
    change: dict[str, np.ndarray | None], error: type[Exception], match: str, llama: Model, tmp_path: Path
) -> None:
    (tmp_path / "cache" / "layers.0.mlp").mkdir(parents=True)
    arrays = {
        "locations": np.array([[0, 1, 1]], np.uint16),
        "activations": np.ones(1, np.float16),
        "tokens": np.full((4, 16), 5, np.int64),
    } | change
    path = tmp_path / "cache" / "layers.0.mlp" / "0_39.safetensors"
    save_file({key: array for key, array in arrays.items() if array is not None}, path)
    with pytest.raises(error, match=match):
        import_delphi(tmp_path / "cache", llama, cross_layer(llama), tmp_path / "out")
    path.write_bytes(b"nonsense")
    with pytest.raises((ModelFileError, CacheError), match="not a whole safetensors file"):
        import_delphi(tmp_path / "cache", llama, cross_layer(llama), tmp_path / "out")
