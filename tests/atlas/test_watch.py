"""What is active is what the encoder says; what is near is what stands there."""

import pytest
import torch

from micrographia.atlas.strength import codes, narrowed
from micrographia.atlas.watch import NEURON_SHARE, EncoderWatch, NeuronWatch, Span, neuron_bound
from micrographia.bases.transcoder import Encoder
from micrographia.errors import WorkError
from micrographia.ids import Layer
from tests.bases.evaluation.bases import RULES, normal

SPAN = Span(2, 1)


def watch(rule: str, dtype: torch.dtype = torch.float64) -> EncoderWatch:
    weight, bias = normal(40, 8, seed=1).to(dtype), normal(40, seed=2).to(dtype)
    return EncoderWatch(Layer(1), Encoder(weight, bias, RULES[rule]), -1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", RULES)
def test_active_is_what_the_encoder_leaves(rule: str, dtype: torch.dtype) -> None:
    act = (3 * normal(3, 6, 8, seed=3)).to(dtype)
    seen = watch(rule, dtype)
    found, wanted = seen(act, SPAN), seen.encoder(act[:, 1:].flatten(0, 1))
    row, feature = wanted.nonzero(as_tuple=True)
    assert found.row.tolist() == row.tolist()
    assert found.feature.tolist() == feature.tolist()
    assert found.code.tolist() == codes(wanted[row, feature], -1).tolist()
    assert found.negative is None
    near = found.near(found.row, found.feature)
    for i in range(0, len(row), 7):
        for j, offset in enumerate((-2, -1, 0, 1)):
            at = int(row[i]) + offset
            inside = 0 <= at < len(wanted) and at // 5 == int(row[i]) // 5
            value = wanted[at, feature[i]][None] if inside else torch.zeros(1)
            assert near[i, j] == (int(narrowed(codes(value, -1))[0]) if value else 0)


def test_neurons_are_active_where_they_write_most() -> None:
    act, norms = normal(4, 9, 64, seed=5), torch.rand(64) + 0.5
    bound = neuron_bound(act[:, 1:].flatten(0, 1), norms)
    found = NeuronWatch(Layer(0), norms, bound, 0)(act, SPAN)
    written = act[:, 1:].flatten(0, 1).abs() * norms
    assert abs(len(found.row) / written.numel() - NEURON_SHARE) < 0.01
    assert written[found.row, found.feature].min() >= written.flatten().sort().values[-len(found.row)] * 0.999
    signs = act[:, 1:].flatten(0, 1)[found.row, found.feature] < 0
    assert found.negative.tolist() == signs.tolist()
    assert (found.near(found.row, found.feature)[:, 2] > 0).all()


@pytest.mark.parametrize("rule", ["relu", "topk"])
def test_what_is_no_number_is_refused(rule: str) -> None:
    act = normal(2, 4, 8, seed=1)
    act[1, 2, 3] = torch.nan
    with pytest.raises(WorkError, match=r"mlp_in\.1 is no number"):
        watch(rule)(act, SPAN)
