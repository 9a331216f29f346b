"""Gemma Scope's files, both generations, made here as they lie on the hub."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from micrographia.bases.formats.convert import compare, convert, open_basis, save_basis
from micrographia.bases.formats.format import Hints
from micrographia.bases.formats.parts import BasisFile
from micrographia.errors import MicrographiaError, UnsupportedError
from micrographia.ids import Layer
from tests.bases.formats.samples import D, F, cross_layer, per_layer


def first(folder: Path, file: BasisFile, **changes: np.ndarray) -> Path:
    for layer, each in file.layers.items():
        place = folder / f"layer_{layer}" / "width_16k" / "average_l0_9"
        place.mkdir(parents=True)
        arrays = {
            "W_enc": each.parts["encoder"].T.numpy(),
            "W_dec": each.parts["decoder"].numpy(),
            "b_enc": each.parts["encoder_bias"].numpy(),
            "b_dec": each.parts["bias"].numpy(),
            "threshold": each.parts["threshold"].numpy(),
        }
        np.savez(place / "params.npz", **(arrays | changes))
    return folder


def second(folder: Path, file: BasisFile, name: str, config: dict[str, object] | None = None) -> Path:
    for layer, each in file.layers.items():
        place = folder / name.format(layer=layer)
        place.parent.mkdir(parents=True, exist_ok=True)
        tensors = {
            "w_enc": each.parts["encoder"].T.contiguous(),
            "b_enc": each.parts["encoder_bias"],
            "b_dec": each.parts["bias"],
            "threshold": each.parts["threshold"],
        }
        if file.kind == "per-layer":
            tensors["w_dec"] = each.parts["decoder"]
        else:
            whole = torch.randn(F, 3, D)  # what it writes to earlier layers is there, and means nothing
            whole[:, layer:] = each.parts["decoders"].permute(1, 0, 2)
            tensors["w_dec"] = whole
        if "skip" in each.parts:
            tensors["affine_skip_connection"] = each.parts["skip"].T.contiguous()
        save_file(tensors, place)
        if config is not None:
            (place.parent / "config.json").write_text(json.dumps(config))
    return folder


def test_the_first_is_read(tmp_path: Path) -> None:
    file = per_layer("jumprelu", layers=(3, 12))
    back = open_basis(first(tmp_path / "x", file), hints=Hints(model="google/gemma-2-2b"))
    assert (back.coding, back.facts.input_norm, back.facts.model) == ((3, 12), "before-gain", "google/gemma-2-2b")
    assert compare(file, back).equal


def test_the_first_is_converted_for_circuit_tracer(tmp_path: Path) -> None:
    first(tmp_path / "x", per_layer("jumprelu"))
    done = convert(tmp_path / "x", tmp_path / "y", "circuit-tracer", check=True)
    assert done.sound
    assert "ln2.hook_normalized" in (tmp_path / "y" / "config.yaml").read_text()


def test_two_widths_of_one_layer_are_refused(tmp_path: Path) -> None:
    folder = first(tmp_path / "x", per_layer("jumprelu"))
    (folder / "layer_1" / "width_16k" / "average_l0_9").rename(folder / "layer_1" / "width_16k" / "average_l0_8")
    first(tmp_path / "z", per_layer("jumprelu"))
    (tmp_path / "z" / "layer_1" / "width_16k" / "average_l0_9").rename(
        folder / "layer_1" / "width_16k" / "average_l0_9"
    )
    with pytest.raises(MicrographiaError, match=r"average_l0_8/params\.npz and .*, both of layer 1"):
        open_basis(folder)
    assert open_basis(folder / "layer_1" / "width_16k" / "average_l0_9").coding == (1,)


def test_arrays_that_are_wrong_are_refused(tmp_path: Path) -> None:
    cases = {
        "objects": (np.array([{"a": 1}, None], dtype=object), "is not a whole npz file of numbers|it must be"),
        "integers": (np.ones(F, dtype=np.int64), "threshold in .* holds torch.int64"),
        "shapes": (np.ones(F + 1, dtype=np.float32), r"feature is 11 here and 10 in W_enc"),
        "nan": (np.full(F, np.nan, dtype=np.float32), "holds 10 of 10 values that are NaN"),
    }
    for name, (threshold, said) in cases.items():
        folder = first(tmp_path / name, per_layer("jumprelu", layers=(0,)), threshold=threshold)
        with pytest.raises(MicrographiaError, match=said):
            dict(open_basis(folder).layers[Layer(0)].parts)


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    folder = first(tmp_path / "x", per_layer("jumprelu", layers=(0,)))
    path = next(folder.rglob("params.npz"))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(MicrographiaError, match=r"params\.npz is not a whole npz file of numbers"):
        open_basis(folder)


CONFIG = {
    "architecture": "jump_relu",
    "model_name": "google/gemma-3-1b-pt",
    "hf_hook_point_in": "model.layers.0.pre_feedforward_layernorm.output",
    "hf_hook_point_out": "model.layers.0.post_feedforward_layernorm.output",
}


@pytest.mark.parametrize("skip", [False, True])
def test_the_second_is_read(tmp_path: Path, skip: bool) -> None:
    file = per_layer("jumprelu", skip=skip, layers=(3, 12))
    name = "transcoder/layer_{layer}_width_16k_l0_small/params.safetensors"
    back = open_basis(second(tmp_path / "x", file, name, CONFIG))
    assert (back.facts.model, back.facts.input_norm, back.facts.skip) == (
        "google/gemma-3-1b-pt",
        "as-read",
        "in-output" if skip else "none",
    )
    assert compare(file, back).equal


@pytest.mark.parametrize("skip", [False, True])
def test_the_second_is_read_cross_layer_with_its_last_layer(tmp_path: Path, skip: bool) -> None:
    file = cross_layer("jumprelu", skip=skip)
    folder = second(tmp_path / "x", file, "clt/width_262k_l0_big/params_layer_{layer}.safetensors")
    back = open_basis(folder)
    assert (back.kind, back.coding, back.skipping) == ("cross-layer", (0, 1, 2), (0, 1, 2) if skip else ())
    assert back.facts.skip == ("in-output" if skip else "none")
    assert compare(file, back).equal
    if skip:
        convert(folder, tmp_path / "y", "micrographia", check=True)
        with pytest.raises(UnsupportedError, match="the skip paths of 3 layers are left out"):
            convert(folder, tmp_path / "z", "circuit-tracer")
    shorter = load_file(folder / "clt/width_262k_l0_big/params_layer_1.safetensors")
    shorter["w_dec"] = shorter["w_dec"][:, 1:].contiguous()
    save_file(shorter, folder / "clt/width_262k_l0_big/params_layer_1.safetensors")
    with pytest.raises(MicrographiaError, match="whose layer 1 has decoders to 2 layers, and its first layer to 3"):
        open_basis(folder)
    (folder / "clt/width_262k_l0_big/params_layer_2.safetensors").unlink()
    with pytest.raises(MicrographiaError, match="a cross-layer transcoder of 3 layers; missing are 2"):
        open_basis(folder)


def test_settings_of_the_second_that_mean_something_else_are_refused(tmp_path: Path) -> None:
    for key, value in (("hf_hook_point_in", "model.layers.0.output"), ("architecture", "topk")):
        name = "layer_{layer}_width_16k_l0_small/params.safetensors"
        folder = second(tmp_path / key, per_layer("jumprelu"), name, CONFIG | {key: value})
        with pytest.raises(UnsupportedError, match=str(value)):
            open_basis(folder)


@pytest.mark.parametrize("to", ["gemma-scope", "gemma-scope-2"])
def test_neither_is_written(tmp_path: Path, to: str) -> None:
    with pytest.raises(UnsupportedError, match="is read here, and not written"):
        save_basis(per_layer("jumprelu"), tmp_path / "x", to=to)
