"""sparsify's folders: what is read, what is refused, what is written."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from micrographia.bases.activation import Relu, TopK
from micrographia.bases.formats.convert import compare, convert, open_basis, save_basis
from micrographia.errors import MicrographiaError, UnsupportedError
from micrographia.model.site import Point
from tests.bases.formats.samples import D, F, cross_layer, per_layer


def configured(folder: Path, **changes: object) -> None:
    path = folder / "layers.1.mlp" / "cfg.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: its for key, its in config.items() if its is not None}))


def test_the_files_are_theirs(tmp_path: Path) -> None:
    file = per_layer("topk", skip=True, layers=(1, 4), model="a/model")
    save_basis(file, tmp_path / "x", to="sparsify")
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["layers.1.mlp", "layers.4.mlp"]
    place = tmp_path / "x" / "layers.4.mlp"
    assert {name: tuple(tensor.shape) for name, tensor in load_file(place / "sae.safetensors").items()} == {
        "encoder.weight": (F, D),
        "encoder.bias": (F,),
        "W_dec": (F, D),
        "b_dec": (D,),
        "W_skip": (D, D),
    }
    config = json.loads((place / "cfg.json").read_text())
    assert [config[key] for key in ("k", "d_in", "num_latents", "transcode", "skip_connection")] == [
        3,
        D,
        F,
        True,
        True,
    ]
    back = open_basis(tmp_path / "x")
    assert back.facts.model_copy(update={"foreign": {}}) == file.facts
    assert compare(file, back).equal
    assert back.layers[4].rule == TopK(3)


def test_relu_is_all_features(tmp_path: Path) -> None:
    save_basis(per_layer("relu"), tmp_path / "x", to="sparsify")
    assert json.loads((tmp_path / "x" / "layers.0.mlp" / "cfg.json").read_text())["k"] == F
    assert open_basis(tmp_path / "x").layers[0].rule == Relu()


def test_their_own_words_are_kept(tmp_path: Path) -> None:
    save_basis(per_layer("topk", layers=(1,)), tmp_path / "x", to="sparsify")
    configured(tmp_path / "x", normalize_decoder=True, micrographia=None)
    (tmp_path / "x" / "layers.1.mlp").rename(tmp_path / "x" / "h.1.mlp")
    convert(tmp_path / "x", tmp_path / "ours", "micrographia")
    convert(tmp_path / "ours", tmp_path / "y", "sparsify")
    assert json.loads((tmp_path / "y" / "h.1.mlp" / "cfg.json").read_text())["normalize_decoder"] is True


def test_the_width_may_be_said_by_a_factor(tmp_path: Path) -> None:
    save_basis(per_layer("topk", n=2 * D, layers=(1,)), tmp_path / "x", to="sparsify")
    configured(tmp_path / "x", num_latents=0, expansion_factor=2)
    assert open_basis(tmp_path / "x").n_features(1) == 2 * D


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"transcode": False}, "this is an autoencoder of one site"),
        ({"transcode": None}, "lacks transcode"),
        ({"activation": "groupmax"}, "has the activation 'groupmax'"),
        ({"signed": True}, "has signed, which nothing here understands"),
        ({"k": 0}, "has k = 0; it must be a whole number above 0"),
        ({"d_in": 7}, r"holds 10 features of 6 dimensions without a skip path; its cfg.json says .* 7 dimensions"),
        ({"num_latents": 11}, "its cfg.json says 11 features"),
        ({"skip_connection": True}, "skip_connection True"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    save_basis(per_layer("topk"), tmp_path / "x", to="sparsify")
    configured(tmp_path / "x", **change)
    with pytest.raises(MicrographiaError, match=said):
        open_basis(tmp_path / "x")


def test_a_folder_whose_layer_cannot_be_told_is_refused(tmp_path: Path) -> None:
    save_basis(per_layer("topk"), tmp_path / "x", to="sparsify")
    (tmp_path / "x" / "layers.1.mlp").rename(tmp_path / "x" / "layers.1")
    with pytest.raises(UnsupportedError, match=r"holds layers\.1/sae\.safetensors, whose layer cannot be told"):
        open_basis(tmp_path / "x")


def test_what_it_cannot_hold_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="the thresholds of 3 layers become zero"):
        save_basis(per_layer("batchtopk"), tmp_path / "x", to="sparsify")
    with pytest.raises(UnsupportedError, match="this basis is a cross-layer one"):
        save_basis(cross_layer(), tmp_path / "x", to="sparsify")
    with pytest.raises(UnsupportedError, match=r"the input site resid_mid .*: sparsify reads the input of a module"):
        save_basis(per_layer(input_site=Point.RESID_MID), tmp_path / "x", to="sparsify")


def test_thresholds_of_zero_are_relu(tmp_path: Path) -> None:
    file = per_layer("jumprelu")
    for each in file.layers.values():
        each.parts["threshold"].zero_()
    save_basis(file, tmp_path / "x", to="sparsify")
    assert compare(file, open_basis(tmp_path / "x")).equal


def test_bf16_is_bf16_throughout(tmp_path: Path) -> None:
    """sparsify takes the dtype of the first tensor for all of them."""
    save_basis(per_layer("topk"), tmp_path / "ours")
    assert convert(tmp_path / "ours", tmp_path / "x", "sparsify", storage="bf16", check=True).sound
    tensors = load_file(tmp_path / "x" / "layers.0.mlp" / "sae.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    tensors["b_dec"] = tensors["b_dec"] * float("inf")
    save_file(tensors, tmp_path / "x" / "layers.0.mlp" / "sae.safetensors")
    with pytest.raises(MicrographiaError, match=r"b_dec in .* holds 6 of 6 values that are NaN or infinite"):
        compare(open_basis(tmp_path / "x"), per_layer("topk"))


def test_the_settings_of_the_run_are_read(tmp_path: Path) -> None:
    save_basis(per_layer("topk"), tmp_path / "x", to="sparsify")
    run = {"model": "a/model", "revision": None, "dataset": "some/text", "lr": 0.1, "hf_token": "secret"}
    (tmp_path / "x" / "config.json").write_text(json.dumps(run))
    facts = open_basis(tmp_path / "x").facts
    assert (facts.model, facts.model_revision, facts.dataset) == ("a/model", None, "some/text")
    assert facts.training == {"model": "a/model", "revision": None, "dataset": "some/text", "lr": 0.1}
