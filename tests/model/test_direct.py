"""Direct attribution: the parts add up to the model's own logit."""

import pytest
import torch

from micrographia.errors import PromptError
from micrographia.ids import TokenId
from micrographia.model.direct import direct_attribution, head_tops
from micrographia.model.frozen import freeze
from micrographia.model.model import Model
from micrographia.model.tokens import Prompt


def prompt(model: Model) -> Prompt:
    return model.tokenizer.from_ids([3, 14, 15, 9, 2])


@pytest.mark.parametrize("position", [-1, 1])
@pytest.mark.parametrize("against", [None, TokenId(40)])
def test_the_parts_add_up_to_the_logit(model: Model, position: int, against: TokenId | None) -> None:
    logits = model.run(prompt(model)).logits[0, position]
    wanted = logits[7] - (0 if against is None else logits[against])
    parts = direct_attribution(model, prompt(model), TokenId(7), against=against, position=position)
    assert abs(parts.total() - wanted) <= 1e-9
    assert abs(parts.embed + parts.bias + parts.layers().sum() - wanted) <= 1e-9


def test_neurons_add_up_to_their_mlp_less_its_bias(model: Model) -> None:
    parts = direct_attribution(model, prompt(model), TokenId(7))
    reader = freeze(model, prompt(model)).logit_reader(4, TokenId(7))
    for layer, block in enumerate(model.weights.blocks):
        bias = 0.0 if block.mlp.down.bias is None else float(block.mlp.down.bias @ reader.direction)
        assert abs(float(parts.neurons[layer].sum()) + bias - float(parts.mlps[layer])) <= 1e-9


def test_head_tops_are_the_tokens_a_head_promotes(model: Model) -> None:
    tops = head_tops(model, prompt(model), position=2, top=3)
    each = torch.stack(
        [direct_attribution(model, prompt(model), TokenId(i), position=2).heads for i in range(model.anatomy.d_vocab)]
    )
    centred = (each - each.mean(0)).permute(1, 2, 0)
    assert torch.equal(tops.tokens, centred.topk(3).indices)
    assert torch.allclose(tops.logits, centred.topk(3).values)


def test_a_position_that_is_not_there_is_refused(tiny) -> None:
    model = tiny("llama")
    with pytest.raises(PromptError, match="no position 5 in a prompt of 5 tokens: 0 to 4"):
        direct_attribution(model, prompt(model), TokenId(7), position=5)
