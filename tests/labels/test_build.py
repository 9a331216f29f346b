"""Planted neurons are called what they are, and what nothing is called stays without a name."""

from pathlib import Path

import numpy as np
import pytest

from micrographia.calibration.planted import EXPECTED, ROLES
from micrographia.errors import CallError
from micrographia.labels.build import LabelConfig, _bar, build_labels
from micrographia.labels.difference import difference
from micrographia.labels.store import LabelBook
from tests.labels.slides import Labelled, confusion, labelled

COUNTS = dict(input=12, both=12, output=12, skip=6, cross=6, position=6, sum=12, random=12)
CONFIG = LabelConfig(fit=12_000, held=20_000, windows=300)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    return labelled(tmp_path_factory.mktemp("slide"), COUNTS, documents=700, config=CONFIG)


def test_planted_neurons_are_called_what_they_are(found: Labelled) -> None:
    counts = confusion(found)
    right = sum(n for (role, kind), n in counts.items() if EXPECTED[role] == kind)
    assert set(COUNTS) == set(ROLES)
    assert right / sum(counts.values()) >= 0.95, counts


def test_what_is_obscure_has_no_name_and_random_directions_have_none(found: Labelled) -> None:
    labels = found.book.labels(0)
    obscure = [labels[i] for i, each in enumerate(found.slide.features) if EXPECTED[each.role] == "obscure"]
    assert sum(label.kind == "obscure" for label in obscure) / len(obscure) >= 0.95
    assert all(label.text is None for label in obscure if label.kind == "obscure")
    (control,) = found.book.controls().values()
    assert control.tried == 250
    assert (control.input + control.output + control.cross) / control.tried <= 0.02


def test_names_are_the_planted_ones(found: Labelled) -> None:
    labels, pairs = found.book.labels(0), list[bool]()
    for index, each in enumerate(found.slide.features):
        label = labels[index]
        if label.kind != EXPECTED[each.role] or label.text is None:
            continue
        words = [f"w{token}" for token in each.reads]
        match each.role:
            case "input":
                assert label.text == words[0]
            case "both":
                assert label.text.startswith(f"{words[0]} → say w{each.says}")
            case "output":
                assert label.text.startswith(f"say w{each.says}")
            case "skip":
                # Where the second token rarely stands elsewhere, naming it alone is right as well.
                assert label.text.removesuffix(f" 3 tokens after {words[0]}") == words[1]
                pairs.append("after" in label.text)
            case "position":
                first, last = each.reads[0], each.reads[-1]
                assert label.evidence is not None
                assert label.evidence.rule == f"{first}-{last} of text"
                assert label.evidence.edits.named < 0.1 < 0.5 < label.evidence.edits.other
            case "cross":
                named = {int(word[1:]) for word in label.text.split() if word.startswith("w")}
                assert len(named & set(found.slide.topics[each.reads[0]])) >= len(named) - 1
            case _:
                pytest.fail(f"{each} has the name {label.text}")
    assert sum(pairs) > len(pairs) / 2


def test_every_name_stands_above_its_nulls(found: Labelled) -> None:
    labels = [label for label in found.book.labels(0).values() if label.text is not None]
    assert labels
    for label in labels:
        assert label.score is not None
        assert label.nulls is not None
        assert label.score > max(label.nulls["random"], label.nulls.get("shuffled", 0.0))
        assert label.evidence is not None
        if label.kind in ("input", "both"):
            held, edits = label.evidence.held, label.evidence.edits
            assert held is not None
            assert edits is not None
            assert held.f1 >= held.bar
            assert edits.named < edits.other
        if label.kind in ("output", "both"):
            effect = label.evidence.effect
            assert effect is not None
            assert effect.ablated < 0 < effect.boosted


def test_the_same_call_adds_nothing_and_the_same_labels_come_again(found: Labelled, tmp_path: Path) -> None:
    slide, atlas = found.slide, found.atlas
    told: list[tuple[str, int, int]] = []
    assert build_labels(
        slide.model, slide.basis, atlas, found.book, config=CONFIG, progress=lambda *said: told.append(said)
    )
    assert told == [("labelling layers", 1, 1)]
    with LabelBook.create(tmp_path / "again.labels") as again:
        assert not build_labels(slide.model, slide.basis, atlas, again, config=CONFIG, stopped=lambda: True)
        assert not again.layers
        assert build_labels(slide.model, slide.basis, atlas, again, config=CONFIG)
        assert not difference(found.book, again).changes
        again.say(0, 1, "mine")
        ((change),) = difference(found.book, again).changes
        assert change.place == (0, 1)


def test_a_layer_that_is_not_there_is_refused(found: Labelled) -> None:
    with pytest.raises(CallError, match="no layer 3; it has: 0"):
        build_labels(found.slide.model, found.slide.basis, found.atlas, found.book, layers=[3])


def test_one_in_three_hundred_random_directions_may_be_above_the_bar() -> None:
    reached = np.random.default_rng(0).random(900)
    assert (reached > _bar(reached, 300)).sum() == 2
    assert _bar(reached[:299], 300) == reached[:299].max()
