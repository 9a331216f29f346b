"""The microscope hands each question to its instrument, with the tokens turned into ids."""

from pathlib import Path

import pytest
import torch

import micrographia as mg
from micrographia.bases.neurons import Neurons
from micrographia.errors import CallError, PromptError
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
