"""A basis by name: what is meant is found, what does not fit the model is refused with one sentence."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import micrographia as mg
from micrographia.bases import named
from micrographia.bases.formats.convert import save_basis
from micrographia.bases.formats.own import verify
from micrographia.bases.named import NEURONS, TRANSCODERS, choose_basis, shipped_folder
from micrographia.bases.neurons import Neurons
from micrographia.bases.transcoder import CrossLayer, PerLayer
from micrographia.corpus.encoding import tokenizer_sha256
from micrographia.errors import CallError, UnsupportedError
from micrographia.ids import Layer
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from micrographia.model.site import Point
from tests.bases.formats.samples import cross_layer, per_layer
from tests.bases.test_bases import check_equations, prompt
from tests.model.conftest import save_tiny


@pytest.fixture
def llama(tiny) -> Model:
    return tiny("llama")


def kept(folder: Path, fitting: Model, to: str = "micrographia", **facts: object) -> Path:
    save_basis(per_layer("jumprelu", d=fitting.anatomy.d_model, **facts), folder, to=to)
    return folder


@pytest.mark.parametrize(
    ("name", "basis"),
    [
        ("neurons", Neurons("half")),
        ("neurons:half", Neurons("half")),
        ("neurons:frozen-gate", Neurons("frozen-gate")),
        (None, Neurons("half")),
    ],
)
def test_neurons_have_names_and_are_what_a_model_without_transcoders_is_read_in(llama: Model, name, basis) -> None:
    chosen = choose_basis(llama, name)
    assert (chosen.basis, chosen.name, chosen.facts) == (basis, name or NEURONS, None)


@pytest.mark.parametrize("to", ["micrographia", "circuit-tracer", "saelens"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_of_any_tool_is_a_basis(llama: Model, tmp_path: Path, to: str, kind) -> None:
    folder = kept(tmp_path / "b", llama, to, model=llama.name)
    chosen = choose_basis(llama, kind(folder))
    assert (chosen.name, chosen.facts.model) == (str(folder), llama.name)
    assert isinstance(chosen.basis, PerLayer)
    assert chosen.basis.layers[Layer(1)].decoder.dtype == llama.dtype
    found = chosen.basis.decompose(freeze(llama, prompt(llama)))
    check_equations(llama, found)
    assert all(len(layer.feature) for layer in found.layers)


def test_what_reads_before_the_gain_is_brought_behind_it(llama: Model, tmp_path: Path) -> None:
    facts = choose_basis(llama, kept(tmp_path / "b", llama, input_norm="before-gain")).facts
    assert facts is not None
    assert facts.input_norm == "as-read"


def test_everything_that_is_known_and_right_is_let_in(llama: Model, tmp_path: Path) -> None:
    facts = {
        "model": f"somebody/{llama.name.upper()}@main",
        "model_layers": llama.anatomy.n_layers,
        "tokenizer_sha256": tokenizer_sha256(llama.tokenizer),
        "bos": "prepended" if llama.tokenizer.front() else "absent",
        "bos_token": next(iter(llama.tokenizer.front()), None),
    }
    assert choose_basis(llama, kept(tmp_path / "b", llama, **facts)).facts.model == facts["model"]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"model": "a/other"}, r"b was made for a/other, and this model is llama.*To use it all the same, give the"),
        ({"model_layers": 7}, r"b was made for a model of 7 layers, and llama\d* has 3\."),
        ({"tokenizer_sha256": "0" * 64}, "was made from the tokens of another tokenizer than that of llama"),
        ({"input_site": Point.RESID_MID}, "reads resid_mid and writes mlp_out"),
        ({"d": 6}, r"has 6 dimensions and layers up to 2; the model has 24 dimensions"),
        ({"layers": (0, 5)}, r"layers up to 5; the model has 24 dimensions and layers up to 2"),
    ],
)
def test_what_belongs_to_another_model_is_refused(
    llama: Model, tmp_path: Path, facts: dict[str, object], said: str
) -> None:
    save_basis(per_layer("jumprelu", **{"d": llama.anatomy.d_model, **facts}), tmp_path / "b")
    with pytest.raises(UnsupportedError, match=said):
        choose_basis(llama, tmp_path / "b")


def test_what_stood_in_front_must_stand_there_again(smollm2: mg.Microscope, tmp_path: Path) -> None:
    model = smollm2.model
    for name, facts, said in (
        ("absent", {"bos": "absent"}, r"with nothing in front, and prompts of smollm2 have <\|endoftext\|> there"),
        (
            "other",
            {"bos": "prepended", "bos_token": 1},
            r"with <\|im_start\|> in front, and prompts of smollm2 have <\|e",
        ),
        ("strange", {"bos": "prepended", "bos_token": 10**6}, r"with token 1000000 in front"),
    ):
        with pytest.raises(UnsupportedError, match=said):
            choose_basis(model, kept(tmp_path / name, model, **facts))
    for name, facts in (("right", {"bos": "prepended", "bos_token": 0}), ("some", {"bos": "prepended"}), ("none", {})):
        assert choose_basis(model, kept(tmp_path / name, model, **facts)).facts is not None
    bare = Model(model.name, model.anatomy, model.weights, model.tokenizer.literal())
    bare.tokenizer.bos = replace(model.tokenizer.bos, ids=())
    with pytest.raises(UnsupportedError, match="with a BOS in front, and prompts of smollm2 have nothing there"):
        choose_basis(bare, tmp_path / "some")


@pytest.mark.parametrize("make", [per_layer, cross_layer])
def test_a_basis_in_memory_is_taken_as_it_is_if_its_sizes_fit(llama: Model, make) -> None:
    basis = make(d=llama.anatomy.d_model).basis(torch.float64)
    chosen = choose_basis(llama, basis)
    assert chosen.basis is basis
    assert chosen.name == type(basis).__name__
    with pytest.raises(UnsupportedError, match="has 6 dimensions"):
        choose_basis(llama, make().basis(torch.float64))
    with pytest.raises(UnsupportedError, match=r"holds torch.float32 on cpu, and the model torch.float64 on cpu"):
        choose_basis(llama, make(d=llama.anatomy.d_model).basis())
    for empty in (PerLayer({}), CrossLayer({}, {}, {})):
        assert choose_basis(llama, empty).basis is empty


def test_a_name_that_means_nothing_is_refused_with_those_that_do(llama: Model, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for choice, said in (
        (
            "neurons:whole",
            "no basis 'neurons:whole': give a folder, or one of neurons, neurons:half, neurons:frozen-gate",
        ),
        (tmp_path / "file", "file is a file: give the folder"),
        (tmp_path / "empty", "empty holds nothing: no basis"),
        (TRANSCODERS, "There are no transcoders: none come along for llama"),
    ):
        with pytest.raises(CallError, match=said):
            choose_basis(llama, choice)


def test_a_set_that_comes_along_is_the_default_of_its_model_and_of_no_other(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, other = tiny("llama"), tiny("mistral")
    monkeypatch.setattr(named, "_SHELF", tmp_path)
    monkeypatch.setattr(named, "_SHIPPED", {model.name: "set"})
    with pytest.raises(CallError, match=r"this installation lacks those of llama.*basis='neurons'"):
        choose_basis(model, TRANSCODERS)
    assert choose_basis(model).name == NEURONS
    folder = kept(tmp_path / "set", model)
    assert shipped_folder(model) == folder
    for choice in (None, TRANSCODERS):
        chosen = choose_basis(model, choice)
        assert (chosen.name, type(chosen.basis)) == (TRANSCODERS, PerLayer)
    assert choose_basis(other).name == NEURONS
    assert shipped_folder(other) is None


LAZY = """
import sys
from micrographia.bases import named
from micrographia.bases.formats import own
from micrographia.model.frozen import freeze
from micrographia.model.load import load_model

