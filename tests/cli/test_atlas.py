"""What `micrographia atlas` makes and shows, and what it refuses."""

import gzip
import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from micrographia.atlas.atlas import Atlas, atlas_place, built_place
from micrographia.atlas.plan import AtlasConfig
from micrographia.bases.formats.convert import save_basis
from micrographia.bases.formats.facts import BasisFacts
from micrographia.bases.formats.parts import BasisFile
from tests.bases.evaluation.bases import per_layer
from tests.cli.calling import Call, command, on_terminal
from tests.corpus.bytewise import write_files

CHOICES = ["--tokens", "600", "--window", "16", "--block", "4", "--strongest", "4", "--sample", "20", "--workers", "1"]


@pytest.fixture(scope="module")
def place(folder: Path, scope, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with texts as a corpus, a basis, and its atlas inside."""
    from micrographia.cli.app import main

    place, chance = tmp_path_factory.mktemp("atlas"), random.Random(0)
    words = [f"t{number}" for number in range(2, 80)]
    write_files(place / "texts", (" ".join(chance.choices(words, k=200)) for _ in range(20)))
    save_basis(BasisFile.of(per_layer(scope.model, "topk", layers=(0, 2)), BasisFacts()), place / "basis")
    for call in (
        ["corpus", "build", str(place / "texts"), "--out", str(place / "corpus"), "--model", str(folder)],
        ["atlas", "build", str(place / "basis"), "--corpus", str(place / "corpus"), "--model", str(folder), *CHOICES],
    ):
        with pytest.raises(SystemExit) as left:
            main(call)
        assert not left.value.code
    return place


@pytest.fixture
def ask(call: Call, place: Path, folder: Path):
    """ask("show", "0/3") asks the atlas."""

    def called(verb: str, *more: str):
        return call("atlas", verb, *more, "--atlas", str(place / "basis"), "--model", str(folder))

    return called


def test_it_lies_in_the_basis_and_says_what_it_holds(ask, place: Path, call: Call, folder: Path) -> None:
    assert Atlas.open(place / "basis" / "atlas").layers == (0, 2)
    said = call("atlas", "show", "--atlas", str(place / "basis" / "atlas"), "--verify").result()
    assert "80 features in 2 layers over 600 positions (train)" in said
    assert "6.0 active per layer and position" in said or "5." in said
    found = json.loads(call("atlas", "show", "--atlas", str(place / "basis"), "--json").result())
    assert found["plan"]["config"]["sample"] == 20
    again = ["atlas", "build", str(place / "basis"), "--corpus", str(place / "corpus"), "--model", str(folder)]
    assert "there already" in call(*again).complaint(2)


def test_help_says_what_is_chosen_where_nothing_is_said(call: Call) -> None:
    said = " ".join(call("atlas", "build", "--help").result().split())
    c = AtlasConfig()
    assert f"{c.tokens:,} positions of the {c.split} split, in windows of {c.window} tokens, {c.block} read" in said
    assert f"{c.strongest} strongest places and {c.sample} random ones, {c.before} tokens before them" in said
    assert f"and {c.after} behind, and {c.promoted} promoted tokens" in said


def test_a_feature_fits_eighty_columns_and_names_everything(ask, place: Path) -> None:
    atlas = Atlas.open(place / "basis" / "atlas")
    index = int(atlas.layer(2).counts().argmax())
    said = ask("show", f"2/{index}", "--per-decile", "3").result()
    assert max(map(len, said.splitlines())) <= 80
    for part in (f"2/{index}  active at", "mean", "largest", "promotes", "suppresses", "on  ", "previous", "next", "«"):
        assert part in said
    assert "Where it is strongest" in said
    assert said.count(" to ") == 10
    assert f" of {len(atlas.feature(2, index).sample)}\n" in said[said.index("\non  ") :]
    assert "█" in said
    assert "\x1b" not in said


def test_a_terminal_sees_the_active_token_in_another_style(place: Path, folder: Path) -> None:
    from micrographia.cli.app import main

    def shown() -> None:
        with pytest.raises(SystemExit):
            main(["atlas", "show", "0/3", "--atlas", str(place / "basis"), "--model", str(folder)])

    assert "\x1b[1;7m" in on_terminal(shown)


def test_json_has_every_example(ask, place: Path) -> None:
    found = json.loads(ask("show", "0/3", "--json").result())
    feature = Atlas.open(place / "basis" / "atlas").feature(0, 3)
    assert (found["count"], found["density"]) == (feature.count, feature.density)
    assert [each["activation"] for each in found["strongest"]] == [each.activation for each in feature.strongest]
    assert {each["source"] for each in found["sample"]} == {"texts"}
    assert found["tokens"]["0"][0]["piece"].startswith("t")


def test_features_of_a_text_are_found(ask, tmp_path: Path) -> None:
    said = ask("find", "t5 t6 t7", "--top", "4").result()
    assert said.splitlines()[0].split()[:5] == ["peak", "spread", "feature", "density", "times"]
    assert len(said.splitlines()) == 6
    found = json.loads(ask("find", "t5 t6 t7", "--top", "4", "--json").result())["features"]
    bits = [each["peak"] for each in found]
    assert bits == sorted(bits, reverse=True)
    other = json.loads(ask("find", "t5 t6 t7", "--top", "4", "--json", "--by", "spread").result())["features"]
    assert other[0]["spread"] >= max(each["spread"] for each in found)
    assert {one["piece"] for each in found for one in each["positions"]} <= {"t5", "t6", "t7"}
    (tmp_path / "drawing.txt").write_text("t5 t6 t7")
    assert ask("find", "--file", str(tmp_path / "drawing.txt"), "--top", "4").result() == said
    assert {
        each["layer"] for each in json.loads(ask("find", "t5 t6", "--layers", "2", "--json").result())["features"]
    } == {2}


def test_features_that_promote_a_token_are_found(ask) -> None:
    found = json.loads(ask("find", "--promotes", "t9", "--json", "--top", "3").result())["features"]
    assert len(found) == 3
    assert all(any(said["piece"] == "t9" for said in each["promoted"]) for each in found)
    said = ask("find", "--promotes", "t9").result()
    assert "cosine" in said
    assert said.endswith("Of the 20 tokens that each feature promotes most.\n")


@pytest.mark.parametrize("to", ["circuit-tracer", "neuronpedia", "parquet"])
def test_it_is_exported_once(to: str, ask, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert f"Written: {out}" in ask("export", out, "--to", to).result()
    assert "there already" in ask("export", out, "--to", to).complaint(2)
    if to == "circuit-tracer":
        assert json.loads(gzip.decompress((tmp_path / "out" / "features" / "index.json.gz").read_bytes())).keys() == {
            "0",
            "2",
        }


def test_it_is_made_smaller(call: Call, place: Path, tmp_path: Path) -> None:
    given = ("atlas", "thin", str(tmp_path / "small"), "--atlas", str(place / "basis"), "--before", "0")
    assert "80 features in 2 layers" in call(*given, "--after", "0", "--sample", "3").result()
    config = Atlas.open(tmp_path / "small").manifest.plan.config
    assert (config.sample, config.strongest, config.before) == (3, 4, 0)
    assert "sample 20 → 30" in call(*given[:2], str(tmp_path / "big"), *given[3:5], "--sample", "30").complaint(2)


def test_bad_calls_get_one_sentence(ask, call: Call, place: Path, folder: Path, tmp_path: Path, monkeypatch) -> None:
    assert "features 0 to 39; there is no 40" in ask("show", "0/40").complaint(2)
    assert "no layer 1; it has: 0, 2" in ask("show", "1/4").complaint(2)
    assert "written LAYER/FEATURE, such as 12/345; this is '12'" in ask("show", "12").complaint(2)
    assert "Give one of three" in ask("find").complaint(2)
    assert "Give one of three" in ask("find", "t5", "--promotes", "t9").complaint(2)
    assert "There is no file" in ask("find", "--file", str(tmp_path / "none")).complaint(2)
    shutil.copytree(place / "basis" / "atlas", tmp_path / "elsewhere")
    away = ("--atlas", str(tmp_path / "elsewhere"), "--model", str(folder))
    assert "say where that is, --basis DIR" in call("atlas", "find", "t5 t6", *away).complaint(2)
    assert "another basis" in ask("find", "t5 t6", "--basis", "neurons").complaint(2)
    bare = shutil.copytree(place / "basis", tmp_path / "bare", ignore=shutil.ignore_patterns("atlas*"))
    assert f"atlas build {bare} --corpus DIR" in call("atlas", "show", "0/1", "--atlas", str(bare)).complaint(2)
    assert "it is a file" in call("atlas", "show", "--atlas", str(bare / "manifest.json")).complaint(2)
    assert "does not share" in call("atlas", "show", "0/1", "--atlas", str(place / "basis")).complaint(2)
    build = ["atlas", "build", "neurons", "--corpus", str(place / "corpus"), "--model", str(folder)]
    assert "needs a folder to lie in: --out DIR" in call(*build).complaint(2)
    assert "There is no basis 'mistyped'" in call("atlas", "build", "mistyped", *build[3:]).complaint(2)
    assert "Must be >= 2" in call(*build, "--window", "1").complaint(2)
    out = ["--out", str(tmp_path / "new")]
    assert "too little text" in call(*build, *out, "--tokens", "99999999", "--window", "16").complaint(1)
    monkeypatch.setattr("micrographia.bases.named.shipped_folder", lambda model=None: None)
    assert "no atlas of the transcoders that come along" in call("atlas", "show").complaint(2)


def test_the_atlas_of_what_comes_along_is_found_without_being_named(
    call: Call, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path))
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    for module in ("bases.named", "atlas.atlas"):
        monkeypatch.setattr(f"micrographia.{module}.shipped_folder", lambda model=None: shipped)
    assert "micrographia atlas build transcoders" in call("atlas", "show").complaint(2)
    shutil.copytree(place / "basis" / "atlas", built_place())
    assert built_place().is_relative_to(tmp_path)
    assert "80 features" in call("atlas", "show").result()
    shutil.copytree(built_place(), shipped / "atlas")
    assert atlas_place(shipped) == built_place(), "what was built here says more than what came along"
    manifest = built_place() / "manifest.json"
    content = json.loads(manifest.read_text())
    content["plan"]["basis"]["fingerprint"] = "that of transcoders which came along before"
    manifest.write_text(json.dumps(content))
    assert atlas_place(shipped) == shipped / "atlas"


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(place: Path, folder: Path, tmp_path: Path) -> None:
    basis, corpus, out = str(place / "basis"), str(place / "corpus"), tmp_path / "out"
    arguments = ["atlas", "build", basis, "--corpus", corpus, "--model", str(folder), "--out", str(out), "--block", "1"]
    arguments += ["--tokens", "2400", "--window", "16", "--workers", "1"]
    running = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    plan, until = tmp_path / ".out.building" / "plan.json", time.monotonic() + 90
    while not plan.is_file() and time.monotonic() < until:
        time.sleep(0.005)
    running.send_signal(signal.SIGINT)
    said, err = running.communicate(timeout=90)
    assert running.returncode == 130, err
    assert "Go on: the same command." in said
    assert "finished and kept first" in err
    assert not out.exists()
    done = subprocess.run(command(*arguments), check=True, capture_output=True, text=True)
    assert "80 features in 2 layers over 2,400 positions" in done.stdout
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_cache_of_another_tool_is_imported(call: Call, place: Path, folder: Path, tmp_path: Path) -> None:
    told = call("atlas", "import", str(tmp_path), "--basis", str(place / "basis"), "--out", "x", "--model", str(folder))
    assert "no cache of delphi" in told.complaint(2)
