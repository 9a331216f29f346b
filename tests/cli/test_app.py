"""The command as a program among programs: help, exit codes, pipes, interruptions."""

import importlib.metadata
import json
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.calling import Call, command, on_terminal, spawn

VERBS = ("trace", "view", "lens", "heads", "models", "doctor")
SECONDS = 1.5

# ---------------------------------------------------------------- help


def test_help_lists_every_verb_and_what_the_exit_codes_mean(call: Call) -> None:
    shown = call("--help").result()
    for verb in VERBS:
        assert f"│ {verb} " in shown
    assert "Exit code: 0 done, 1 the work failed, 2 the call was wrong." in shown
    assert call().result() == shown


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        (
            "trace",
            "--basis --nodes --share --node-share --edge-share --group --memory --top --out --html --graph-json --test "
            "--seconds --json --target --against --position --bos --chat --model --device --dtype",
        ),
        ("view", "--port --open --basis --model --device --dtype"),
        ("lens", "--watch --top --between --json --bos --chat --model --device --dtype"),
        ("heads", "--edge --basis --corpus --sample --sort --top --seed --json --bos --chat --model --device --dtype"),
        ("models", "--remove --json"),
        ("doctor", "--json"),
    ],
)
def test_every_verb_explains_its_options(call: Call, verb: str, options: str) -> None:
    shown = call(verb, "--help").result()
    described = [line for line in shown.splitlines() if line.startswith("│ --")]
    assert [line.split()[1] for line in described] == options.split()
    assert all(len(line.rstrip(" │").split()) > 2 for line in described)


ALL = (
    "trace, overview, compare, lens, heads, train, evaluate, label, convert, what-if, test, view, atlas build, "
    "atlas show, atlas find, atlas export, atlas thin, atlas import, corpus build, corpus show, corpus recipe"
)


@pytest.mark.parametrize("verb", ALL.split(", "))
def test_examples_in_help_stand_on_lines_of_their_own(call: Call, verb: str) -> None:
    _, *described = call(*verb.split(), "--help").result().partition("╭─")[0].splitlines()
    assert any(line.startswith(f" micrographia {verb}") for line in described)
    assert not any(line.startswith("micrographia ") for line in described)


def test_help_needs_nothing_heavy_and_is_there_at_once() -> None:
    """Processor time of the quickest of three: the others waited for the machine."""
    code = (
        "import json, sys\n"
        "from micrographia.cli.app import main\n"
        "for verb in ('', 'trace', 'view', 'overview', 'what-if', 'compare', 'test', 'atlas', 'lens', 'heads',"
        " 'models', 'doctor'):\n"
        "    try: main([*verb.split(), '--help'])\n"
        "    except SystemExit as left: assert not left.code\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    taken: list[float] = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = spawn(before=code + "sys.exit()")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert done.out.count("Usage: micrographia") == 12
    assert {"torch", "transformers", "numpy", "pydantic", "tokenizers"} & set(json.loads(done.err)) == set()
    assert min(taken) < SECONDS


def test_the_version_is_the_installed_one(call: Call) -> None:
    assert call("--version").result().strip() == importlib.metadata.version("micrographia")
    assert spawn("--version").result().strip() == importlib.metadata.version("micrographia")


# ---------------------------------------------------------------- wrong calls


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], 'Unknown command "nosuch". Available commands: trace, view, overview, '),
        (["lens"], 'Command "lens" parameter PROMPT requires an argument.'),
        (["lens", "a", "b", "c"], "Unused Tokens: ['b', 'c']."),
        (["lens", "a", "--nope"], "Unknown option: --nope."),
        (["lens", "a", "--top"], ""),
        (["lens", "a", "--top", "0"], 'Invalid value "0" for --top. Must be >= 1.'),
        (["lens", "a", "--top", "many"], 'Invalid value for --top: unable to convert "many" into int.'),
        (["lens", "a", "--top", "1", "--top", "2"], ""),
        (["heads", "a", "--top", "-1"], 'Invalid value "-1" for --top. Must be >= 1.'),
        (["heads", "--corpus", "x", "--sample", "0"], 'Invalid value "0" for --sample. Must be >= 1.'),
        (["heads", "a", "--seed", "-1"], 'Invalid value "-1" for --seed.'),
        (["heads", "a", "--seed", str(2**63)], f'Invalid value "{2**63}" for --seed.'),
        (["heads", "a", "--sort", "size"], 'Invalid value "size" for --sort. Choose from: "induction", "previous"'),
        (["models", "extra"], "Unused Tokens: ['extra']."),
        (["doctor", "--model", "x"], "Unknown option: --model."),
        (["[red]x[/red]"], 'Unknown command "[red]x[/red]".'),
        (["\x1b[31mx\udcff\n"], r'Unknown command "\x1b[31mx\udcff\n".'),
        (["lens", "a", "--[/b]\x1b[31m"], ""),
        (["lens", "a", "--top", "\x1b]0;title\x07"], r'Invalid value for --top: unable to convert "\x1b]0;title\x07"'),
    ],
)
def test_a_wrong_call_is_one_sentence_that_points_to_the_help(call: Call, arguments: list[str], said: str) -> None:
    complaint = call(*arguments).complaint(2)
    assert complaint.startswith(said)
    assert complaint.endswith(" See micrographia --help.")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["lens", "a", "--model", b"\xff[/b]"], 2, r"No model is called '\udcff[/b]'."),
        (["heads", "--corpus", b"\x1b[31m\xff"], 2, r"There is no file '\x1b[31m\udcff'."),
        (["lens", "a", "--model", "lab/model"], 1, "lab/model is not in the hub's cache"),
    ],
)
def test_a_process_ends_with_the_code_and_without_a_traceback(
    arguments: list[str | bytes], code: int, said: str
) -> None:
    assert spawn(*arguments).complaint(code).startswith(said)


