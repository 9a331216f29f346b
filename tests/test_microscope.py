"""The microscope hands each question to its instrument, with the tokens turned into ids."""

from pathlib import Path

import pytest
import torch

import micrographia as mg
from micrographia.bases.neurons import Neurons
from micrographia.errors import CallError, PromptError
from micrographia.labels.halves import Halves
from micrographia.labels.windows import embedder_named, strongest_places, window_scores
from micrographia.model.direct import direct_attribution, head_tops
from micrographia.model.frozen import freeze
from micrographia.model.heads import score_heads
from micrographia.model.lens import logit_lens
from tests.model.conftest import save_tiny

PROMPT = "t3 t14 t15 t9"
HERO = "The official language of the country where the Eiffel Tower is located is"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("microscope") / "tiny"
    save_tiny("gpt2", folder)
    return folder


@pytest.fixture(scope="module")
def scope(folder: Path) -> mg.Microscope:
    return mg.open(str(folder), dtype="float64", device="cpu")


def test_open_gives_the_model_that_was_named(folder: Path, scope: mg.Microscope) -> None:
    assert repr(scope) == "<Microscope on <Model tiny: gpt2, 3 layers, 4 heads, d_model 24>, read in neurons>"
    assert (scope.model.dtype, scope.model.device.type) == (torch.float64, "cpu")
    assert mg.open(str(folder)).model.dtype == torch.float32


def test_open_gives_the_basis_that_was_named(folder: Path) -> None:
    scope = mg.open(str(folder), basis="neurons:frozen-gate")
    assert scope.basis == Neurons("frozen-gate")
    assert repr(scope).endswith(", read in neurons:frozen-gate>")
    with pytest.raises(CallError, match="There is no basis 'nowhere': give a folder, or one of neurons, "):
        mg.open(str(folder), basis="nowhere")


def test_a_token_is_its_text_or_its_id(scope: mg.Microscope) -> None:
    assert scope.token("t14") == scope.token(14) == 14
    for wrong in ("t3 t4", "", 80, -1):
        with pytest.raises(PromptError):
            scope.token(wrong)


def test_the_lens_follows_a_token_by_text_or_by_id(scope: mg.Microscope) -> None:
    by_text, by_id = (scope.lens(PROMPT, watch=watch, top=2) for watch in ("t7", 7))
    expected = logit_lens(scope.model, PROMPT, watch=scope.token(7), top=2)
    for found in (by_text, by_id):
        assert found.watched == 7
        assert torch.equal(found.tokens, expected.tokens)
        assert torch.equal(found.rank, expected.rank)


def test_every_instrument_says_what_its_function_says(scope: mg.Microscope) -> None:
    model = scope.model
    prompts = model.prompts([PROMPT, "t5 t6"])
    heads = scope.heads([PROMPT, "t5 t6"], n_repeated=2, seed=3)
    assert torch.equal(heads.induction, score_heads(model, prompts, n_repeated=2, seed=3).induction)
    assert torch.equal(heads.first, score_heads(model, prompts, n_repeated=2, seed=3).first)
    assert torch.equal(
        scope.head_tops(PROMPT, position=1, top=3).tokens, head_tops(model, PROMPT, position=1, top=3).tokens
    )
    direct = scope.direct(PROMPT, "t7", against=8, position=2)
    expected = direct_attribution(model, PROMPT, scope.token(7), against=scope.token(8), position=2)
    assert torch.equal(direct.heads, expected.heads)
    assert direct.total() == expected.total()
    assert torch.equal(scope.freeze(PROMPT).residuals[-1], freeze(model, PROMPT).residuals[-1])
    ours = scope.basis.decompose(freeze(model, PROMPT))
    for mine, expected in zip(scope.decompose(PROMPT).layers, ours.layers, strict=True):
        assert torch.equal(mine.activation, expected.activation)


def test_direct_effects_add_up_to_the_models_own_difference(scope: mg.Microscope) -> None:
    logits = scope.model.run(PROMPT).logits[0, -1]
    assert scope.direct(PROMPT, "t7", against="t8").total() == pytest.approx(float(logits[7] - logits[8]), abs=1e-12)
    assert scope.direct(PROMPT, "t7").total() == pytest.approx(float(logits[7]), abs=1e-12)


