"""What circuit-tracer 0.5.0 finds is what is found here: features, selection, edges, influence, masks and scores.

It runs in float32, by backward passes; here the same rows come out of the sweep, in float64. Where the two differ by
intention, in what stands at the first position, in the bias, in what becomes of features without a row and in the
names of errors, a test says how.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from micrographia.bases.formats.convert import format_named, open_basis
from micrographia.bases.formats.parts import BasisFile
from micrographia.bases.formats.writing import new_folder
from micrographia.graph.check import check_graph, read_graph_json
from micrographia.graph.imported import import_graph
from micrographia.graph.nodes import Kind
from micrographia.graph.peer import PeerMatrix
from micrographia.graph.prune import prune
from micrographia.graph.scores import score
from micrographia.graph.select import Everything, PeerRanking
from micrographia.graph.trace import Trace
from micrographia.graph.tracing import trace
from micrographia.model.load import load_model
from micrographia.model.model import Model
from tests.bases.formats.samples import cross_layer, per_layer
from tests.interop.environments import run_peer
from tests.interop.version_4 import save_version_4
from tests.model.conftest import save_tiny
from tests.model.families import TINY

CLOSE = 1e-5
N, D = 40, 32
IDS = (0, 5, 9, 17, 33, 2, 70)
NODES, BATCH, INTERVAL = 90, 4, 2

BASES: dict[str, BasisFile] = {
    "relu": per_layer("relu", n=N, d=D),
    "relu-skip": per_layer("relu", skip=True, n=N, d=D),
    "jumprelu": per_layer("jumprelu", n=N, d=D),
    "jumprelu-skip": per_layer("jumprelu", skip=True, n=N, d=D),
    "cross": cross_layer("relu", n=N, d=D),
    "cross-jumprelu": cross_layer("jumprelu", n=N, d=D),
}
WHOLE = ("jumprelu-skip, all", "cross-jumprelu, all")
"""Every active feature gets a row; in the other cases the best NODES do, ranked again after each BATCH × INTERVAL."""


@dataclass(frozen=True)
class Pair:
    """One case, on both sides."""

    ours: Trace
    theirs: dict[str, Tensor]
    facts: dict[str, float]
    json: Path

    def same_sources(self, of_nodes: Tensor) -> Tensor:
        """Their nodes in our order and number: without targets, and without errors at position 0, which are empty."""
        n = self.ours.nodes
        at_first = torch.arange(n.errors.start, n.errors.stop, n.n_positions)
        kept = torch.ones(n.bias, dtype=torch.bool)
        kept[at_first] = False
        return of_nodes[..., : n.bias][..., kept]

    def same_rows(self, of_nodes: Tensor) -> Tensor:
        """Their rows of features and targets."""
        return torch.cat([of_nodes[: self.ours.nodes.n_features], of_nodes[-self.ours.nodes.n_targets :]])


def prepare(work: Path) -> None:
    """A tiny model and all bases, as both sides read them."""
    values = TINY["llama"][1] | {"hidden_size": D, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}
    with patch.dict(TINY, {"wide": ("llama", values)}):
        save_tiny("wide", work / "model")
    save_version_4(work / "model", work / "version-4")
    tool = format_named("circuit-tracer")
    (work / "bases").mkdir()
    for name, file in BASES.items():
        with new_folder(work / "bases" / name) as partial:
            tool.write(tool.fit(file, "fp32").file, partial, "fp32")


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which circuit-tracer has traced all cases."""
    work = tmp_path_factory.mktemp("attribution")
    prepare(work)
    for case in (*BASES, *WHOLE):
        job = {
            "model": str(work / "version-4"),
            "basis": str(work / "bases" / case.removesuffix(", all")),
            "ids": IDS,
            "batch_size": BATCH,
            "update_interval": INTERVAL,
            "max_nodes": None if case in WHOLE else NODES,
        }
        (work / "ours" / case).mkdir(parents=True)
        (work / "ours" / case / "job.json").write_text(json.dumps(job))
    run_peer("attribution", work)
    return work


@pytest.fixture(scope="session")
def model(work: Path) -> Model:
    return load_model(str(work / "model"), dtype="float64", device="cpu")


@pytest.fixture(scope="session")
def pair(work: Path, model: Model) -> Callable[[str], Pair]:
    @cache
    def both(case: str) -> Pair:
        folder = work / "ours" / case
        theirs = load_file(folder / "graph.safetensors")
        rule = PeerRanking(len(theirs["active"]) if case in WHOLE else NODES, BATCH, INTERVAL)
        ours = trace(model, basis_in(work, case), model.tokenizer.from_ids(IDS), selection=rule)
        return Pair(ours, theirs, json.loads((folder / "peer.json").read_text()), folder / "json" / "graph.json")

    return both


def basis_in(work: Path, case: str):
    return open_basis(work / "bases" / case.removesuffix(", all")).basis(torch.float64)


@pytest.fixture(params=[*BASES, *WHOLE])
def each(request: pytest.FixtureRequest, pair: Callable[[str], Pair]) -> Pair:
    return pair(request.param)


