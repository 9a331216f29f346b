"""A score of likeness means something only beside its null."""

import numpy as np
import pytest

from micrographia.atlas.atlas import Atlas
from micrographia.errors import CallError
from micrographia.labels.halves import Halves
from micrographia.labels.minilm import MiniLM
from micrographia.labels.windows import WINDOWS, Embedder, ModelStates, embedder_named, strongest_places, window_scores
from micrographia.model.model import Model


class Counts:
    """How often each token stands in a text."""

    def __call__(self, texts):
        return np.stack([np.bincount(text, minlength=80).astype(np.float64) for text in texts])


def test_texts_that_share_a_token_are_beyond_random_ones_and_random_ones_are_not(atlas: Atlas) -> None:
    halves, text = Halves(atlas.text, 0), atlas.text
    token = int(np.bincount(text.ids.ravel())[2:].argmax()) + 2
    places = np.flatnonzero(text.ids.ravel() == token).astype(np.uint32)
    found = {each.name: each for each in window_scores(places, halves, Counts())}
    assert set(found) == set(WINDOWS)
    assert found["input"].p < 0.02
    assert found["input"].cosine > found["input"].null
    chance = np.random.default_rng(0).permutation(text.ids.size)[:30].astype(np.uint32)
    assert min(each.p for each in window_scores(chance, halves, Counts())) > 0.02


def test_the_models_own_states_embed_texts_of_any_length(llama: Model) -> None:
    embedder = ModelStates(llama)
    assert isinstance(embedder, Embedder)
    rows = embedder([[5, 6, 7], [5], [5, 6, 7]])
    assert rows.shape == (3, llama.anatomy.d_model)
    np.testing.assert_allclose(rows[0], rows[2])
    run = llama.run(llama.tokenizer.from_ids([*llama.tokenizer.front(), 5, 6, 7]), read="resid_post.1")
    n = len(llama.tokenizer.front())
    np.testing.assert_allclose(rows[0], run["resid_post.1"][0, n:].mean(0).numpy(), rtol=1e-5)


def test_too_few_documents_say_nothing(atlas: Atlas) -> None:
    with pytest.raises(CallError, match="in 1 documents, and 5 are needed"):
        window_scores(np.array([20]), Halves(atlas.text, 0), Counts())


def test_an_embedder_goes_by_its_name_and_no_other(llama: Model, atlas: Atlas) -> None:
    assert isinstance(embedder_named("model", llama), ModelStates)
    assert isinstance(embedder_named("minilm", llama), MiniLM)
    with pytest.raises(CallError, match=r"no embedder 'bert'\. Write 'model' or 'minilm'"):
        embedder_named("bert", llama)


def test_the_strongest_places_go_on_in_the_random_sample_and_equal_contexts_count_once(atlas: Atlas) -> None:
    for index in range(atlas.n_features(0)):
        feature = atlas.feature(0, index)
        places, kept = strongest_places(feature).tolist(), feature.strongest.place.tolist()
        assert places[: len(kept)] == kept
        rest = dict(zip(feature.sample.place.tolist(), feature.sample.activation.tolist(), strict=True))
        assert [rest[place] for place in places[len(kept) :]] == sorted(map(rest.get, places[len(kept) :]))[::-1]
        seen = [feature.sample.text.tokens(place, 7, 0)[0] for place in places]
        assert len(set(seen)) == len(seen)
        assert set(seen) == {feature.sample.text.tokens(place, 7, 0)[0] for place in [*kept, *rest]}