restored, matrices = own.restored, []
def counted(tensor, scale):
    matrices.extend([1] * (tensor.ndim > 1))
    return restored(tensor, scale)
own.restored = counted
if len(sys.argv) > 3:
    named.free_memory = lambda device: 0
model = load_model(sys.argv[1])
basis = named.choose_basis(model, sys.argv[2]).basis
print(len(matrices))
for _ in range(2):
    basis.decompose(freeze(model, "t3 t14 t15"))
    print(len(matrices))
"""


@pytest.mark.parametrize("make", [per_layer, cross_layer])
def test_layers_stay_on_the_disk_until_they_are_used_and_then_in_memory_if_it_has_room(tmp_path: Path, make) -> None:
    """In a process of its own: the checks of shapes in this one take tensors that nobody asked for."""
    save_tiny("llama", tmp_path / "tiny")
    save_basis(make("topk", d=24, skip=True), tmp_path / "b", storage="int8")
    for more, counts in ((), [0, 9, 9]), (("no room",), [0, 9, 18]):
        command = [sys.executable, "-c", LAZY, str(tmp_path / "tiny"), str(tmp_path / "b"), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert [int(line) for line in done.stdout.split()] == counts


def test_the_embedded_models_own_set_fits_it(smollm2: mg.Microscope) -> None:
    """Where it came along; where it did not, the model is read in its neurons, and asking for it is a sentence."""
    folder, model = shipped_folder(), smollm2.model
    if folder is None:
        assert choose_basis(model).name == NEURONS
        with pytest.raises(CallError, match="this installation lacks those of smollm2"):
            choose_basis(model, TRANSCODERS)
        return
    verify(folder)
    chosen = choose_basis(model)
    assert chosen.name == TRANSCODERS
    assert chosen.facts is not None
    assert chosen.facts.tokenizer_sha256 in (None, tokenizer_sha256(model.tokenizer))
    found = chosen.basis.decompose(freeze(model, "The capital of France is"))
    run = model.run("The capital of France is", read=["mlp_out"])
    for layer, features in enumerate(found.layers):
        out = run[f"mlp_out.{layer}"][0]
        assert (found.rebuilt(layer) - out).norm() <= 1e-4 * out.norm()
        assert len(features.feature) > 0