def test_a_chat_is_a_sentence_or_a_conversation(smollm2: mg.Microscope) -> None:
    sentence = smollm2.chat("Hello!")
    assert sentence == smollm2.chat([{"role": "user", "content": "Hello!"}])
    assert sentence.text.endswith("<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n")
    begun = smollm2.chat([{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Hi"}])
    assert begun.text.endswith("Hi")


def test_the_embedded_model_opens_without_a_name_and_knows_its_french(smollm2: mg.Microscope) -> None:
    assert smollm2.model.name == "smollm2"
    (answer,) = smollm2.model.run(HERO, logits="last").answers(top=1)
    assert (answer.token, answer.piece) == (smollm2.token(" French"), "␣French")
    assert answer.probability == pytest.approx(0.965, abs=0.002)


# ---------------------------------------------------------------- traces


def test_a_trace_is_the_graph_of_its_rows(scope: mg.Microscope) -> None:
    graph = scope.trace(PROMPT, target="t5", max_nodes=30, node_share=1.0, edge_share=1.0, group=False)
    rows = scope.rows(PROMPT, target="t5", max_nodes=30)
    assert [str(node) for node in graph.nodes if node.kind == 0] == [str(rows.nodes.id(i)) for i in range(30)]
    assert float(rows.imbalance().abs().max()) < 1e-9
    row = rows.rows[-1]
    for edge in graph.inputs_of("target.0"):
        source = rows.nodes.find(edge.source)
        if edge.source.kind != 1:
            assert edge.weight == pytest.approx(float(row[source]))
    assert graph.supernodes == ()
    assert graph.promoted is not None


def test_a_target_may_be_a_token_a_difference_or_anywhere(scope: mg.Microscope) -> None:
    names = {
        "t5": scope.trace(PROMPT, target="t5", max_nodes=5),
        "t5 − t6": scope.trace(PROMPT, target="t5", against="t6", max_nodes=5),
    }
    assert {name: graph.targets[0].name for name, graph in names.items()} == {name: name for name in names}
    there = scope.trace(PROMPT, target="t5", position=1, max_nodes=5).targets[0]
    assert there.position == 1
    logits = scope.model.run(PROMPT).logits[0, 1]
    assert there.probability == pytest.approx(float(logits.softmax(-1)[scope.token("t5")]), abs=1e-6)
    best = scope.answers(PROMPT, position=1, top=1)[0]
    assert best.token == int(logits.argmax())
    against = scope.trace(PROMPT, against="t5", position=1, max_nodes=5).targets[0]
    assert against.name == f"{best.piece} − t5"


def test_a_target_that_contradicts_itself_is_refused(scope: mg.Microscope) -> None:
    from micrographia.graph.targets import Tokens

    with pytest.raises(CallError, match="are the same: t5"):
        scope.trace(PROMPT, target="t5", against="t5")
    with pytest.raises(CallError, match="stands one token"):
        scope.trace(PROMPT, target=Tokens(("t5", "t6")), against="t7")
    with pytest.raises(CallError, match="has its own positions"):
        scope.trace(PROMPT, target=Tokens(("t5", "t6")), position=1)
    with pytest.raises(CallError, match="There is no position 4: this prompt has 4 tokens, at 0 to 3"):
        scope.answers(PROMPT, position=4)


# ---------------------------------------------------------------- evidence


def test_what_if_takes_words_or_an_intervention(scope: mg.Microscope) -> None:
    from micrographia.evidence.interventions import Change, Head, Intervention, Iterative, Step

    words = scope.what_if(PROMPT, "head.1.2@-1=x0", tokens=["t9"])
    value = scope.what_if(PROMPT, Intervention((Step(Head(1, 2, 3), Change("scale", 0.0)),)), tokens=[9])
    assert words.words == value.words
    assert 9 in {word.token for word in words.words}
    logits = scope.model.run(PROMPT, edit=mg.at("z.1", heads=[2], positions=[-1]).zero()).logits[0, -1]
    assert words.words[0].after == pytest.approx(float(logits.softmax(-1)[words.words[0].token]), abs=1e-12)
    with pytest.raises(CallError, match="says no change"):
        scope.what_if(PROMPT, "nothing")
    assert scope.what_if(PROMPT, "0.7@2=1", mode=Iterative()).mode == Iterative()


def test_the_claims_of_a_graph_are_tested_and_kept_where_a_folder_is_named(
    scope: mg.Microscope, tmp_path: Path
) -> None:
    graph = scope.trace(PROMPT, target="t5", max_nodes=30)
    found = scope.test(graph, controls=20)
    assert {one.judgement.verdict for one in found.tested} <= {"confirmed", "refuted", "untested"}
    assert len(found.claims) > 2
    assert found.measured.keys() == {claim.key for claim in (*found.claims, *found.links)}
    graph.save(tmp_path / "graph")
    kept = scope.test(graph, controls=20, folder=tmp_path / "graph")
    assert kept.measured.keys() == found.measured.keys()
    again = scope.test(graph, controls=20, seed=9, folder=tmp_path / "graph")
    assert (again.measured, again.seed) == (kept.measured, 0), "nothing was left to do"
    with pytest.raises(CallError, match=r"evidence on target\.0, not on target\.1"):
        scope.test(graph, target="target.1", folder=tmp_path / "graph")


def test_texts_around_a_shipped_features_places_are_compared(smollm2: mg.Microscope, scope: mg.Microscope) -> None:
    assert smollm2.atlas is not None
    places, halves = strongest_places(smollm2.atlas.feature(3, 5)), Halves(smollm2.atlas.text, 0)
    found = smollm2.alike(3, 5, "minilm")
    assert found == window_scores(places, halves, embedder_named("minilm", smollm2.model))
    assert found[0].p == pytest.approx(1 / 201)
    assert found[0].cosine > found[0].null
    with pytest.raises(CallError, match=r"No atlas lies beside neurons.*micrographia atlas build"):
        scope.alike(0, 0)
