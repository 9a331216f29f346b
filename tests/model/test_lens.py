"""The logit lens ends where the model does."""

import torch

from micrographia.ids import TokenId
from micrographia.model.edits import at
from micrographia.model.lens import logit_lens, residual_sites
from micrographia.model.model import Model
from micrographia.model.tokens import Prompt


def prompt(model: Model) -> Prompt:
    return model.tokenizer.from_ids([3, 14, 15, 9, 2])


def test_at_the_last_site_the_lens_is_the_model(model: Model) -> None:
    lens = logit_lens(model, prompt(model))
    probabilities = model.run(prompt(model)).logits[0].softmax(-1)
    assert torch.allclose(lens.probabilities[-1], probabilities.topk(5).values)
    assert torch.equal(lens.tokens[-1], probabilities.topk(5).indices)
    assert lens.watched == int(probabilities[-1].argmax())
    assert lens.rank[-1, -1] == 0
    assert torch.allclose(lens.probability[-1], probabilities[:, lens.watched])


def test_each_site_is_read_through_its_own_scale(model: Model) -> None:
    """The lens at a site is what the model says when every block behind the site writes nothing."""
    sites = residual_sites(model)
    lens = logit_lens(model, prompt(model), watch=TokenId(7))
    run = model.run(prompt(model), read=sites)
    for i, site in enumerate(sites):
        last = f"resid_post.{model.anatomy.n_layers - 1}"
        logits = model.run(prompt(model), edit=[at(last).set(run[site])]).logits[0]
        assert torch.allclose(lens.probability[i], logits.softmax(-1)[:, 7]), site
        assert torch.equal(lens.rank[i], (logits > logits[:, 7:8]).sum(-1)), site


def test_the_sites_are_every_distinct_state_of_the_residual(tiny) -> None:
    names = [str(site) for site in residual_sites(tiny("llama"))]
    assert names == ["resid_pre.0", *(f"{p}.{i}" for i in range(3) for p in ("resid_mid", "resid_post"))]
    assert [str(s) for s in residual_sites(tiny("neox"))] == [
        "resid_pre.0",
        *(f"resid_post.{i}" for i in range(3)),
    ]
