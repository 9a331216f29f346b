"""circuit-tracer's folders: what is read, what is refused, what is written."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from micrographia.bases.formats.convert import compare, convert, open_basis, save_basis
from micrographia.bases.formats.format import Hints
from micrographia.bases.formats.parts import BasisFile
from micrographia.errors import MicrographiaError, UnsupportedError
from micrographia.model.site import Point
from tests.bases.formats.samples import D, F, cross_layer, per_layer


def written(folder: Path, file: BasisFile) -> Path:
    save_basis(file, folder, to="circuit-tracer")
    return folder


def configured(folder: Path, **changes: object) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text()) | changes
    (folder / "config.yaml").write_text(yaml.safe_dump({key: its for key, its in config.items() if its is not None}))


def test_the_files_are_theirs(tmp_path: Path) -> None:
    file = per_layer("jumprelu", skip=True, model="a/model", input_norm="before-gain", dataset="d")
    folder = written(tmp_path / "x", file)
    assert {name: tuple(tensor.shape) for name, tensor in load_file(folder / "layer_2.safetensors").items()} == {
        "W_enc": (F, D),
        "b_enc": (F,),
        "W_dec": (F, D),
        "b_dec": (D,),
        "W_skip": (D, D),
        "activation_function.threshold": (F,),
    }
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["model_kind"] == "transcoder_set"
    assert config["feature_input_hook"] == "ln2.hook_normalized"
    back = open_basis(folder)
    assert back.facts.model_copy(update={"foreign": {}}) == file.facts
    assert compare(file, back).equal


def test_the_files_of_a_cross_layer_transcoder_are_theirs(tmp_path: Path) -> None:
    file = cross_layer("jumprelu", input_site=Point.RESID_MID)
    folder = written(tmp_path / "x", file)
    assert load_file(folder / "W_dec_1.safetensors")["W_dec_1"].shape == (F, 2, D)
    assert set(load_file(folder / "W_enc_1.safetensors")) == {"W_enc_1", "b_enc_1", "b_dec_1", "threshold_1"}
    assert yaml.safe_load((folder / "config.yaml").read_text())["feature_input_hook"] == "hook_resid_mid"
    assert compare(file, open_basis(folder)).equal


def test_their_own_words_are_kept(tmp_path: Path) -> None:
    folder = written(tmp_path / "x", per_layer())
    configured(folder, scan="a/scan", feature_output_hook="mlp.hook_out", micrographia=None)
    convert(folder, tmp_path / "ours", "micrographia")
    convert(tmp_path / "ours", tmp_path / "y", "circuit-tracer")
    config = yaml.safe_load((tmp_path / "y" / "config.yaml").read_text())
    assert (config["scan"], config["feature_output_hook"]) == ("a/scan", "mlp.hook_out")


def test_without_a_config_a_person_says_the_sites(tmp_path: Path) -> None:
    folder = written(tmp_path / "x", per_layer())
    (folder / "config.yaml").unlink()
    with pytest.raises(UnsupportedError, match=r"nothing says what its encoders read.*--input-site and --output-site"):
        open_basis(folder)
    hints = Hints(input_site=Point.RESID_MID, output_site=Point.MLP_OUT)
    assert open_basis(folder, hints=hints).facts.input_site == Point.RESID_MID


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_kind": "sae"}, "is of the kind 'sae'; known are transcoder_set, cross_layer_transcoder"),
        ({"model_kind": "cross_layer_transcoder"}, r"or W_enc_0\.safetensors and so on for a cross-layer"),
        ({"flavour": "mint"}, "has flavour, which nothing here understands"),
        ({"feature_input_hook": None}, "lacks feature_input_hook"),
        ({"feature_input_hook": "attn.hook_z"}, "says 'attn.hook_z', and the hooks that are understood"),
        ({"transcoders": ["elsewhere"]}, "lists files that lie elsewhere"),
        ({"micrographia": {"smell": 1}}, "has a part 'micrographia' that cannot be understood"),
    ],
)
def test_settings_that_are_not_understood_are_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    folder = written(tmp_path / "x", per_layer())
    configured(folder, **change)
    with pytest.raises(MicrographiaError, match=said):
        open_basis(folder)


def test_a_missing_layer_is_named(tmp_path: Path) -> None:
    folder = written(tmp_path / "x", per_layer())
    (folder / "layer_1.safetensors").unlink()
    with pytest.raises(MicrographiaError, match="lacks the file of layer 1; circuit-tracer needs every layer"):
        open_basis(folder)
    folder = written(tmp_path / "y", cross_layer())
    (folder / "W_dec_1.safetensors").unlink()
    with pytest.raises(MicrographiaError, match=r"W_dec_1\.safetensors cannot be read: No such file"):
        open_basis(folder)


def test_decoders_that_reach_too_far_or_not_far_enough_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "x", cross_layer())
    save_file({"W_dec_1": torch.ones(F, 3, D)}, folder / "W_dec_1.safetensors")
    with pytest.raises(
        MicrographiaError, match=r"has shape \(10, 3, 6\); it must be \(10, 2, 6\) \[feature to d_model\]"
    ):
        open_basis(folder)


def test_negative_thresholds_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path / "x", per_layer("jumprelu"))
    tensors = load_file(folder / "layer_0.safetensors")
    tensors["activation_function.threshold"][3] = -1
    save_file(tensors, folder / "layer_0.safetensors")
    with pytest.raises(UnsupportedError, match="has negative thresholds, which let negative activations through"):
        open_basis(folder)


def test_gaps_are_filled_only_when_told(tmp_path: Path) -> None:
    file = per_layer("relu", skip=True, layers=(0, 2))
    save_basis(file, tmp_path / "ours")
    with pytest.raises(UnsupportedError, match=r"that layers 1 have no features cannot be said.*--lossy"):
        convert(tmp_path / "ours", tmp_path / "x", "circuit-tracer")
    assert not (tmp_path / "x").exists()
    done = convert(tmp_path / "ours", tmp_path / "x", "circuit-tracer", lossy=True, check=True)
    assert done.sound
    assert done.changed is not None
    assert done.changed.equal
    assert len(done.lost) == 1
    assert "W_skip" in load_file(tmp_path / "x" / "layer_1.safetensors")


def test_mixed_layers_get_what_the_others_have(tmp_path: Path) -> None:
    one, other = per_layer("relu"), per_layer("jumprelu", skip=True)
    file = BasisFile("per-layer", {**one.layers, **{i: other.layers[i] for i in other.layers if i == 1}}, one.facts)
    assert compare(file, open_basis(written(tmp_path / "x", file))).equal
    assert "W_skip" in load_file(tmp_path / "x" / "layer_0.safetensors")


def test_a_site_without_a_hook_is_a_loss(tmp_path: Path) -> None:
    file = per_layer(output_site=Point.MLP_POST_NORM_IN)
    with pytest.raises(UnsupportedError, match="the output site mlp_post_norm_in has no hook there"):
        save_basis(file, tmp_path / "x", to="circuit-tracer")
