from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from micrographia.corpus.build import build
from micrographia.corpus.corpus import Corpus
from micrographia.corpus.recipe import OnPolicy, Recipe
from micrographia.corpus.sampling import sampled
from micrographia.errors import CallError
from micrographia.model.load import load_model
from micrographia.model.model import Model
from micrographia.model.tokens import BosPolicy
from tests.model.conftest import save_tiny

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny("llama", folder)
    return load_model(str(folder), dtype="float64", device="cpu")


def own(**choices: object) -> OnPolicy:
    return OnPolicy.model_validate({"name": "own", "documents": 7, "max_new": 12, "batch": 3, "top_p": 1.0} | choices)


def test_rounds_do_not_depend_on_those_before_them(model: Model) -> None:
    everything = list(sampled(own(), model, 0))
    assert [document.name for document in everything] == [f"own/{number}" for number in range(7)]
    assert len({document.text for document in everything}) > 3
    for start in (1, 3, 5, 7):
        assert list(sampled(own(), model, start)) == everything[start:]


def test_the_seed_decides(model: Model) -> None:
    texts = [[document.text for document in sampled(own(seed=seed), model, 0)] for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


def test_openings_are_gone_on_with_in_turn_and_nothing_in_front_is_text(model: Model) -> None:
    opened = [document.text for document in sampled(own(openings=("t5 t6", "t7")), model, 0)]
    assert [text.startswith("t5 t6" if i % 2 == 0 else "t7") for i, text in enumerate(opened)] == [True] * 7
    assert not any(document.text.startswith("<s>") for document in sampled(own(temperature=0.0), model, 0))


def test_a_model_that_begins_with_nothing_needs_openings(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.tokenizer, "bos", BosPolicy((), "tokenizer"))
    monkeypatch.setattr(model.tokenizer, "ends", ())
    with pytest.raises(CallError, match=r"has no token that begins a text\. Give openings"):
        list(sampled(own(), model, 0))


def test_a_build_that_died_samples_only_what_is_missing(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(sources=(own(documents=40),), heldout=0.3)

    def begin(out: Path, make: "Callable[[], Model]") -> None:
        build(recipe, out, model.tokenizer, model=make, shard_tokens=64 * 100)

    begin(tmp_path / "whole", lambda: model)
    sampled_rounds = 0
    write = model.generate_many

    def dying(self: Model, *arguments: object, **choices: object) -> object:
        nonlocal sampled_rounds
        sampled_rounds += 1
        if sampled_rounds == 12:
            raise KeyboardInterrupt
        return write(*arguments, **choices)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "generate_many", dying)
        with pytest.raises(KeyboardInterrupt):
            begin(tmp_path / "again", lambda: model)
        begun = len(list((tmp_path / "again.building").glob("shard-*")))
        assert begun > 0
        begin(tmp_path / "again", lambda: model)
    assert sampled_rounds < 12 + 14
    found = Corpus.open(tmp_path / "again")
    assert found.sha256 == Corpus.open(tmp_path / "whole").sha256
    assert found.manifest.sources[0].read == 40
