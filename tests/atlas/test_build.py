"""An atlas is what a slow reading finds, whoever reads it, in whatever order, and however often it is killed."""

import errno
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.build import begun_dtype, build_atlas, building_folder
from micrographia.atlas.harvest import Harvest, blocks_in, parts_in
from micrographia.atlas.strength import bin_edges, strengths
from micrographia.bases.basis import Basis
from micrographia.bases.neurons import Neurons
from micrographia.corpus.corpus import Corpus
from micrographia.errors import CallError, WorkError
from micrographia.ids import Layer
from micrographia.model.edits import at
from micrographia.model.model import Model
from tests.atlas.small import SMALL, Fired, code_of, content, fired, unit_of
from tests.bases.evaluation.bases import cross_layer, per_layer


def expected(found: list[Fired], order: str, n: int, exponent: int) -> list[tuple[int, int]]:
    """Code and place of what should be kept of one feature."""
    rows = [(code_of(f.value, exponent), f.hash, f.place, f.context) for f in found]
    if order == "strongest":
        rows.sort(key=lambda row: (-row[0], row[1], row[2]))
    else:
        rows.sort(key=lambda row: (row[1], row[2]))
    kept: dict[tuple[int, ...], tuple[int, int]] = {}
    for code, _, place, context in rows:
        kept.setdefault(context, (code, place))
    return list(kept.values())[:n]


@pytest.mark.parametrize("kind", ["topk", "relu", "batchtopk", "cross"])
def test_it_is_what_a_slow_reading_finds(kind: str, llama: Model, corpus: Corpus, tmp_path: Path) -> None:
    basis: Basis = cross_layer(llama, "jumprelu") if kind == "cross" else per_layer(llama, kind, layers=(0, 2))
    build_atlas(llama, basis, corpus, tmp_path / "atlas", config=SMALL)
    atlas = Atlas.open(tmp_path / "atlas")
    slow = list(fired(llama, basis, atlas.text, SMALL.seed))
    assert sum(atlas.manifest.active) == len(slow) > 1000
    for layer in atlas.layers:
        its = atlas.layer(layer)
        exponent = unit_of(llama, basis, atlas.text, layer, SMALL.block)
        assert its.plan.exponent == exponent
        for index in range(0, its.plan.n_features, 3):
            mine = [f for f in slow if (f.layer, f.index) == (layer, index)]
            values = strengths(np.array([code_of(f.value, exponent) for f in mine], np.uint16), exponent)
            feature = atlas.feature(layer, index)
            assert feature.count == len(mine)
            assert feature.mean == pytest.approx(values.mean() if mine else 0, rel=1e-12)
            assert feature.deviation == pytest.approx(values.std() if mine else 0, rel=1e-4, abs=1e-4)
            edges = bin_edges(exponent)
            clipped = np.clip(values, edges[0], edges[-1] * (1 - 1e-9))
            assert feature.histogram.tolist() == np.histogram(clipped, edges)[0].tolist()
            for order, n in (("strongest", SMALL.strongest), ("random", SMALL.sample)):
                arrays = its.arrays
                kept = arrays[f"{order}.code"][index]
                got = list(zip(kept.tolist(), arrays[f"{order}.place"][index].tolist(), strict=True))
                wanted = expected(mine, order, n, exponent)
                assert got[: len(wanted)] == wanted
                assert not any(code for code, _ in got[len(wanted) :])
            for example in feature.strongest:
                near = {f.place: f.value for f in mine}
                for i, activation in enumerate(example.activations):
                    value = near.get(example.place + i - example.at, 0.0)
                    assert activation == pytest.approx(value, rel=0.07)


def test_neurons_are_counted_where_they_write_most(llama: Model, corpus: Corpus, tmp_path: Path) -> None:
    build_atlas(llama, Neurons(), corpus, tmp_path / "atlas", config=SMALL)
    atlas = Atlas.open(tmp_path / "atlas")
    assert atlas.layers == (0, 1, 2)
    norms = {layer: llama.weights.blocks[layer].mlp.down.weight.norm(dim=0) for layer in atlas.layers}
    slow = [
        f
        for f in fired(llama, Neurons(), atlas.text, 0)
        if abs(f.value) * float(norms[Layer(f.layer)][f.index]) > (atlas.layer(f.layer).plan.bound or 0) * (1 + 1e-9)
    ]
    counts = Counter((f.layer, f.index) for f in slow)
    below = Counter((f.layer, f.index) for f in slow if f.value < 0)
    for layer in atlas.layers:
        for index in range(llama.anatomy.d_mlp):
            feature = atlas.feature(layer, index)
            assert (feature.count, feature.negative) == (counts[layer, index], below[layer, index])
    assert sum(atlas.manifest.active) / atlas.n_positions / 3 == pytest.approx(llama.anatomy.d_mlp / 16, rel=0.3)


