"""What `micrographia lens` shows, beside what the instrument measured."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from micrographia.microscope import Microscope
from micrographia.model.lens import residual_sites
from tests.cli.calling import Call, Called, on_terminal

HERO = "The official language of the country where the Eiffel Tower is located is"
PROMPT = "t3 t14 t15 t9 t2 t60"


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def rows(called: Called) -> dict[str, list[str]]:
    """The table by its first column."""
    return {cut[0]: cut[1:] for cut in map(cells, called.result().splitlines())}


def test_the_table_ends_with_the_models_own_answer(call: Call) -> None:
    shown = call("lens", HERO)
    *table, answers = shown.result().splitlines()
    header, last = cells(table[0]), cells(table[1])
    assert header[0] == "read at"
    assert header[-2:] == ["rank of ␣French", "p"]
    assert last[0] == "resid_post.29"
    assert last[-3:-1] == ["␣French", "1"]
    assert float(last[-1]) == pytest.approx(0.965, abs=0.002)
    assert cells(table[-1])[0] == "resid_pre.0"
    assert len(table) == 1 + 31
    assert re.match(r"The model answers: ␣French 0\.96\d, ␣English 0\.01\d, ", answers)


def test_a_watched_word_without_its_space_is_followed_and_the_other_token_is_named(call: Call) -> None:
    shown = call("lens", HERO, "--watch", "French").result()
    assert "rank of French" in shown
    assert shown.endswith("'French' and ' French' are two tokens; this followed the one without the space.\n")


def test_every_cell_is_the_likeliest_token_there(call: Call, folder: Path, scope: Microscope) -> None:
    shown = rows(call("lens", PROMPT, "--model", str(folder)))
    assert shown["read at"][:6] == PROMPT.split()
    residuals = scope.model.run(PROMPT, read=["resid_pre.0", "resid_post"], logits="none")
    for site, act in residuals.acts.items():
        norm = scope.model.weights.final_norm
        scale = (act.square().mean(-1, keepdim=True) + norm.eps).sqrt()
        logits = scope.model.weights.unembed(act / scale * norm.gain)[0]
        assert shown[str(site)][:6] == list(scope.model.tokenizer.pieces(logits.argmax(-1).tolist())), site


def test_the_watched_token_has_its_rank_and_probability_at_the_last_position(
    call: Call, folder: Path, scope: Microscope
) -> None:
    shown = rows(call("lens", PROMPT, "--model", str(folder), "--watch", "t33"))
    logits = scope.model.run(PROMPT).logits[0, -1]
    order = logits.argsort(descending=True).tolist()
    assert shown["read at"][6:] == ["rank of t33", "p"]
    assert shown["resid_post.2"][6:] == [str(order.index(33) + 1), f"{logits.softmax(-1)[33]:.3f}"]
    assert int(shown["resid_post.2"][6]) > 1, "a token that wins anyway would show nothing"


def test_the_residual_between_attention_and_mlp_is_shown_when_asked_for(call: Call, folder: Path) -> None:
    plain = rows(call("lens", PROMPT, "--model", str(folder)))
    between = rows(call("lens", PROMPT, "--model", str(folder), "--between"))
    assert set(between) - set(plain) == {"resid_mid.0", "resid_mid.1", "resid_mid.2"}
    assert {site: between[site] for site in plain} == plain


def test_json_holds_every_figure_of_the_instrument(call: Call, folder: Path, scope: Microscope) -> None:
    shown = json.loads(call("lens", PROMPT, "--model", str(folder), "--watch", "t33", "--top", "3", "--json").result())
    found = scope.lens(PROMPT, watch="t33", top=3)
    assert shown["model"] == "tiny"
    assert shown["prompt"] == {"ids": list(found.prompt.ids), "pieces": PROMPT.split()}
    assert shown["watched"] == {"id": 33, "piece": "t33"}
    assert [site["site"] for site in shown["sites"]] == [str(site) for site in residual_sites(scope.model)]

    def figures(key: str) -> torch.Tensor:
        return torch.tensor([[[token[key] for token in place] for place in site["top"]] for site in shown["sites"]])

    assert torch.equal(figures("id"), found.tokens)
    assert torch.equal(figures("probability"), found.probabilities)
    assert [site["watched_rank"] for site in shown["sites"]] == (found.rank + 1).tolist()
    assert torch.equal(torch.tensor([site["watched_probability"] for site in shown["sites"]]), found.probability)


def test_more_tokens_than_there_are_is_all_of_them(call: Call, folder: Path) -> None:
    shown = json.loads(call("lens", "t3", "--model", str(folder), "--top", "1000000", "--json").result())
    assert {len(place) for site in shown["sites"] for place in site["top"]} == {80}


def test_a_narrow_terminal_keeps_the_last_columns_and_says_what_it_hides(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide, narrow = (shown_at(call, folder, monkeypatch, columns) for columns in (200, 60))
    assert "do not fit" not in wide
    assert "The first 4 of 6 tokens do not fit; a wider terminal or --json shows them." in " ".join(narrow.split())
    assert max(map(len, narrow.splitlines())) <= 60
    table = [line for line in narrow.splitlines() if line.startswith(("read at", "resid"))]
    assert cells(table[0])[1:3] == PROMPT.split()[-2:]
    last = [cells(line)[-4:] for line in wide.splitlines() if line.startswith("resid")]
    assert [cells(line)[-4:] for line in table[1:]] == last


def test_however_narrow_the_terminal_the_last_column_stays(
    call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = shown_at(call, folder, monkeypatch, 20)
    assert "The first 5 of 6 tokens" in " ".join(narrow.split())


def shown_at(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> str:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "50")  # without it, a dumb terminal is taken to be 80 wide
    return on_terminal(lambda: call("lens", PROMPT, "--model", str(folder)))


def test_colours_are_for_terminals_that_want_them(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colour = re.compile(r"\x1b\[[\d;]*[349]\d[\d;]*m")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    lens = ("lens", PROMPT, "--model", str(folder))
    assert colour.search(on_terminal(lambda: call(*lens)))
    assert "\x1b" not in call(*lens).result()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour.search(on_terminal(lambda: call(*lens)))


def test_tokens_that_look_like_markup_are_shown_as_they_are(call: Call, folder: Path, tmp_path: Path) -> None:
    """`[/red]` would be an error to rich, `[red]` a colour, `:eyes:` a picture."""
    hostile = Path(shutil.copytree(folder, tmp_path / "[bold]m[/bold]"))
    path = hostile / "tokenizer.json"
    text = path.read_text()
    for plain, word in {'"t3"': '"[/red]"', '"t4"': '"[red]x[/red]"', '"t5"': '":eyes:"'}.items():
        assert plain in text
        text = text.replace(plain, word)
    path.write_text(text)
    shown = rows(call("lens", "[/red] [red]x[/red] :eyes:", "--model", str(hostile), "--watch", "[/red]"))
    assert shown["read at"] == ["[/red]", "[red]x[/…", ":eyes:", "rank of [/red]", "p"]
    lined = call("heads", "[/red] [red]x[/red] :eyes:", "--model", str(hostile)).result()
    assert "promotes" in lined


def test_a_model_that_computes_no_numbers_is_not_given_ranks(call: Call, folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    tensors = load_file(broken / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.weight"][3, 3] = float("nan")
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    for extra in ((), ("--json",), ("--watch", "t5")):
        said = call("lens", "t3 t4", "--model", str(broken), *extra).complaint(1)
        assert said.startswith("broken computes what is no number in torch.float32: its weights are damaged")
    said = call("heads", "t3 t4", "--model", str(broken)).complaint(1)
    assert said.startswith("broken attends by what is no number in torch.float32")
