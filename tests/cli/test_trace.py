"""`micrographia trace`: what it prints, what it writes, and what it says to careless calls."""

import json
import re
import shutil
from pathlib import Path

import pytest
from rich.cells import cell_len

from micrographia.cli.trace import read_size
from micrographia.errors import CallError
from micrographia.evidence.files import load_evidence
from micrographia.graph.files import load_graph
from micrographia.microscope import Microscope
from micrographia.report.page import page
from tests.cli.calling import CTRL_C_AFTER_TWO_BATCHES, Call, Called, on_terminal, spawn

PROMPT = "t3 t14 t15 t9 t2 t60"
SOME = ("--nodes", "40")


def traced(call: Call, folder: Path, *options: str, prompt: str = PROMPT) -> Called:
    return call("trace", prompt, "--model", str(folder), "--basis", "neurons", *SOME, *options)


# ---------------------------------------------------------------- what it prints


def test_it_says_what_was_asked_what_is_answered_and_what_is_explained(
    call: Call, folder: Path, scope: Microscope
) -> None:
    lines = traced(call, folder).result().splitlines()
    answers = scope.answers(PROMPT)
    assert lines[0] == PROMPT
    assert lines[1] == "tiny, read in neurons"
    assert "Answers: " + ", ".join(f"{a.piece} {a.probability:.3f}" for a in answers) in lines
    graph = scope.trace(PROMPT, max_nodes=40)
    total = sum(target.probability or 0.0 for target in graph.targets)
    assert f"Explained: the {len(graph.targets)} likeliest, with {total:.3f} of the probability" in lines
    for heading in ("From the answer down", "Ledger: ", "How much of the model this explains"):
        assert any(line.startswith(heading) for line in lines), heading


@pytest.mark.parametrize(
    ("options", "explained"),
    [
        (("--target", "t5"), "Explained: t5"),
        (("--target", "t5", "--against", "t6"), "Explained: t5 − t6"),
        (("--target", "t5", "--position", "2"), "Explained: t5 at 2 t15"),
        (("--target", "t5", "--position", "-4"), "Explained: t5 at 2 t15"),
    ],
)
def test_a_target_is_a_token_a_difference_or_at_another_position(
    call: Call, folder: Path, options: tuple[str, ...], explained: str
) -> None:
    assert explained in traced(call, folder, *options).result().splitlines()


def test_against_a_token_stands_the_models_own_answer(call: Call, folder: Path, scope: Microscope) -> None:
    best = scope.answers(PROMPT)[0].piece
    assert f"Explained: {best} − t5" in traced(call, folder, "--against", "t5").result()


def test_a_token_that_lacks_its_space_is_taken_as_it_is_and_the_other_is_named(call: Call) -> None:
    shown = call(
        "trace", "The capital of France is", "--target", "Paris", "--basis", "neurons", "--nodes", "8"
    ).result()
    assert "Explained: Paris\n" in shown
    assert "'Paris' and ' Paris' are two tokens; this took the one without the space.\n" in shown


def test_json_holds_the_same_graph_and_what_was_written(
    call: Call, folder: Path, scope: Microscope, tmp_path: Path
) -> None:
    out = tmp_path / "graph"
    shown = json.loads(traced(call, folder, "--json", "--out", str(out)).result())
    graph = load_graph(out)
    assert shown["files"] == {"graph": str(out)}
    assert shown["basis"] == "neurons"
    assert [node["id"] for node in shown["nodes"]] == [str(node) for node in graph.nodes]
    assert shown["edges"]["source"] == graph.edges.source.tolist()
    assert [a["piece"] for a in shown["answers"]] == [a.piece for a in scope.answers(PROMPT)]


def test_groups_are_made_unless_they_are_not_wanted(call: Call, folder: Path) -> None:
    together = json.loads(traced(call, folder, "--json", "--node-share", "1").result())
    apart = json.loads(traced(call, folder, "--json", "--node-share", "1", "--no-group").result())
    assert [node["id"] for node in together["nodes"]] == [node["id"] for node in apart["nodes"]]
    sizes = [
        max(len(part["members"]) for part in shown["parts"] if part["kind"] == "feature") for shown in (together, apart)
    ]
    assert sizes[0] > 1
    assert sizes[1] == 1


