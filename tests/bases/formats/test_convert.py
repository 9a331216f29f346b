"""Any format to any other: recognised, exact or refused, checked."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micrographia.bases.formats.convert import (
    FORMATS,
    basis_files,
    compare,
    convert,
    detect,
    format_named,
    open_basis,
    save_basis,
)
from micrographia.bases.formats.format import Hints
from micrographia.bases.formats.parts import BasisFile
from micrographia.errors import CallError, MicrographiaError, UnsupportedError, WorkError
from tests.bases.formats.damaged import DAMAGED, verdicts
from tests.bases.formats.samples import RULES, cross_layer, per_layer
from tests.bases.formats.test_dictionary_learning import third
from tests.bases.formats.test_gemma_scope import first, second

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


LAID_DOWN: dict[str, Callable[[BasisFile, Path], object]] = {
    **{name: lambda file, folder, name=name: save_basis(file, folder, to=name) for name in WRITABLE},
    "gemma-scope": lambda file, folder: first(folder, file),
    "gemma-scope-2": lambda file, folder: second(folder, file, "l/params_layer_{layer}.safetensors"),
    "dictionary-learning": lambda file, folder: third(folder, file),
}
"""Every format that is read, and how a basis comes to lie in it."""

SHAPES = ("per-layer", "per-layer with skip", "cross-layer", "cross-layer with skip")
LOOSE = {"relu", "topk", "jumprelu", "batchtopk"}
CAN: dict[str, tuple[set[str], int]] = {
    "micrographia": (LOOSE, 4),
    "circuit-tracer": (LOOSE - {"topk"}, 3),
    "saelens": (LOOSE - {"topk"}, 2),
    "sparsify": ({"relu", "topk"}, 2),
    "gemma-scope": ({"jumprelu"}, 1),
    "gemma-scope-2": ({"jumprelu"}, 4),
    "dictionary-learning": (LOOSE, 1),
}
"""The activations that a format has, and how many of the shapes."""

CASES = [
    (source, target, kind, shape)
    for source, (kinds, n_shapes) in CAN.items()
    for target in WRITABLE
    for kind in sorted(kinds)
    for shape in SHAPES[:n_shapes]
]
KEPT = ("input_site", "input_norm", "output_site", "skip", "bos", "bos_token", "first_position", "model", "dataset")


@pytest.mark.parametrize(("source", "target", "kind", "shape"), CASES)
def test_from_any_format_to_any_other_nothing_is_lost_or_all_of_it_is_listed(
    tmp_path: Path, source: str, target: str, kind: str, shape: str
) -> None:
    make = cross_layer if shape.startswith("cross") else per_layer
    file = make(kind, skip=shape.endswith("skip"), model="a/model", bos="prepended", first_position="left-out")
    LAID_DOWN[source](file, tmp_path / "in")
    hints = Hints(transcoder=True)
    truth = open_basis(tmp_path / "in", source, hints)
    assert compare(file, truth).equal
    fits = kind in CAN[target][0] and SHAPES.index(shape) < CAN[target][1]
    fits = fits and (target != "sparsify" or truth.facts.input_norm == "as-read")
    ways = {"said": source, "hints": hints, "check": True}
    if fits:
        done = convert(tmp_path / "in", tmp_path / "out", target, **ways)
        assert (done.lost, done.sound, done.changed.equal) == ((), True, True)
    else:
        with pytest.raises(UnsupportedError) as refused:
            convert(tmp_path / "in", tmp_path / "out", target, **ways)
        if "cross-layer one" in str(refused.value):
            with pytest.raises(UnsupportedError, match="this basis is a cross-layer one"):
                convert(tmp_path / "in", tmp_path / "out", target, lossy=True, **ways)
            assert not (tmp_path / "out").exists()
            return
        done = convert(tmp_path / "in", tmp_path / "out", target, lossy=True, **ways)
        assert done.sound
        assert done.lost
        assert all(line in str(refused.value) for line in done.lost)
    back = open_basis(tmp_path / "out")
    for fact in KEPT:
        same = getattr(back.facts, fact) == getattr(truth.facts, fact)
        assert same or any(fact.split("_")[0] in line for line in done.lost), fact


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


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_wrong_with_a_basis_is_one_sentence_and_nothing_is_written(name: str) -> None:
    case, found = DAMAGED[name], verdicts()[name]
    assert re.search(case.said, found.used)
    assert found.used.isprintable()
    assert found.opened == ("" if case.late else found.used)
    assert all(found.written)
    assert found.left == []


@pytest.mark.parametrize("to", WRITABLE)
def test_a_disk_that_fills_up_is_one_sentence_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    save_basis(per_layer(), tmp_path / "in")
    left, sync = [2], os.fsync

    def full(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkError, match=r"Cannot write .*out: No space left on device; its disk has .* Make room, or"):
        convert(tmp_path / "in", tmp_path / "out", to)
    assert left[0] < 0
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_atlas_beside_a_basis_is_none_of_its_files(tmp_path: Path) -> None:
    save_basis(per_layer("topk"), tmp_path / "b")
    before = basis_files(tmp_path / "b")
    (tmp_path / "b" / "atlas").mkdir()
    (tmp_path / "b" / "atlas" / "x").write_text("x")
    (tmp_path / "b" / "atlas.labels-wal").write_text("x")
    assert basis_files(tmp_path / "b") == before
    assert (tmp_path / "b" / "manifest.json") in before
    assert len(open_basis(tmp_path / "b").layers) > 0
