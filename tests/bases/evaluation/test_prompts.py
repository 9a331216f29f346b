"""What is asked for, and what is counted as right, against a loop over every position."""

import pytest
import torch

from micrographia.bases.evaluation import prompts
from micrographia.bases.evaluation.baselines import ConstantStandIn
from micrographia.bases.evaluation.passages import Passage, Passages, draw
from micrographia.bases.evaluation.prompts import Unigrams, count_unigrams, replace_on_prompts
from micrographia.bases.evaluation.standin import NeuronStandIn, PerLayerStandIn
from micrographia.corpus.corpus import Corpus
from micrographia.ids import Layer
from micrographia.model.edits import at
from micrographia.store import silent
from tests.bases.evaluation.bases import per_layer, some_passages


def test_unigrams_are_those_of_the_training_text(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    found = count_unigrams(corpus, 80, seed=0)
    ids = torch.cat([torch.from_numpy(document.ids.astype("int64")) for document in corpus.documents("train")])
    assert torch.equal(found.counts, ids.bincount(minlength=80).double())
    assert found.n_tokens == len(ids)
    monkeypatch.setattr(prompts, "_MOST_COUNTED", 200)
    assert 200 <= count_unigrams(corpus, 80, seed=0).n_tokens < 400


def test_rare_is_less_than_one_in_ten_thousand() -> None:
    assert Unigrams(torch.tensor([99_981.0, 9.0, 10.0])).rare().tolist() == [False, True, False]


@pytest.mark.parametrize("case", ["llama", "gemma2"])
def test_every_question_and_answer(tiny, case: str) -> None:
    """The tiny models are never right by chance on a fixed text, so they write it themselves."""
    model = tiny(case)
    starts = some_passages(*[3] * 9, documents=3).passages
    texts = [model.generate(model.tokenizer.from_ids(start.ids), max_new=14, stop=[]).ids for start in starts]
    own = Passages(
        tuple(Passage((*start.ids, *text), start.document) for start, text in zip(starts, texts, strict=True)), 3
    )
    common = {2, 3}
    counts = torch.ones(80)
    counts[sorted(common)] = 1e6
    basis = per_layer(model, skip=True)
    stand_ins = [NeuronStandIn(model), PerLayerStandIn(basis)]
    found = replace_on_prompts(model, own, stand_ins, Unigrams(counts), tokens=60, progress=silent)
    asked, right = torch.zeros(3), torch.zeros(3, 2)
    for passage in own.passages:
        prompt, inputs = model.tokenizer.from_ids(passage.ids), {}

        def hold(act, site, /, inputs=inputs):
            inputs[site.layer] = act
            return act

        def write(act, site, /, inputs=inputs):
            new = basis.layers[site.layer](inputs[site.layer][0])[None]
            return torch.cat([act[:, :1], new[:, 1:]], dim=1)

        clean = model.run(prompt).logits[0].softmax(-1)
        spliced = model.run(prompt, edit=[at("mlp_in").apply(hold), at("mlp_out").apply(write)]).logits[0]
        for target in range(11, 17):
            token = passage.ids[target]
            sure, best = clean[target - 1].max(-1)
            if int(best) == token and sure < 0.82 and token not in common and token not in passage.ids[:target]:
                asked[passage.document] += 1
                right[passage.document, 0] += 1
                right[passage.document, 1] += int(spliced[target - 1].argmax()) == token
    assert asked.sum() > 0
    assert torch.equal(found.asked, asked.double())
    assert torch.equal(found.right, right.double())


def test_nothing_in_the_place_of_the_mlps_gets_less_right(corpus: Corpus, tiny) -> None:
    model = tiny("llama")
    passages = draw(corpus, "heldout", length=17, positions=2000, seed=0, shortest=17)
    zero = ConstantStandIn({Layer(i): torch.zeros(model.anatomy.d_model, dtype=torch.float64) for i in range(3)})
    found = replace_on_prompts(
        model, passages, [NeuronStandIn(model), zero], Unigrams(torch.full((80,), 1e-9)), tokens=500, progress=silent
    )
    assert torch.equal(found.right[:, 0], found.asked)
    assert (found.right[:, 1] <= found.asked).all()