def test_more_traced_nodes_leave_less_folded(call: Call, folder: Path) -> None:
    few, many = (
        json.loads(call("trace", PROMPT, "--model", str(folder), "--basis", "neurons", "--nodes", n, "--json").result())
        for n in ("10", "200")
    )
    assert many["ledger"]["counts"]["traced_features"] > few["ledger"]["counts"]["traced_features"] == 10


# ---------------------------------------------------------------- how it looks


@pytest.mark.parametrize("columns", [80, 100])
def test_it_fits_a_terminal(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "50")
    lines = on_terminal(lambda: traced(call, folder, "--node-share", "1")).splitlines()
    assert max(map(cell_len, lines)) <= columns
    assert "Nothing was written: --out FOLDER keeps the graph" in "\n".join(lines)


def test_colours_are_for_terminals_that_want_them(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colour = re.compile(r"\x1b\[[\d;]*[349]\d[\d;]*m")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colour.search(on_terminal(lambda: traced(call, folder)))
    assert "\x1b" not in traced(call, folder).result()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour.search(on_terminal(lambda: traced(call, folder)))


def test_tokens_that_would_steer_are_inert(call: Call, folder: Path, tmp_path: Path) -> None:
    hostile = Path(shutil.copytree(folder, tmp_path / "[bold]m[/bold]"))
    path = hostile / "tokenizer.json"
    text = path.read_text()
    for plain, word in {'"t3"': '"[/red]"', '"t4"': '"<script>"', '"t5"': '":eyes:"'}.items():
        assert plain in text
        text = text.replace(plain, word)
    path.write_text(text)
    out = tmp_path / "out.html"
    shown = traced(call, hostile, "--html", str(out), prompt="[/red] <script> :eyes:").result()
    assert shown.splitlines()[0] == "[/red] <script> :eyes:"
    page_text = out.read_text()
    assert page_text.count("<script>") == 1
    said, _, _ = page_text.partition("<script>")  # what comes then is the page's own program
    ours = re.findall(r'<script type="application/[a-z-]+" id="graph-[a-z]+">', said)
    assert said.count("<script") == len(ours) == 3
    assert "&lt;script&gt;" in said


# ---------------------------------------------------------------- files


def test_files_are_the_graph_its_page_and_its_json(call: Call, folder: Path, tmp_path: Path) -> None:
    from micrographia.graph.check import check_graph, read_graph_json

    out, html, foreign = tmp_path / "graph", tmp_path / "graph.html", tmp_path / "graph.json"
    shown = traced(call, folder, "--out", str(out), "--html", str(html), "--graph-json", str(foreign)).result()
    assert [line for line in shown.splitlines() if line.startswith("Written: ")] == [
        f"Written: {path}" for path in (out, html, foreign)
    ]
    assert html.read_text(encoding="utf-8") == page(load_graph(out))
    assert check_graph(read_graph_json(foreign)).sound


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--target", "t3 t4"), 2, "'t3 t4' is 2 tokens for tiny, not one: 't3' 't4'."),
        (("--target", "zebra"), 2, "zebra"),
        (("--position", "6"), 2, "There is no position 6: this prompt has 6 tokens, at 0 to 5"),
        (("--position", "-7"), 2, "There is no position -7"),
        (("--target", "t5", "--against", "t5"), 2, "The target and the token against it are the same: t5."),
        (("--basis", "no-such"), 2, "There is no basis 'no-such'"),
        (("--basis", "transcoders"), 2, "none come along for tiny"),
        (("--memory", "much"), 2, "'much' is no size."),
        (("--memory", "10kB"), 2, "tokens needs"),
        (("--memory", "10kB"), 2, "give more: --memory"),
        (("--memory", "130kB", "--basis", "neurons"), 2, "--nodes "),
        (("--nodes", "0"), 2, 'Invalid value "0" for --nodes.'),
        (("--seconds", "5"), 2, "--seconds says how long claims are tested, and none are: add --test."),
        (("--test", "--seconds", "0"), 2, 'Invalid value "0.0" for --seconds.'),
        (("--share", "1.5"), 2, 'Invalid value "1.5" for --share.'),
        (("--edge-share", "0"), 2, "for --edge-share. Must be > 0."),
    ],
)
def test_a_careless_call_is_one_sentence(
    call: Call, folder: Path, tmp_path: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    out = tmp_path / "graph"
    basis = () if "--basis" in options else ("--basis", "neurons")
    complaint = call("trace", PROMPT, "--model", str(folder), *basis, "--out", str(out), *options).complaint(code)
    assert said in complaint
    assert list(tmp_path.iterdir()) == []


def test_an_empty_prompt_is_refused_and_one_token_is_enough(call: Call, folder: Path) -> None:
    assert traced(call, folder, prompt="").code == 2
    assert traced(call, folder, prompt="t3").result().splitlines()[0] == "t3"


def test_what_is_there_is_not_written_over(call: Call, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "graph").mkdir()
    said = traced(call, folder, "--out", str(tmp_path / "graph")).complaint(2)
    assert "is there already" in said
    assert list((tmp_path / "graph").iterdir()) == []


@pytest.mark.parametrize("option", ["--out", "--html", "--graph-json"])
def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(
    call: Call, folder: Path, tmp_path: Path, option: str
) -> None:
    assert "There is no folder" in traced(call, folder, option, str(tmp_path / "no" / "x")).complaint(2)
    (tmp_path / "is-a-folder").mkdir()
    assert traced(call, folder, option, str(tmp_path / "is-a-folder")).code == 2
    assert traced(call, folder, "--html", "/proc/x.html").complaint(2).startswith("Nothing can be written")


def test_two_results_cannot_have_one_name(call: Call, folder: Path, tmp_path: Path) -> None:
    same = str(tmp_path / "x")
    assert "the same name" in traced(call, folder, "--html", same, "--graph-json", same).complaint(2)


def test_its_claims_are_tested_where_that_is_asked_for_and_kept_beside_the_graph(
    call: Call, folder: Path, tmp_path: Path
) -> None:
    out, html = tmp_path / "graph", tmp_path / "x.html"
    asked = ("--test", "--seconds", "30")
    lines = traced(call, folder, *asked, "--out", str(out), "--html", str(html)).result().split("\n")
    assert lines[0] == PROMPT
    assert any(line.startswith("Without each part, ") for line in lines)
    assert any(line[:1] in "✓✗" for line in lines if line)
    assert sum(line.startswith("Claims: ✓ ") for line in lines) == 1, "the sums stand once, in the ledger"
    kept = load_evidence(load_graph(out), out)
    assert kept.tried
    assert sorted(path.name for path in out.iterdir()) == ["evidence.json", "manifest.json", "tables.safetensors"]
    assert html.read_text() == page(load_graph(out), evidence=kept)
    found = json.loads(traced(call, folder, *asked, "--json").result())
    assert any(claim["verdict"] != "untested" for claim in found["evidence"]["claims"])
    assert "evidence" not in json.loads(traced(call, folder, "--json").result())


def test_what_was_measured_is_kept_when_the_test_after_a_trace_is_interrupted(folder: Path, tmp_path: Path) -> None:
    """Ctrl-C after two batches of controls: graph and evidence are there, and `test` goes on from them."""
    out = tmp_path / "graph"
    options = ("--model", str(folder), "--basis", "neurons", *SOME, "--test", "--out", str(out))
    left = spawn("trace", PROMPT, *options, before=CTRL_C_AFTER_TWO_BATCHES)
    assert (left.code, left.out, left.err) == (130, "", "error: interrupted.\n")
    kept = load_evidence(load_graph(out), out)
    assert 20 <= sum(len(one.measured.controls) for one in kept.tried) <= 40


def test_an_interrupted_trace_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    """Ctrl-C as soon as the first layer is done."""
    code = (
        "import os, signal\n"
        "import micrographia.graph.work as work\n"
        "keep = work.Work._fold\n"
        "def stop(self, *rest):\n"
        "    keep(self, *rest)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "work.Work._fold = stop\n"
    )
    out, html = tmp_path / "graph", tmp_path / "x.html"

    left = spawn(
        "trace",
        PROMPT,
        "--model",
        str(folder),
        "--basis",
        "neurons",
        "--out",
        str(out),
        "--html",
        str(html),
        before=code,
    )
    assert (left.code, left.out, left.err) == (130, "", "error: interrupted.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4 * 10**9), ("500 MB", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("8192", 8192), ("2kb", 2000)]
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "4 XB", "-1GB", "0", "1e9", "4GB4"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(CallError, match="is no size"):
        read_size(text)
