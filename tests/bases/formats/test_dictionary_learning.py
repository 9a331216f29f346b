"""dictionary_learning's folders: read when a person says what they are, and never run."""

import json
from pathlib import Path

import pytest
import torch

from micrographia.bases.activation import BatchTopK, Relu, TopK
from micrographia.bases.formats.convert import open_basis, save_basis
from micrographia.bases.formats.format import Hints
from micrographia.bases.formats.parts import BasisFile
from micrographia.bases.transcoder import PerLayer
from micrographia.errors import MicrographiaError, ModelFileError, UnsupportedError
from micrographia.ids import Layer
from tests.bases.formats.samples import D, F, per_layer

SAID = Hints(transcoder=True)


def made(folder: Path, kind: str, state: object, layer: int = 5) -> Path:
    folder.mkdir()
    torch.save(state, folder / "ae.pt")
    config = {"trainer": {"dict_class": kind, "layer": layer, "lm_name": "a/model", "k": 3}, "buffer": {"ctx_len": 128}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def third(folder: Path, file: BasisFile) -> None:
    """A whole basis in their files; two of their classes subtract the output bias first."""
    classes = {Relu: "AutoEncoderNew", TopK: "AutoEncoderTopK", BatchTopK: "BatchTopKSAE"}
    folder.mkdir()
    for layer, each in file.layers.items():
        parts, rule = each.parts, each.rule
        if "threshold" in parts:
            state = {"W_enc": parts["encoder"].T, "b_enc": parts["encoder_bias"], "W_dec": parts["decoder"]}
            more = {"b_dec": parts["bias"], "threshold": parts["threshold"]}
            made(folder / f"trainer_{layer}", "JumpReluAutoEncoder", state | more, layer)
            continue
        subtracted = parts["encoder"] @ parts["bias"] if rule != Relu() else 0
        state = {"encoder.weight": parts["encoder"], "encoder.bias": parts["encoder_bias"] + subtracted}
        state |= {"decoder.weight": parts["decoder"].T, "decoder.bias" if rule == Relu() else "b_dec": parts["bias"]}
        numbers = {name: torch.tensor(getattr(rule, name)) for name in ("k", "threshold") if hasattr(rule, name)}
        made(folder / f"trainer_{layer}", classes[type(rule)], state | numbers, layer)


def weights() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(F, D), torch.randn(F), torch.randn(D, F), torch.randn(D)


def layer_of(folder: Path):
    basis = open_basis(folder, hints=SAID).basis()
    assert isinstance(basis, PerLayer)
    return basis.layers[Layer(5)]


def test_a_person_must_say_that_it_is_a_transcoder(tmp_path: Path) -> None:
    encoder, bias, decoder, b_dec = weights()
    state = {"encoder.weight": encoder, "encoder.bias": bias, "decoder.weight": decoder, "bias": b_dec}
    folder = made(tmp_path / "x", "AutoEncoder", state)
    with pytest.raises(UnsupportedError, match=r"may as well be an autoencoder of one site .* say --transcoder"):
        open_basis(folder)
    x = torch.randn(7, D)
    acts = ((x - b_dec) @ encoder.T + bias).relu()
    found = layer_of(folder)
    assert torch.allclose(found.encoder(x), acts, atol=1e-5)
    assert torch.allclose(found(x), acts @ decoder.T + b_dec, atol=1e-5)
    assert open_basis(folder, hints=SAID).facts.model == "a/model"


def test_an_encoder_that_subtracts_nothing_is_left_alone(tmp_path: Path) -> None:
    encoder, bias, decoder, b_dec = weights()
    state = {"encoder.weight": encoder, "encoder.bias": bias, "decoder.weight": decoder, "decoder.bias": b_dec}
    found = layer_of(made(tmp_path / "x", "AutoEncoderNew", state))
    assert torch.equal(found.encoder.bias, bias)
    assert found.encoder.rule == Relu()


@pytest.mark.parametrize(("kind", "rule"), [("AutoEncoderTopK", TopK(3)), ("BatchTopKSAE", BatchTopK(3, 0.5))])
def test_topk_is_read(tmp_path: Path, kind: str, rule: object) -> None:
    encoder, bias, decoder, b_dec = weights()
    state = {
        "encoder.weight": encoder,
        "encoder.bias": bias,
        "decoder.weight": decoder,
        "b_dec": b_dec,
        "k": torch.tensor(3),
        "threshold": torch.tensor(0.5),
    }
    found = layer_of(made(tmp_path / "x", kind, state))
    assert found.encoder.rule == rule
    assert torch.allclose(found.encoder.bias, bias - encoder @ b_dec, atol=1e-5)
    del state["k"]
    with pytest.raises(ModelFileError, match="must hold one number 'k'"):
        layer_of(made(tmp_path / "y", kind, state))


def test_jumprelu_is_read(tmp_path: Path) -> None:
    encoder, bias, decoder, b_dec = weights()
    state = {"W_enc": encoder.T, "b_enc": bias, "W_dec": decoder.T, "b_dec": b_dec, "threshold": torch.rand(F)}
    x = torch.randn(7, D)
    pre = x @ encoder.T + bias
    found = layer_of(made(tmp_path / "x", "JumpReluAutoEncoder", state))
    assert torch.allclose(found.encoder(x), (pre * (pre > state["threshold"])).relu(), atol=1e-5)


def test_one_folder_per_layer(tmp_path: Path) -> None:
    encoder, bias, decoder, b_dec = weights()
    state = {"encoder.weight": encoder, "encoder.bias": bias, "decoder.weight": decoder, "bias": b_dec}
    (tmp_path / "all").mkdir()
    for layer in (1, 2):
        made(tmp_path / "all" / f"trainer_{layer}", "AutoEncoder", state, layer)
    assert open_basis(tmp_path / "all", hints=SAID).coding == (1, 2)


class Stranger:
    """What a pickle must not be able to make."""


def test_a_pickle_that_wants_to_call_something_is_not_opened(tmp_path: Path) -> None:
    folder = made(tmp_path / "x", "AutoEncoder", Stranger())
    with pytest.raises(UnsupportedError, match=r"ae\.pt is a pickle that wants to call .*Stranger"):
        open_basis(folder, hints=SAID)


def test_old_broken_and_strange_files_are_refused(tmp_path: Path) -> None:
    folder = made(tmp_path / "old", "AutoEncoder", {})
    torch.save({"a": torch.ones(2)}, folder / "ae.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(MicrographiaError, match="is no whole file of torch's zip format"):
        open_basis(folder, hints=SAID)
    (folder / "ae.pt").write_bytes(b"junk")
    with pytest.raises(ModelFileError, match="is no whole file of torch's zip format"):
        open_basis(folder, hints=SAID)
    for name, state, said in (
        ("list", [1, 2], "holds a list and not a dictionary"),
        ("strange", {"encoder.weight": 3}, "holds encoder.weight, which are no tensors"),
        ("empty", {}, "lacks encoder.weight, encoder.bias, decoder.weight, bias"),
    ):
        with pytest.raises(ModelFileError, match=said):
            open_basis(made(tmp_path / name, "AutoEncoder", state), hints=SAID)


def test_an_unknown_class_is_refused(tmp_path: Path) -> None:
    folder = made(tmp_path / "x", "GatedAutoEncoder", {})
    with pytest.raises(UnsupportedError, match="says the class 'GatedAutoEncoder'; known are AutoEncoder, "):
        open_basis(folder, hints=SAID)


def test_it_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="are read here, and not written"):
        save_basis(per_layer(), tmp_path / "x", to="dictionary-learning")
