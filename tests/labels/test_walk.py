"""A branch is the real model with one thing changed, at the price of the positions behind the change."""

import numpy as np
import torch

from micrographia.atlas.atlas import Atlas
from micrographia.ids import TokenId
from micrographia.labels.halves import Halves, Reading
from micrographia.labels.walk import Branch, Walk
from micrographia.model.edits import at
from micrographia.model.model import Model
from micrographia.model.site import Point, Site


def reading_of(model: Model) -> Reading:
    chance = np.random.default_rng(0)
    ids = chance.integers(2, 80, (5, 12))
    documents = np.repeat(np.arange(5)[:, None], 11, 1)
    held = documents >= 2
    return Reading(np.arange(5), ids, documents, ~held, held)


def prompt(model: Model, ids) -> object:
    return model.tokenizer.from_ids([TokenId(int(i)) for i in ids])


def test_windows_pass_blocks_as_in_one_run(model: Model) -> None:
    reading = reading_of(model)
    walk = Walk(model, reading, 2)
    whole = model.run([prompt(model, ids) for ids in reading.ids], read=["mlp_in", "resid_post"])
    for layer in range(model.anatomy.n_layers):
        seen: dict[int, torch.Tensor] = {}
        walk.step(seen.__setitem__, Site(Point.MLP_IN, layer))
        torch.testing.assert_close(seen[0], whole[f"mlp_in.{layer}"])
        torch.testing.assert_close(walk.after, whole[f"resid_post.{layer}"])
    assert np.array_equal(walk.argmax[2:], whole.logits[2:, 1:].argmax(-1).numpy())
    assert (walk.argmax[:2] == -1).all()


def test_a_token_that_is_replaced_changes_what_a_whole_run_changes(model: Model) -> None:
    reading = reading_of(model)
    walk = Walk(model, reading, 2)
    site = Site(Point.MLP_IN, model.anatomy.n_layers - 1)
    branches = [Branch(3, 9, (7, 8, 9)), Branch(2, 4, (11,)), Branch(3, 10, (5,)), Branch(3, 9, (70, 8, 9))]
    found = walk.edited(branches, site)
    for branch, act in zip(branches, found, strict=True):
        ids = reading.ids[branch.window].copy()
        ids[branch.first : branch.last + 1] = branch.ids
        torch.testing.assert_close(act, model.run(prompt(model, ids), read=site)[site][0, branch.last])


def test_a_residual_that_is_changed_ends_where_a_whole_run_ends(model: Model) -> None:
    reading = reading_of(model)
    walk = Walk(model, reading, 3)
    for _ in range(2):
        walk.step(lambda *_: None, Site(Point.MLP_IN, 0))
    window, position = np.array([4, 2, 4]), np.array([3, 10, 5])
    added = torch.randn(3, model.anatomy.d_model, dtype=model.dtype)
    found = walk.changed(window, position, added)
    for i in range(3):
        edit = at("resid_post.1", positions=[int(position[i])]).add(added[i])
        run = model.run(prompt(model, reading.ids[window[i]]), edit=edit, read="final_norm_in")
        torch.testing.assert_close(found[i], run["final_norm_in"][0, position[i]])
        whole = model.run(prompt(model, reading.ids[window[i]]), read="final_norm_in")["final_norm_in"]
        torch.testing.assert_close(walk.final[window[i] - 2], whole[0])


def test_documents_are_in_one_half(atlas: Atlas) -> None:
    halves = Halves(atlas.text, 0)
    reading = halves.reading(60, 60)
    assert not set(reading.documents[reading.fit]) & set(reading.documents[reading.held])
