"""Our own folders: everything comes back, and nothing that is wrong gets by."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from micrographia.bases.formats.convert import compare, open_basis, save_basis
from micrographia.bases.formats.own import BasisManifest, LayerRecord, read_basis_manifest, verify
from micrographia.bases.formats.storage import STORAGES, Storage, rounded
from micrographia.bases.transcoder import PerLayer
from micrographia.errors import ModelFileError
from micrographia.ids import Layer
from micrographia.model.site import Point
from tests.bases.formats.samples import RULES, F, cross_layer, per_layer

FACTS = {
    "model": "a/model",
    "model_revision": "abc",
    "tokenizer_sha256": "0" * 64,
    "bos": "prepended",
    "dataset": "some text",
    "training": {"k": 3},
    "input_site": Point.RESID_MID,
}


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("make", [per_layer, cross_layer])
def test_everything_comes_back(tmp_path: Path, kind: str, storage: Storage, make) -> None:
    file = make(kind, **FACTS)
    save_basis(file, tmp_path / "b", storage=storage)
    back = open_basis(tmp_path / "b")
    assert (back.kind, back.facts, back.coding) == (file.kind, file.facts, file.coding)
    assert compare(rounded(file, storage), back).equal
    assert [each.rule for each in back.layers.values()] == [each.rule for each in file.layers.values()]
    verify(tmp_path / "b")


def test_skips_and_gaps_come_back(tmp_path: Path) -> None:
    file = per_layer("topk", skip=True, layers=(1, 7))
    save_basis(file, tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        "layer-001.safetensors",
        "layer-007.safetensors",
        "manifest.json",
    ]
    back = open_basis(tmp_path / "b")
    assert back.facts.skip == "in-output"
    assert compare(file, back).equal


def test_the_manifest_is_a_record(tmp_path: Path) -> None:
    save_basis(per_layer("topk"), tmp_path / "b")
    manifest = read_basis_manifest(tmp_path / "b")
    assert isinstance(manifest, BasisManifest)
    assert manifest.layers[1] == LayerRecord.model_validate(
        {"layer": 1, "file": "layer-001.safetensors", "n_features": F, "activation": {"kind": "topk", "k": 3}}
    )
    assert [len(record.sha256) for record in manifest.files] == [64] * 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "has schema version 2, and this Micrographia reads version 1"),
        ({"schema_version": None}, "has schema version None"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"kind": "cheese"}, "kind: Input should be"),
        ({"storage": "fp4"}, "storage: Input should be"),
        ({"d_model": 0}, "d_model: Input should be greater than 0"),
        ({"d_model": 7}, r"holds \w+ in shape \(.*\); its manifest asks for"),
        ({"facts": {"smell": "good"}}, r"facts\.smell: Extra inputs"),
        ({"storage": "int8"}, "must hold a scale for each matrix if, and only if, its manifest says int8"),
        (
            {"layers": [{"layer": 0, "file": "layer-000.safetensors", "n_features": 10, "activation": None}] * 2},
            "twice",
        ),
        ({"layers": []}, "holds a basis without features"),
    ],
)
def test_a_manifest_that_is_not_understood_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    save_basis(per_layer(), tmp_path / "b")
    path = tmp_path / "b" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelFileError, match=said):
        open_basis(tmp_path / "b", "micrographia")


LAZY = """
import sys
from pathlib import Path
from micrographia.bases.formats.convert import open_basis
from micrographia.bases.transcoder import PerLayer
from micrographia.errors import ModelFileError
from micrographia.ids import Layer
file = open_basis(Path(sys.argv[1]))
basis = file.basis()
print(len(basis.layers[0].encoder.bias))
try:
    basis.layers[1]
except ModelFileError as error:
    print(error)
"""


def test_a_flipped_bit_is_noticed_when_its_layer_is_used_and_only_then(tmp_path: Path) -> None:
    """In a process of its own: the checks of shapes in this one take tensors that nobody asked for."""
    save_basis(per_layer(), tmp_path / "b")
    path = tmp_path / "b" / "layer-001.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 4
    path.write_bytes(damaged)
    done = subprocess.run([sys.executable, "-c", LAZY, str(tmp_path / "b")], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == str(F)
    assert f"{path} is damaged: its CRC-32 is" in second
    with pytest.raises(ModelFileError, match=r"layer-001\.safetensors is damaged: its SHA-256"):
        verify(tmp_path / "b")


def test_a_file_that_is_cut_or_gone_is_noticed_at_once(tmp_path: Path) -> None:
    save_basis(per_layer(), tmp_path / "b")
    path = tmp_path / "b" / "layer-001.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match=r"it has \d+ bytes, and had \d+ when written"):
        open_basis(tmp_path / "b")
    path.unlink()
    with pytest.raises(ModelFileError, match="is missing, which the manifest lists"):
        open_basis(tmp_path / "b")


def test_weights_that_are_no_numbers_are_not_written(tmp_path: Path) -> None:
    file = per_layer()
    file.layers[1].parts["decoder"][3, 2] = float("nan")
    with pytest.raises(ModelFileError, match="The decoder of layer 1 holds 1 of 60 values that are NaN"):
        save_basis(file, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_int8_is_dequantised_on_use(tmp_path: Path) -> None:
    save_basis(per_layer(), tmp_path / "b", storage="int8")
    basis = open_basis(tmp_path / "b").basis(torch.float64)
    assert isinstance(basis, PerLayer)
    assert basis.layers[Layer(0)].encoder.weight.dtype == torch.float64
    assert basis.layers[Layer(0)].encoder.weight is not basis.layers[Layer(0)].encoder.weight
