"""Lengths of readings, against what each token's logit gets from every direction of the residual."""

import torch

from micrographia.model.frozen import freeze
from micrographia.model.readout import token_lengths
from tests.bases.test_bases import prompt


def test_lengths_are_those_of_what_is_read(tiny) -> None:
    for family in ("llama", "gpt2", "neox"):
        model = tiny(family)
        frozen = freeze(model, prompt(model))
        read = frozen.promotes(torch.eye(model.anatomy.d_model, dtype=model.dtype), -1) * frozen.final_norm_scale[-1]
        apart = (read - read.mean(1, keepdim=True)).norm(dim=0)
        torch.testing.assert_close(token_lengths(model.weights), apart.float())
