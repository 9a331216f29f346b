"""What `micrographia heads` shows, beside what the instrument measured."""

import json
import random
import re
from pathlib import Path

import pytest

from micrographia.graph.files import load_graph
from micrographia.microscope import Microscope
from tests.cli.calling import Call
from tests.model.tiny_gguf import gguf_of

PROMPT = "t3 t14 t15 t9 t2 t60 t33"
SCORES = ("induction", "previous", "first", "entropy")


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


@pytest.mark.parametrize("sort", SCORES)
def test_heads_are_sorted_by_the_score_asked_for(call: Call, folder: Path, scope: Microscope, sort: str) -> None:
    shown = call("heads", PROMPT, "--model", str(folder), "--sort", sort, "--top", "5").result().splitlines()
    found = scope.heads(PROMPT)
    expected = [f"{layer}.{head}" for layer, head in found.top(sort, 5)]
    assert [cells(line)[0] for line in shown[2:-1]] == expected
    figures = [float(cells(line)[1 + SCORES.index(sort)].removesuffix(" bit")) for line in shown[2:-1]]
    assert figures == sorted(figures, reverse=True)
    assert len(set(figures)) > 1, "equal figures would be in any order"


def test_without_a_wish_they_are_sorted_by_induction(call: Call, folder: Path) -> None:
    plain = call("heads", PROMPT, "--model", str(folder)).result()
    assert plain == call("heads", PROMPT, "--model", str(folder), "--sort", "induction").result()
    assert len(plain.splitlines()) == 2 + 12 + 1, "a header, the uniform line, every head, and what was measured"


def test_every_score_stands_beside_what_uniform_attention_gets(call: Call, folder: Path, scope: Microscope) -> None:
    shown = call("heads", PROMPT, "--model", str(folder)).result().splitlines()
    uniform = scope.heads(PROMPT).uniform
    assert cells(shown[0]) == ["head", *SCORES, "promotes at the last position"]
    assert cells(shown[1]) == [
        "uniform",
        *(f"{uniform[name].mean():.3f}" for name in SCORES[:3]),
        f"{uniform['entropy'].mean():.2f} bit",
    ]
    assert shown[-1] == ("1 text, 6 positions; induction on 8 random sequences of 32 tokens said twice, seed 0.")


def test_the_last_column_shows_what_each_head_promotes(call: Call, folder: Path, scope: Microscope) -> None:
    shown = call("heads", PROMPT, "--model", str(folder)).result().splitlines()
    tops, pieces = scope.head_tops(PROMPT), scope.model.tokenizer.pieces
    for line in shown[2:-1]:
        layer, head = map(int, cells(line)[0].split("."))
        assert cells(line)[5] == " ".join(pieces(tops.tokens[layer, head].tolist()))


def test_json_holds_every_head_and_every_figure(call: Call, folder: Path, scope: Microscope) -> None:
    shown = json.loads(call("heads", PROMPT, "--model", str(folder), "--json", "--top", "1", "--seed", "3").result())
    found, tops = scope.heads(PROMPT, seed=3), scope.head_tops(PROMPT)
    assert (shown["model"], shown["positions"], shown["repeated_sequences"]) == ("tiny", 6, 8)
    assert shown["uniform"] == {name: figures.tolist() for name, figures in found.uniform.items()}
    assert len(shown["heads"]) == 12
    for row in shown["heads"]:
        place = row["layer"], row["head"]
        assert {name: row[name] for name in SCORES} == {name: float(found.table(name)[place]) for name in SCORES}
        assert row["promotes"] == list(scope.model.tokenizer.pieces(tops.tokens[place].tolist()))


def test_another_seed_draws_other_random_tokens(call: Call, folder: Path) -> None:
    shown = [call("heads", PROMPT, "--model", str(folder), "--seed", seed).result() for seed in ("0", "0", "1")]
    assert shown[0] == shown[1]
    assert cells(shown[0].splitlines()[2]) != cells(shown[2].splitlines()[2])


def test_a_corpus_is_cut_into_pieces_of_the_context_and_sampled(
    call: Call, folder: Path, scope: Microscope, tmp_path: Path
) -> None:
    chooser = random.Random(5)
    words = [f"t{chooser.randint(2, 79)}" for _ in range(64 * 3 + 10)]
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(" ".join(words))
    whole = json.loads(call("heads", "--corpus", str(corpus), "--model", str(folder), "--json").result())
    assert whole["positions"] == 3 * 63 + 9, "the context of 64, whose first position looks at itself alone"
    pieces = [" ".join(words[start : start + 64]) for start in range(0, len(words), 64)]
    found = scope.heads(pieces)
    assert whole["uniform"] == {name: figures.tolist() for name, figures in found.uniform.items()}
    for row in whole["heads"]:
        assert row["previous"] == float(found.previous[row["layer"], row["head"]])
        assert "promotes" not in row
    sampled = json.loads(
        call("heads", "--corpus", str(corpus), "--model", str(folder), "--json", "--sample", "2").result()
    )
    assert sampled["positions"] in (126, 63 + 9)


