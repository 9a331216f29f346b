"""Any format to any other: recognised, exact or refused, checked."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micrographia.bases.formats.convert import FORMATS, compare, convert, detect, format_named, open_basis, save_basis
from micrographia.bases.formats.parts import BasisFile
from micrographia.errors import CallError, MicrographiaError, UnsupportedError
from tests.bases.formats.samples import RULES, cross_layer, per_layer

WRITABLE = ("micrographia", "circuit-tracer", "saelens", "sparsify")
HOLDS = {
    "micrographia": set(RULES),
    "circuit-tracer": {"relu", "jumprelu", "batchtopk"},
    "saelens": {"relu", "jumprelu", "batchtopk"},
    "sparsify": {"relu", "topk"},
}


@settings(max_examples=20)
@given(
    kind=st.sampled_from(RULES),
    path=st.lists(st.sampled_from(WRITABLE), min_size=1, max_size=4),
    skip=st.booleans(),
    n=st.integers(1, 9),
    d=st.integers(1, 7),
    layers=st.integers(1, 4),
)
def test_any_way_round_is_exact_or_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: str, path: list[str], skip: bool, n: int, d: int, layers: int
) -> None:
    folder = tmp_path_factory.mktemp("way")
    file = per_layer(kind, skip=skip, n=n, d=d, layers=tuple(range(layers)), model="a/model", bos="prepended")
    save_basis(file, folder / "0")
    for step, to in enumerate(path):
        held = kind in HOLDS[to] or (kind == "topk" and n <= 3)
        if not held:
            with pytest.raises(UnsupportedError, match="--lossy"):
                convert(folder / str(step), folder / str(step + 1), to)
            return
        convert(folder / str(step), folder / str(step + 1), to, check=True)
        back = open_basis(folder / str(step + 1))
        found = compare(file, back)
        assert found.activations == 0
        assert found.outputs <= 1e-5 * max(1, found.largest_output)
        assert (back.facts.model, back.facts.bos, back.facts.skip) == ("a/model", "prepended", file.facts.skip)


@pytest.mark.parametrize("kind", RULES)
def test_a_cross_layer_basis_goes_to_circuit_tracer_and_back(tmp_path: Path, kind: str) -> None:
    save_basis(cross_layer(kind), tmp_path / "a")
    done = convert(tmp_path / "a", tmp_path / "b", "circuit-tracer", lossy=True, check=True)
    assert done.sound
    assert done.changed is not None
    assert (done.lost == ()) == done.changed.equal == (kind != "topk")
    assert convert(tmp_path / "b", tmp_path / "c", "micrographia", check=True).sound


def test_every_format_is_found_by_its_name_and_by_looking(tmp_path: Path) -> None:
    for name in WRITABLE:
        save_basis(per_layer(), tmp_path / name, to=name)
        assert detect(tmp_path / name).name == name
    assert [format_named(each.name) for each in FORMATS] == list(FORMATS)
    with pytest.raises(CallError, match="There is no format 'zip'; there are micrographia, circuit-tracer"):
        format_named("zip")


def test_what_is_not_recognised_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").write_text("x")
    for name, said in (
        ("file", "file is a file: give the folder"),
        ("nowhere", "nowhere is not there: give the folder"),
        ("empty", "empty holds nothing: no basis in a format that is known here"),
        ("other", r"other holds model\.safetensors: no basis"),
    ):
        with pytest.raises(MicrographiaError, match=said):
            detect(tmp_path / name)


def test_what_looks_like_two_things_is_asked_about(tmp_path: Path) -> None:
    save_basis(per_layer(), tmp_path / "x", to="sparsify")
    save_basis(per_layer(layers=(0,)), tmp_path / "x" / "more", to="saelens")
    with pytest.raises(CallError, match=r"more than one thing .*: say --from saelens or --from sparsify"):
        detect(tmp_path / "x")
    assert detect(tmp_path / "x", "sparsify").name == "sparsify"


@pytest.mark.parametrize("storage", ["bf16", "int8"])
def test_storage_costs_what_is_said_and_no_more(tmp_path: Path, storage) -> None:
    save_basis(per_layer("topk", skip=True), tmp_path / "a")
    done = convert(tmp_path / "a", tmp_path / "b", "micrographia", storage=storage, check=True)
    assert done.sound
    assert done.rounding is not None
    assert 0 < done.rounding.overall < 0.02
    assert done.written is not None
    assert done.written.equal
    assert done.changed is not None
    assert not done.changed.equal


def test_int8_is_only_ours(tmp_path: Path) -> None:
    save_basis(per_layer(), tmp_path / "a")
    with pytest.raises(CallError, match="saelens has no int8 with scales"):
        convert(tmp_path / "a", tmp_path / "b", "saelens", storage="int8")


def test_a_target_that_is_there_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(CallError, match="b is there already"):
        convert(tmp_path / "nowhere", tmp_path / "b", "micrographia")


def damaged(file: BasisFile, role: str) -> BasisFile:
    layers = {
        layer: each.changed(lambda its, part: part * 1.001 if its == role else part) if layer == 1 else each
        for layer, each in file.layers.items()
    }
    return BasisFile(file.kind, layers, file.facts)


@pytest.mark.parametrize("role", ["encoder", "encoder_bias", "decoder", "bias", "skip", "threshold"])
def test_the_check_sees_a_thousandth_in_any_tensor(role: str) -> None:
    file = per_layer("jumprelu", skip=True)
    found = compare(file, damaged(file, role))
    assert not found.equal or role == "threshold"
    assert compare(file, file).equal


def test_nothing_that_fires_is_nothing_that_was_compared() -> None:
    file = per_layer("jumprelu")
    for each in file.layers.values():
        each.parts["threshold"].fill_(1e9)
    assert not compare(file, file).equal
