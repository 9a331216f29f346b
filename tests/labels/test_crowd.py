"""Who is active where is what the encoder says of whole runs, and random directions are of the features' kind."""

import numpy as np
import pytest
import torch

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.build import watches_of
from micrographia.bases.transcoder import PerLayer
from micrographia.ids import Layer
from micrographia.labels.crowd import DENSE, Crowd, _reads, mixtures
from micrographia.labels.halves import Halves
from micrographia.labels.walk import Walk
from micrographia.model.model import Model

LAYER = Layer(2)
RANDOM = 30


def test_no_long_row_leads_in_a_mixture() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 64, generator=generator)
    rows[7] *= 1000
    rows[8] = 0
    mixed = mixtures(rows, 300, generator)
    cosines = torch.nn.functional.cosine_similarity(mixed, rows[7][None])
    assert mixed.shape == (300, 64)
    assert mixed.isfinite().all()
    assert cosines.abs().mean() < 0.2


@pytest.fixture(scope="module")
def seen(atlas: Atlas, basis: PerLayer, llama: Model):
    """A crowd, and what the features' layer reads at every row, out of whole runs."""
    halves, watch = Halves(atlas.text, 0), watches_of([atlas.layer(LAYER).plan], basis, llama)[0]
    walk = Walk(llama, halves.reading(100, 200), 2)
    while walk.layer < LAYER:
        walk.step(lambda *_: None, watch.site)
    crowd = Crowd.of(walk, watch, atlas.layer(LAYER), basis, RANDOM, 0)
    prompts = [llama.tokenizer.from_ids(ids.tolist()) for ids in walk.reading.ids]
    act = llama.run(prompts, read=f"mlp_in.{LAYER}")[f"mlp_in.{LAYER}"][:, 1:].flatten(0, 1)
    return crowd, act, _reads(watch, llama.weights, RANDOM, 0), walk.reading, halves


def test_features_are_active_where_the_encoder_says(seen, basis: PerLayer) -> None:
    crowd, act, *_ = seen
    wanted = basis.layers[LAYER].encoder(act)
    for one in range(crowd.n_features):
        here = crowd.entries(one)
        assert crowd.row[here].tolist() == wanted[:, one].nonzero()[:, 0].tolist()
        np.testing.assert_allclose(crowd.strength[here], wanted[crowd.row[here], one].numpy(), rtol=1e-3)


def test_random_directions_are_active_where_their_values_are_largest(seen) -> None:
    crowd, act, reads, *_ = seen
    values = (act.to(reads.dtype) @ reads.T).numpy()
    for number in range(RANDOM):
        one = crowd.n_features + number
        rows, strength = crowd.row[crowd.entries(one)], crowd.strength[crowd.entries(one)]
        assert 0 < crowd.density[one] <= DENSE
        assert len(rows) == max(1, round(len(values) * crowd.density[one]))
        assert values[rows, number].min() > np.delete(values[:, number], rows).max()
        assert (np.diff(values[rows, number][np.argsort(strength)]) >= 0).all()


def test_names_are_made_from_places_of_the_one_half(seen) -> None:
    crowd, *_, halves = seen
    for places in (crowd.places, crowd.strong, crowd.top):
        known = places[places >= 0]
        assert len(known)
        assert not halves.held(halves.documents(known)).any()
    for mine in crowd.strong:
        known = mine[mine >= 0]
        assert len(known) == len(np.unique(known))


def test_features_and_random_directions_have_as_many_places_of_the_same_text(seen) -> None:
    crowd, _, _, reading, _ = seen
    fit, length = reading.fit.ravel(), reading.ids.shape[1]
    assert fit.any()
    for one in range(len(crowd)):
        here = crowd.entries(one)
        rows, strength = crowd.row[here], crowd.strength[here]
        inside = fit[rows]
        window, position = np.divmod(rows[inside], reading.per_window)
        wanted = dict(zip((reading.windows[window] * length + position + 1).tolist(), strength[inside], strict=True))
        places, top = (some[one][some[one] >= 0].tolist() for some in (crowd.places, crowd.top))
        assert set(places) <= set(wanted)
        assert len(places) == min(32, len(wanted))
        assert [wanted[place] for place in top] == sorted(wanted.values(), reverse=True)[:8]
