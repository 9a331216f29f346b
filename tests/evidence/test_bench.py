"""The clean run that interventions start from."""

import pytest
import torch

from micrographia.errors import CallError, UnsupportedError
from micrographia.evidence.bench import Bench
from micrographia.evidence.encoding import encoder_of
from micrographia.model.edits import at
from micrographia.model.model import Model
from micrographia.model.site import Point
from tests.evidence.test_rows import bench_of
from tests.graph.oracle import BASES, prompt


def test_it_holds_what_the_model_says_and_reads_it_once(tiny) -> None:
    bench = bench_of(tiny("gemma2"))
    run = bench.model.run(bench.prompt, read=["z", "mlp_out", "final_norm_scale"])
    assert torch.equal(bench.clean(Point.Z, 1), run["z.1"][0])
    assert torch.equal(bench.clean(Point.FINAL_NORM_SCALE), run["final_norm_scale"][0])
    assert torch.equal(bench.logits(), run.logits[0])
    assert bench.clean(Point.MLP_OUT, 2) is bench.clean(Point.MLP_OUT, 2)
    assert repr(bench) == f"<Bench: {bench.model.name} on 9 tokens, in PerLayer>"


@pytest.mark.parametrize("basis", BASES)
def test_features_read_anew_on_the_clean_run_are_those_of_the_decomposition(model: Model, basis: str) -> None:
    bench = bench_of(model, basis)
    for layer in range(bench.n_layers):
        encode, covered = bench.encoder(layer), bench.n_features(layer) > 0
        assert (encode is not None) == covered
        if encode is not None:
            assert (encode(bench.frozen.mlp_in(layer)) - bench.active(layer)).abs().max() <= 1e-12


def test_a_basis_whose_features_cannot_be_read_anew_is_refused(tiny) -> None:
    class Strange:
        def decompose(self, frozen, /):
            raise AssertionError

    with pytest.raises(UnsupportedError, match="Features of a Strange cannot be read anew"):
        encoder_of(tiny("llama"), Strange(), 0)


def test_a_model_with_edits_attached_has_no_clean_run(tiny) -> None:
    model = tiny("llama")
    with model.attached(edit=[at("z.1").zero()]), pytest.raises(CallError, match="edits are attached"):
        Bench(model, bench_of(model).basis, prompt(model))