def assert_close(found: Tensor, wanted: Tensor) -> None:
    """Within CLOSE of the largest entry of each row."""
    assert found.shape == wanted.shape
    size = wanted.double().abs().amax(-1, keepdim=True)
    assert size.min() > 0, "a row of nothing: nothing was compared"
    assert ((found.double() - wanted.double()).abs() / size).max() <= CLOSE


# ---------------------------------------------------------------- the same


def test_the_same_features_are_active_and_the_same_are_selected(each: Pair) -> None:
    n, theirs = each.ours.nodes, each.theirs
    chosen = torch.stack([n.layer[n.features], n.position[n.features], n.index[n.features]], 1)
    assert torch.equal(chosen, theirs["active"][theirs["selected"]])
    assert_close(n.activation[n.features], theirs["activation"][theirs["selected"]])
    assert len(theirs["active"]) > len(chosen) or len(chosen) > NODES


def test_the_same_tokens_are_targets(each: Pair) -> None:
    assert [target.token for target in each.ours.targets] == each.theirs["logit_tokens"].tolist()
    assert_close(torch.tensor([t.probability for t in each.ours.targets]), each.theirs["logit_probabilities"])


def test_edges_are_the_same(each: Pair) -> None:
    theirs = each.theirs["adjacency"]
    assert_close(PeerMatrix.of_trace(each.ours).rows, each.same_sources(each.same_rows(theirs)))
    n = each.ours.nodes
    assert not theirs[n.errors.start : n.bias].any(), "errors and tokens have no inputs"
    assert not theirs[:, n.errors.start : n.errors.stop : n.n_positions].any(), "nor has position 0 errors"


def test_influence_is_the_same(each: Pair) -> None:
    theirs = each.same_sources(each.theirs["influence"]) / each.theirs["logit_probabilities"].sum()
    assert_close(PeerMatrix.of_trace(each.ours).influence(), theirs)


def test_pruning_keeps_the_same_nodes_and_edges(each: Pair) -> None:
    pruned, n = PeerMatrix.of_trace(each.ours).prune(), each.ours.nodes
    nodes = each.same_sources(each.theirs["node_mask"])
    assert torch.equal(torch.cat([pruned.features, pruned.errors]), nodes[: -n.n_positions])
    assert nodes[-n.n_positions :].all()
    assert torch.equal(pruned.edges, each.same_sources(each.same_rows(each.theirs["edge_mask"])))
    assert 0 < pruned.features.sum() < n.n_features
    assert_close(pruned.curve, each.same_sources(each.theirs["cumulative"]))


def test_scores_are_the_same(each: Pair) -> None:
    scores = PeerMatrix.of_trace(each.ours).scores()
    assert scores.replacement == pytest.approx(each.facts["replacement"], rel=CLOSE)
    assert scores.completeness == pytest.approx(each.facts["completeness"], rel=CLOSE)


# ---------------------------------------------------------------- what differs, and by how much


@pytest.mark.parametrize("case", WHOLE)
def test_what_its_rows_lack_is_the_bias_and_the_first_position(
    pair: Callable[[str], Pair], case: str, model: Model, work: Path
) -> None:
    """It sets activations at position 0 to zero before it decodes, and the error there after; nothing holds biases."""
    both = pair(case)
    full = trace(model, basis_in(work, case), both.ours.prompt, selection=Everything())
    n, later = full.nodes, full.nodes.position[full.row_node] > 0
    first = (n.kind <= Kind.ERROR) & (n.position == 0)
    ours, theirs = full.rows[later], both.same_rows(both.theirs["adjacency"]).double()
    at_first, bias, pre = ours[:, first].sum(1), ours[:, n.bias], full.pre[later]
    size = full.complete_abs[later]
    assert ((theirs.sum(1) + at_first + bias - pre).abs() / size).max() <= CLOSE
    for lacking in (at_first, bias):
        assert (lacking.abs() / size).max() > 100 * CLOSE, "too little to be told from rounding"


def test_what_got_no_row_is_an_error_here_and_nothing_there(pair: Callable[[str], Pair]) -> None:
    """Its scores count what was kept as if it were all; ours count the rest as errors, and are lower for it."""
    some, every = pair("jumprelu-skip").ours, pair("jumprelu-skip, all").ours
    capped, whole = score(some, prune(some)), score(every, prune(every))
    assert some.nodes.n_features < some.facts.n_active
    assert capped.peer.completeness == pytest.approx(pair("jumprelu-skip").facts["completeness"], rel=CLOSE)
    assert capped.trace.completeness < min(capped.peer.completeness, whole.trace.completeness)


def test_its_errors_bear_the_names_of_features(pair: Callable[[str], Pair]) -> None:
    """The error of layer l at position p is called 0_l_p there, as feature l of layer 0 is; kinds tell them apart."""
    both = pair(WHOLE[0])
    content = read_graph_json(both.json)
    errors = [node for node in content["nodes"] if node["feature_type"] == "mlp reconstruction error"]
    assert errors
    assert all(node["node_id"] == f"0_{node['layer']}_{node['ctx_idx']}" for node in errors)
    assert any("is also the name of a feature" in finding.what for finding in check_graph(content).findings)
    graph = import_graph(both.json)
    names = {str(graph.nodes.id(i)) for i in range(len(graph.nodes))}
    assert {f"error.{node['layer']}@{node['ctx_idx']}" for node in errors} <= names
