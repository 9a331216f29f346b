"""Edits are values: made without a model, kept, and used as often as one likes."""

from dataclasses import FrozenInstanceError

import pytest
import torch

from micrographia.errors import EditError
from micrographia.ids import Layer
from micrographia.model.edits import Add, Apply, Edit, Mean, Replace, Resample, Scale, at
from micrographia.model.site import Point, Site


def test_a_place_says_where_and_nothing_more() -> None:
    place = at("z.5", positions=[1, -1], heads=[3])
    assert (place.site, place.positions, place.heads, place.neurons) == ("z.5", (1, -1), (3,), None)
    everywhere = at(Site(Point.LOGITS))
    assert (everywhere.positions, everywhere.heads, everywhere.neurons) == (None, None, None)


@pytest.mark.parametrize("given", [3, (3,), [3], torch.tensor([3]), torch.tensor(3), range(3, 4)])
def test_indices_may_be_written_in_many_ways(given: object) -> None:
    place = at("z", positions=given, heads=given, neurons=given)
    assert place.positions == place.heads == place.neurons == (3,)
    assert {type(i) for i in (*place.positions, *place.heads, *place.neurons)} == {int}


@pytest.mark.parametrize("given", [True, [True, False], torch.tensor([True])])
def test_a_mask_is_not_taken_for_indices(given: object) -> None:
    with pytest.raises(EditError, match=r"heads takes indices, not a mask of truths: mask\.nonzero\(\)"):
        at("z", heads=given)


def test_what_is_no_whole_number_is_not_taken_for_an_index() -> None:
    with pytest.raises(EditError, match="positions is a whole number or a list of them"):
        at("z", positions=torch.tensor([1.5]))


def test_a_slice_of_positions_runs_forwards() -> None:
    assert at("z", positions=slice(-3, None)).positions == slice(-3, None, 1)
    for step in (0, -1):
        with pytest.raises(EditError, match=f"step of at least 1, and this has {step}"):
            at("z", positions=slice(None, None, step))


def test_every_verb_makes_the_change_of_its_name(tiny) -> None:
    run = tiny("llama").run("t3 t4", read=["z.1"])
    direction, editor = torch.ones(6), lambda act, site: act
    place = at("z.1")
    made: list[tuple[Edit, type, dict[str, object]]] = [
        (place.zero(), Replace, {"kind": "replace", "value": 0.0}),
        (place.set(direction), Replace, {"kind": "replace", "value": direction}),
        (place.scale(0.5), Scale, {"kind": "scale", "factor": 0.5}),
        (place.add(direction), Add, {"kind": "add", "value": direction}),
        (place.mean(run), Mean, {"kind": "mean", "reference": run}),
        (place.resample(run), Resample, {"kind": "resample", "reference": run, "source": None}),
        (place.resample(run, source=[0, -1]), Resample, {"kind": "resample", "source": (0, -1)}),
        (place.apply(editor), Apply, {"kind": "apply", "editor": editor}),
    ]
    for edit, kind, values in made:
        assert edit.where is place
        assert type(edit.change) is kind
        for name, value in values.items():
            found = getattr(edit.change, name)
            assert found is value or found == value


def test_an_edit_cannot_be_changed() -> None:
    edit = at("z.1").scale(2.0)
    with pytest.raises(FrozenInstanceError):
        edit.where = at("z.2")  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        edit.where.site = "z.2"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        edit.change.factor = 3.0  # type: ignore[misc, union-attr]


def test_a_place_may_be_named_as_text_as_a_point_or_as_a_site(tiny) -> None:
    model = tiny("llama")
    plain, every = (model.run("t3 t4", edit=[at(site).zero()]).logits for site in ("z.1", "z"))
    assert torch.equal(model.run("t3 t4", edit=[at(Site(Point.Z, Layer(1))).zero()]).logits, plain)
    assert torch.equal(model.run("t3 t4", edit=[at(Point.Z).zero()]).logits, every)
    assert not torch.equal(plain, every)


def test_one_edit_serves_many_runs(tiny) -> None:
    model = tiny("gpt2")
    edit = at("resid_post.1", positions=-1).add(torch.ones(24, dtype=torch.float64))
    first = model.run("t3 t4", edit=[edit]).logits
    longer = model.run(["t9 t8 t7 t6", "t5"], edit=[edit])
    assert torch.equal(model.run("t3 t4", edit=[edit]).logits, first)
    alone = model.run("t5", edit=[edit]).last_logits()
    assert torch.allclose(longer.last_logits()[1:], alone, rtol=0, atol=1e-12)