@pytest.mark.parametrize("readers", [2, 3, 4])
def test_shares_of_blocks_add_up_to_the_same_bytes(
    readers: int, atlas: Atlas, llama: Model, basis: Basis, corpus: Corpus, tmp_path: Path, monkeypatch
) -> None:
    def by_turns(job, blocks, *, workers, stopped, tell) -> None:
        mixed = random.Random(readers).sample(list(blocks), len(blocks))
        for number in range(readers):
            Harvest(job, number).read(mixed[number::readers], stopped=stopped, tell=tell)

    monkeypatch.setattr("micrographia.atlas.build.read_all", by_turns)
    build_atlas(llama, basis, corpus, tmp_path / "atlas", name="random", config=SMALL)
    assert content(tmp_path / "atlas") == content(atlas.folder)


def test_processes_give_the_same_bytes(
    atlas: Atlas, llama: Model, basis: Basis, corpus: Corpus, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    build_atlas(
        llama,
        basis,
        corpus,
        tmp_path / "atlas",
        name="random",
        config=SMALL,
        workers=2,
        progress=lambda *said: told.append(said),
    )
    assert content(tmp_path / "atlas") == content(atlas.folder)
    assert ("reading", 10, 10) in told
    assert [path.name for path in tmp_path.iterdir()] == ["atlas"]


def test_a_build_that_was_stopped_goes_on(
    atlas: Atlas, llama: Model, basis: Basis, corpus: Corpus, tmp_path: Path
) -> None:
    folder, asked = tmp_path / "atlas", count()
    stopped: Callable[[], bool] = lambda: next(asked) > 3  # noqa: E731
    assert build_atlas(llama, basis, corpus, folder, name="random", config=SMALL, stopped=stopped) is None
    assert not folder.exists()
    (part,) = parts_in(building_folder(folder))
    assert 0 < len(blocks_in(part)) < 10
    assert begun_dtype(folder) == "float64"
    build_atlas(llama, basis, corpus, folder, name="random", config=SMALL)
    assert content(folder) == content(atlas.folder)
    assert begun_dtype(folder) is None


KILLED = """
import os, random, signal, sys, threading, time
from pathlib import Path
from micrographia.atlas.build import build_atlas
from micrographia.bases.formats.convert import open_basis
from micrographia.corpus.corpus import Corpus
from micrographia.model.load import load_model
from micrographia.atlas.plan import AtlasConfig
model = load_model(sys.argv[1], dtype="float64", device="cpu")
basis = open_basis(Path(sys.argv[2])).basis(model.dtype, model.device)
config = AtlasConfig.model_validate_json(sys.argv[5])
die = float(sys.argv[6])
def progress(stage, done, total):
    if random.random() < die:
        os.kill(os.getpid(), signal.SIGKILL)
corpus, out = Corpus.open(sys.argv[3]), Path(sys.argv[4])
build_atlas(model, basis, corpus, out, name="b", config=config, save_seconds=0, progress=progress)
"""


def test_a_build_that_is_killed_again_and_again_ends_with_the_same_bytes(
    llama: Model, corpus: Corpus, tmp_path: Path
) -> None:
    from micrographia.bases.formats.convert import save_basis
    from micrographia.bases.formats.facts import BasisFacts
    from micrographia.bases.formats.parts import BasisFile
    from tests.model.conftest import save_tiny

    save_tiny("llama", tmp_path / "model")
    save_basis(BasisFile.of(per_layer(llama, "topk", layers=(1,)), BasisFacts()), tmp_path / "basis")

    def run(out: str, die: float) -> int:
        arguments = ["model", "basis", str(corpus.folder), out, SMALL.model_dump_json(), str(die)]
        return subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=tmp_path, check=False).returncode

    assert run("whole", 0) == 0
    killed = 0
    while (code := run("broken", 0.15)) != 0:
        assert code == -signal.SIGKILL
        killed += 1
        assert killed < 40
    assert killed > 0
    assert content(tmp_path / "broken") == content(tmp_path / "whole")


def test_other_choices_do_not_go_on(llama: Model, basis: Basis, corpus: Corpus, tmp_path: Path) -> None:
    folder = tmp_path / "atlas"
    build_atlas(llama, basis, corpus, folder, config=SMALL, stopped=lambda: True)
    other = SMALL.model_copy(update={"sample": 7})
    with pytest.raises(CallError, match=r"other choices \(sample 6 → 7\).*Delete it"):
        build_atlas(llama, basis, corpus, folder, config=other)
    with pytest.raises(CallError, match=r"other choices \(basis\)"):
        build_atlas(llama, Neurons(), corpus, folder, config=SMALL)


