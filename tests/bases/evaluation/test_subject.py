"""Who may be evaluated, what is known of him, and what is refused."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from micrographia.bases.evaluation.baselines import calibrate
from micrographia.bases.evaluation.standin import CrossLayerStandIn, MlpView, NeuronStandIn, PerLayerStandIn
from micrographia.bases.evaluation.subject import Subject, baselines, neurons, rounding_loss, subject_from, subject_of
from micrographia.bases.formats.convert import save_basis
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.own import Micrographia
from micrographia.bases.formats.parts import BasisFile
from micrographia.bases.formats.storage import rounding
from micrographia.errors import CallError, ModelFileError, UnsupportedError
from micrographia.ids import Layer
from micrographia.model.model import Model
from micrographia.store import silent
from tests.bases.evaluation.bases import FEATURES, cross_layer, per_layer, some_passages


def file_of(model: Model, rule: str = "relu", **choices) -> BasisFile:
    return BasisFile.of(per_layer(model, rule, **choices), BasisFacts())


def test_a_folder_of_any_format_is_read(tiny, tmp_path: Path) -> None:
    model = tiny("llama")
    file = file_of(model, "jumprelu", skip=True)
    x = torch.randn(20, model.anatomy.d_model, dtype=torch.float64)
    expected = per_layer(model, "jumprelu", skip=True).layers[Layer(1)](x)
    for name in ("micrographia", "circuit-tracer", "saelens"):
        save_basis(file, tmp_path / name, to=name)
        found = subject_from(tmp_path / name, model, role="peer")
        assert (found.name, found.role, found.record.kind) == (name, "peer", "per-layer")
        written = found.stand_in.begin()(MlpView(Layer(1), x))
        assert torch.allclose(written.output, expected, atol=1e-4)
        assert found.features == dict.fromkeys((0, 1, 2), FEATURES)
        assert found.what == "per-layer, 120 features, with skip paths"
        for path, digest in found.record.files.items():
            assert hashlib.sha256((tmp_path / name / path).read_bytes()).hexdigest() == digest
        assert found.record.storage == ("fp32" if name == "micrographia" else None)


def test_a_cross_layer_basis_and_one_with_missing_layers(tiny) -> None:
    model = tiny("llama")
    crossed = subject_of(BasisFile.of(cross_layer(model), BasisFacts()), model, role="basis", name="c")
    assert isinstance(crossed.stand_in, CrossLayerStandIn)
    assert (crossed.record.layers, crossed.record.left_out) == ((0, 1, 2), ())
    assert crossed.features == {0: FEATURES, 2: FEATURES}
    single = subject_of(file_of(model, layers=(2,)), model, role="basis", name="s")
    assert isinstance(single.stand_in, PerLayerStandIn)
    assert (single.record.layers, single.record.left_out) == ((2,), (0, 1))


def test_a_basis_of_another_model_is_refused(tiny, tmp_path: Path) -> None:
    model = tiny("llama")
    other = replace(model.anatomy, d_model=32)
    save_basis(file_of(Model("wide", other, model.weights, model.tokenizer)), tmp_path / "wide")
    with pytest.raises(UnsupportedError, match=r"wide does not fit .*: The basis has 32 dimensions"):
        subject_from(tmp_path / "wide", model, role="basis")
    save_basis(file_of(model, layers=(1, 3)), tmp_path / "deep")
    with pytest.raises(UnsupportedError, match="layers up to 3"):
        subject_from(tmp_path / "deep", model, role="basis")
    with pytest.raises(CallError, match="nowhere is not there"):
        subject_from(tmp_path / "nowhere", model, role="basis")


def test_weights_that_are_no_numbers_are_refused(tiny) -> None:
    model = tiny("llama")
    basis = per_layer(model)
    basis.layers[Layer(1)].decoder[3, 4] = torch.nan
    with pytest.raises(ModelFileError, match="The decoder of layer 1 of broken holds 1 of 960 values"):
        subject_of(BasisFile.of(basis, BasisFacts()), model, role="basis", name="broken")


@pytest.mark.parametrize("case", ["llama", "gemma2"])
def test_baselines_have_as_many_active_neurons_and_the_same_layers(tiny, case: str) -> None:
    model = tiny(case)
    basis = subject_of(file_of(model, "topk", layers=(0, 2)), model, role="basis", name="b")
    passages = some_passages(*[12] * 20)
    calibration = calibrate(model, passages, basis.stand_in, tokens=100, progress=silent)
    found = {each.name: each for each in baselines(model, basis, calibration)}
    assert list(found) == ["neurons at equal L0", "linear", "mean", "zero"]
    assert all(each.stand_in.layers == (0, 2) for each in found.values())
    x = torch.randn(30, model.anatomy.d_model, dtype=torch.float64)
    active = found["neurons at equal L0"].stand_in.begin()(MlpView(Layer(2), x)).acts.count_nonzero(-1)
    assert (active >= calibration.active[Layer(2)]).all()
    assert (active <= calibration.active[Layer(2)] + 1).all()
    assert not found["zero"].stand_in.begin()(MlpView(Layer(0), x)).output.any()
    assert torch.equal(found["mean"].stand_in.begin()(MlpView(Layer(0), x)).output[3], calibration.means[Layer(0)])
    assert [each.moves for each in found.values()] == [True, True, False, False]


def test_neurons_are_not_compared_with_themselves(tiny) -> None:
    model = tiny("llama")
    basis = neurons(model)
    assert isinstance(basis.stand_in, NeuronStandIn)
    calibration = calibrate(model, some_passages(*[12] * 20), basis.stand_in, tokens=100, progress=silent)
    assert [each.name for each in baselines(model, basis, calibration)] == ["linear", "mean", "zero"]


def rounded_pair(model: Model, folder: Path) -> tuple[Subject, Subject]:
    save_basis(file_of(model), folder / "fine")
    save_basis(file_of(model), folder / "coarse", storage="int8")
    return subject_from(folder / "coarse", model, role="basis"), subject_from(folder / "fine", model, role="unrounded")


def test_rounding_is_weighed(tiny, tmp_path: Path) -> None:
    model = tiny("llama")
    coarse, fine = rounded_pair(model, tmp_path)
    assert coarse.record.storage == "int8"
    files = (Micrographia().read(tmp_path / name, _no_hints()) for name in ("fine", "coarse"))
    expected = rounding(*files)
    found = rounding_loss(coarse, fine)
    assert (found.overall, found.worst, found.where) == (expected.overall, expected.worst, expected.where)
    assert 0 < found.overall < 0.02


def test_only_the_same_basis_can_have_been_rounded(tiny, tmp_path: Path) -> None:
    model = tiny("llama")
    coarse, _ = rounded_pair(model, tmp_path)
    other = subject_of(file_of(model, layers=(0, 1)), model, role="unrounded", name="other")
    with pytest.raises(CallError, match=r"other .* cannot be what coarse .* was rounded from.* --peer"):
        rounding_loss(coarse, other)
    with pytest.raises(CallError, match="neurons"):
        rounding_loss(neurons(model), other)


def _no_hints():
    from micrographia.bases.formats.format import Hints

    return Hints()