def test_a_corpus_may_hold_any_text(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a model whose tokens are bytes: an emoji is four of them."""
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path / "cache"))
    gguf_of("llama", tmp_path / "bytes.gguf")
    corpus = tmp_path / "corpus 🙂.txt"
    corpus.write_text("Ünïcödé 🙂🙂 \u202e\x1b[31m\x00 [red]naïve[/red] 漢字\r\n" * 2, encoding="utf-8")
    shown = call("heads", "--corpus", str(corpus), "--model", str(tmp_path / "bytes.gguf"), "--top", "3").result()
    assert cells(shown.splitlines()[0]) == ["head", *SCORES]
    assert len(shown.splitlines()) == 2 + 3 + 1
    assert "\x1b" not in shown


def test_a_prompt_and_a_corpus_exclude_each_other(call: Call, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").write_text("t3 t4")
    for arguments in ((), ("t3", "--corpus", str(tmp_path / "corpus"))):
        said = call("heads", *arguments, "--model", str(folder)).complaint(2)
        assert said == 'Give either a prompt or --corpus FILE, as in: micrographia heads "The cat sat on the mat".'


def test_what_cannot_be_scored_is_refused(call: Call, folder: Path, tmp_path: Path) -> None:
    empty, blank, binary = tmp_path / "empty", tmp_path / "blank", tmp_path / "binary"
    empty.touch()
    blank.write_text(" \n\n ")
    binary.write_bytes(b"\x7fELF\x02\xff\xfe\x00")
    cases = {
        ("t3",): "To score heads, give text of at least two tokens.",
        ("--corpus", str(empty)): "The corpus holds no text. Give a file with at least two tokens.",
        ("--corpus", str(blank)): "The corpus holds no text. Give a file with at least two tokens.",
        ("--corpus", str(binary)): f"'{binary}' cannot be read as text: 'utf-8' codec can't decode byte 0xff",
        ("--corpus", str(tmp_path)): f"'{tmp_path}' cannot be read as text",
        ("--corpus", str(tmp_path / "none")): f"There is no file '{tmp_path / 'none'}'.",
    }
    for arguments, expected in cases.items():
        assert call("heads", *arguments, "--model", str(folder)).complaint(2).startswith(expected)


@pytest.fixture
def traced(call: Call, folder: Path, tmp_path: Path) -> Path:
    """A graph of the tiny model, kept."""
    place = tmp_path / "kept"
    call("trace", PROMPT, "--model", str(folder), "--target", "t13", "--nodes", "40", "--out", str(place)).result()
    return place


def test_an_edge_is_split_over_heads_and_the_parts_add_up(call: Call, folder: Path, traced: Path) -> None:
    shown = call("heads", str(traced), "--edge", "token@5", "target.0", "--model", str(folder), "--json").result()
    found = json.loads(shown)
    graph = load_graph(traced)
    edge = next(each for each in graph.inputs_of("target.0") if str(each.source) == "token@5")
    assert found["edge"] == pytest.approx(edge.weight, rel=1e-3)
    for name in ("last", "first"):
        whole = found["direct"] + sum(head[name] for head in found["heads"])
        assert whole == pytest.approx(found["edge"], rel=1e-5)
    sizes = [abs(head["last"]) for head in found["heads"]]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 12
    assert any(sizes)


def test_the_table_of_an_edge_ends_in_the_edge(call: Call, folder: Path, traced: Path) -> None:
    call_ = ("heads", str(traced), "--edge", "token@5", "target.0", "--model", str(folder), "--top", "3")
    lines = call(*call_).result().splitlines()
    assert cells(lines[0])[0].startswith("From token@5 t")
    names = [cells(line)[0] for line in lines[2:]]
    at = names.index("the edge")
    assert names[:2] == ["head", "no head: direct"]
    assert names[at - 1] == "9 other heads"
    assert cells(lines[2 + at])[2] == "100.0%"


def test_an_edge_needs_a_graph_and_must_be_in_it(call: Call, folder: Path, traced: Path) -> None:
    assert "--edge needs a graph" in call("heads", "--edge", "token@4", "target.0").complaint(2)
    said = call("heads", str(traced), "--edge", "target.0", "token@1", "--model", str(folder)).complaint(2)
    assert "There is no edge from target.0 to token@1" in said