def test_who_waited_for_another_process_does_not_do_its_work_again(
    llama: Model, basis: Basis, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def waiting(*_: object, **__: object) -> Generator[None]:
        (tmp_path / "atlas").mkdir()
        yield

    monkeypatch.setattr("micrographia.store.locked", waiting)
    with pytest.raises(CallError, match="there already"):
        build_atlas(llama, basis, corpus, tmp_path / "atlas", config=SMALL)
    assert not building_folder(tmp_path / "atlas").exists()


def test_a_folder_that_takes_nothing_is_told_by_its_own_name(
    llama: Model, basis: Basis, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("micrographia.store.FileLock.acquire", closed)
    with pytest.raises(WorkError, match=r"Read-only file system\. Choose another folder: --out DIR$"):
        build_atlas(llama, basis, corpus, tmp_path / "atlas", config=SMALL)


def test_a_plan_of_another_version_is_refused(llama: Model, basis: Basis, corpus: Corpus, tmp_path: Path) -> None:
    build_atlas(llama, basis, corpus, tmp_path / "atlas", config=SMALL, stopped=lambda: True)
    plan = building_folder(tmp_path / "atlas") / "plan.json"
    plan.write_text(plan.read_text().replace('"schema_version": 1', '"schema_version": 7'))
    with pytest.raises(WorkError, match="schema version 7"):
        build_atlas(llama, basis, corpus, tmp_path / "atlas", config=SMALL)


def test_what_cannot_begin_gets_one_sentence(llama: Model, basis: Basis, corpus: Corpus, tmp_path: Path) -> None:
    def build(basis: Basis = basis, folder: Path = tmp_path / "a", workers: int = 1, **changed: int) -> None:
        build_atlas(llama, basis, corpus, folder, config=SMALL.model_copy(update=changed), workers=workers)

    with pytest.raises(WorkError, match=r"too little text.*--tokens \d+"):
        build(tokens=10**6)
    with pytest.raises(CallError, match="longer than the context"):
        build(window=65)
    (tmp_path / "there").mkdir()
    with pytest.raises(CallError, match="there already"):
        build(folder=tmp_path / "there")
    with pytest.raises(CallError, match="no folder"):
        build(folder=tmp_path / "no" / "where")
    with pytest.raises(CallError, match="edits are attached"), llama.attached(edit=at("mlp_in.0").zero()):
        build()
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ""] == ["there"]


def test_a_corpus_of_other_tokens_is_refused(llama: Model, basis: Basis, tmp_path: Path) -> None:
    from micrographia.corpus.build import build
    from tests.corpus.bytewise import bytewise, folder_recipe, story, write_files

    write_files(tmp_path / "texts", map(story, range(4)))
    build(folder_recipe(tmp_path / "texts"), tmp_path / "corpus", bytewise())
    with pytest.raises(CallError, match="in the tokens of bytewise"):
        build_atlas(llama, basis, Corpus.open(tmp_path / "corpus"), tmp_path / "atlas", config=SMALL)


@pytest.mark.parametrize("name", ["text", "part-0", "layer-002"])
def test_a_full_disk_gets_one_sentence_and_the_work_goes_on(
    name: str, atlas: Atlas, llama: Model, basis: Basis, corpus: Corpus, tmp_path: Path, monkeypatch
) -> None:
    import safetensors.numpy
    from safetensors import SafetensorError

    save, folder = safetensors.numpy.save_file, tmp_path / "atlas"

    def full(arrays, path: Path) -> None:
        if f".{name}." in path.name:
            path.write_bytes(b"half")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save(arrays, path)

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(WorkError, match="No space left on device") as caught:
        build_atlas(llama, basis, corpus, folder, name="random", config=SMALL)
    assert "\n" not in str(caught.value)
    assert not folder.exists()
    assert not list(building_folder(folder).rglob("*.partial"))
    monkeypatch.undo()
    build_atlas(llama, basis, corpus, folder, name="random", config=SMALL)
    assert content(folder) == content(atlas.folder)


def test_a_part_that_is_damaged_is_refused(llama: Model, basis: Basis, corpus: Corpus, tmp_path: Path) -> None:
    asked = count()
    build_atlas(llama, basis, corpus, tmp_path / "atlas", config=SMALL, stopped=lambda: next(asked) > 2)
    (part,) = parts_in(building_folder(tmp_path / "atlas"))
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(WorkError, match="damaged"):
        build_atlas(llama, basis, corpus, tmp_path / "atlas", config=SMALL)


def test_a_process_that_dies_is_named(llama: Model, basis: Basis, corpus: Corpus, tmp_path: Path, monkeypatch) -> None:
    from micrographia.atlas import crew

    monkeypatch.setattr(crew, "_work", os.abort)
    with pytest.raises(WorkError, match="ended by itself"):
        build_atlas(llama, basis, corpus, tmp_path / "atlas", config=SMALL, workers=2)


def test_memory_does_not_grow_with_the_text(llama: Model, corpus: Corpus, tmp_path: Path) -> None:
    basis, sizes = per_layer(llama, "relu", layers=(1,)), []
    for tokens in (600, 1800):
        config = SMALL.model_copy(update={"tokens": tokens, "strongest": 2, "sample": 3})
        asked = count()
        folder = tmp_path / str(tokens)
        n_blocks = -(-tokens // (15 * 4))
        build_atlas(llama, basis, corpus, folder, config=config, stopped=lambda n=n_blocks, a=asked: next(a) >= n)
        (part,) = parts_in(building_folder(folder))
        sizes.append(part.stat().st_size)
    assert sizes[1] < 1.1 * sizes[0]