# ---------------------------------------------------------------- among programs


def test_results_and_nothing_else_go_to_stdout(folder: Path) -> None:
    """In a process of its own, where warnings of other libraries would be seen."""
    shown = json.loads(spawn("lens", "t3 t4", "--model", str(folder), "--json", LANG="C", LC_ALL="C").result())
    assert shown["prompt"]["ids"] == [3, 4]


RESULTS = """
from micrographia.cli.app import app
from micrographia.cli.screen import print_json, results

@app.command
def text(): results().print("␣ é 🙂")

@app.command
def figures(*, n: int = 1): print_json({"␣ é 🙂": "1" * n})
"""
"""Verbs that need no model."""


def test_an_encoding_without_our_letters_is_no_failure() -> None:
    """A process of its own, because the encoding of stdout is chosen at the start."""
    assert spawn("text", before=RESULTS, PYTHONIOENCODING="ascii").result() == "\\u2423 \\xe9 \\U0001f642\n"
    shown = spawn("figures", before=RESULTS, PYTHONIOENCODING="ascii").result()
    assert json.loads(shown) == {"␣ é 🙂": "1"}


@pytest.mark.parametrize("arguments", [["text"], ["figures"], ["figures", "--n", "200000"], ["--help"]])
def test_a_reader_that_leaves_early_is_no_failure_to_talk_about(arguments: list[str]) -> None:
    """What fits into a buffer fails at the last flush, the rest in the middle of a write, and both quietly."""
    reader, writer = os.pipe()
    os.close(reader)
    left = spawn(*arguments, before=RESULTS, stdout=writer)
    os.close(writer)
    assert (left.code, left.err) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["text"], ["figures"], ["figures", "--n", "200000"]])
def test_results_that_cannot_be_written_are_a_failure_once(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        assert spawn(*arguments, before=RESULTS, stdout=full).complaint(1) == "No space left on device."


def test_an_interruption_is_one_line_and_its_own_exit_code(tmp_path: Path) -> None:
    """The command is waiting for its corpus, which is a pipe that nobody writes to."""
    corpus = tmp_path / "corpus"
    os.mkfifo(corpus)
    child = subprocess.Popen(
        command("heads", "--corpus", str(corpus)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with corpus.open("w"):  # returns when the command has opened the other end
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out, err) == (130, "", "error: interrupted.\n")


def test_threads_sleep_while_they_wait_unless_told_otherwise(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    call("models")
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    call("models")
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_no_escape_code_reaches_what_is_no_terminal(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" in on_terminal(lambda: call("models"))
    for arguments in ((), ("lens", "--help"), ("models",), ("lens", "a", "--model", "nosuch")):
        shown = call(*arguments)
        assert "\x1b" not in shown.out + shown.err
