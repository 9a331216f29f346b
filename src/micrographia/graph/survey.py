"""What the graphs of a basis are like on held-out text: a mean over many prompts, the end of each being explained."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.evaluation.bootstrap import Bootstrap
from micrographia.bases.evaluation.card import EvaluationConfig, GraphRow
from micrographia.bases.evaluation.passages import Passages, draw
from micrographia.bases.named import BasisChoice
from micrographia.corpus.corpus import Corpus
from micrographia.errors import CallError
from micrographia.graph.build import graph_of
from micrographia.graph.graph import Graph
from micrographia.graph.tracing import trace
from micrographia.model.model import Model
from micrographia.store import Progress, silent

__all__ = ["survey"]

_FIGURES = (
    "replacement",
    "completeness",
    "shown_replacement",
    "shown_completeness",
    "peer_replacement",
    "peer_completeness",
    "active",
    "nodes",
    "edges",
    "path_length",
)


def survey(
    model: Model,
    corpus: Corpus,
    bases: Mapping[str, BasisChoice],
    config: EvaluationConfig,
    progress: Progress = silent,
) -> tuple[GraphRow, ...]:
    """Trace the likeliest tokens behind `config.graphs` prompts in each basis; the bases see the same prompts."""
    if config.graphs < 2:
        raise CallError(f"A mean and its interval need at least 2 graphs, and {config.graphs} are asked for.")
    corpus.check_tokenizer(model.tokenizer)
    length = config.graph_tokens
    prompts = draw(
        corpus, "heldout", length=length, positions=config.graphs * (length - 1), seed=config.seed, shortest=length
    )
    rows: list[GraphRow] = []
    for name, basis in bases.items():
        graphs: list[Graph] = []
        for number, passage in enumerate(prompts.passages):
            progress(f"tracing in {name}", number, len(prompts.passages))
            prompt = model.tokenizer.from_ids(passage.ids)
            graphs.append(graph_of(trace(model, basis, prompt, max_nodes=config.graph_nodes)))
        rows.append(_row(name, graphs, prompts, config))
    return tuple(rows)


def _row(name: str, graphs: Sequence[Graph], prompts: Passages, config: EvaluationConfig) -> GraphRow:
    """Means over the prompts; the intervals are over documents, of which a prompt is a piece."""
    figures = torch.tensor([_figures(graph) for graph in graphs], dtype=torch.float64)
    document = torch.tensor([passage.document for passage in prompts.passages])
    sums = torch.zeros(prompts.n_documents, figures.shape[1], dtype=torch.float64).index_add_(0, document, figures)
    counts = document.bincount(minlength=prompts.n_documents).double()
    bootstrap = Bootstrap(prompts.n_documents, draws=config.draws, seed=config.seed)
    means = bootstrap.estimates(_per, sums, counts)
    return GraphRow(
        name=name, prompts=len(graphs), documents=prompts.n_documents, **dict(zip(_FIGURES, means, strict=True))
    )


def _per(total: Float[Tensor, "*draw figure"], count: Float[Tensor, "*draw"]) -> Float[Tensor, "*draw figure"]:
    return total / count[..., None]


def _figures(graph: Graph) -> list[float]:
    """Of one graph, in the order of `_FIGURES`."""
    assert graph.scores is not None
    assert graph.facts is not None
    scores, facts = graph.scores, graph.facts
    both = [
        part for each in (scores.trace, scores.shown, scores.peer) for part in (each.replacement, each.completeness)
    ]
    return [*both, *map(float, (facts.n_active, len(graph.nodes), len(graph.edges))), scores.path_length]
