"""Features of a real model of which it is known what they are, among those of its transcoders.

Of three layers' features some are replaced. At the first one: by ones that read a word's row of the embedding (true
inputs), through the inverse of the covariance, because what lies in the stream besides must not count. A few layers on,
where rows are no longer read like that: by ones that read what the stream is like on a word. Near the end: by ones that
read where the stream already points to a word, as the unembedding sees it through the final norm's gain, and write just
that (true outputs). At all: by ones that read and write random mixtures of what the layer's features do. Known features
read as much as the others and write as much, and the others stay, so that nulls and what is beyond chance are those of
a real layer.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from micrographia.atlas.atlas import Atlas
from micrographia.atlas.build import build_atlas
from micrographia.atlas.effects import row_norms
from micrographia.atlas.plan import AtlasConfig
from micrographia.bases.activation import BatchTopK, JumpRelu
from micrographia.bases.named import choose_basis
from micrographia.bases.transcoder import Encoder, PerLayer, TranscoderLayer
from micrographia.corpus.corpus import Corpus
from micrographia.ids import Layer
from micrographia.labels.build import LabelConfig, build_labels
from micrographia.labels.crowd import mixtures
from micrographia.labels.judging import F1_LEAST
from micrographia.labels.label import Label
from micrographia.labels.store import LabelBook
from micrographia.model.edits import at
from micrographia.model.load import load_model
from micrographia.model.model import Model
from micrographia.model.site import Point, Site

__all__ = ["EARLY", "KNOWN", "LATE", "RANDOM", "common_words", "known", "known_basis", "taken_back"]

KNOWN = 40
"""Features of each sort."""
RANDOM = 40
"""Random directions in each of the layers. Many of them make up much of what random mixtures are made of."""
EARLY = (Layer(0), Layer(5))
LATE = Layer(28)
"""The layers of true inputs and of true outputs."""
_FREQUENCY = 1e-3
_SAID = 1e-3
"""The shares of places at which true inputs and true outputs are active."""
_RANDOM = (5e-4, 1e-3, 3e-3, 1e-2)
"""And a quarter of the random directions each."""
_WINDOWS = 128
_ROWS = 4096
_TRIED = 3
_STEP = 10.0
_PLAIN = 0.02
"""A p-value that is not beyond chance among those that are tried."""


def known(
    corpus: Corpus, tokens: int, place: Path, config: LabelConfig = LabelConfig(), n_random: int = RANDOM
) -> dict[str, object]:
    """What they are called, and why those that are missed are."""
    model = load_model(dtype="bfloat16", device="cpu")
    chosen = common_words(model, corpus)
    basis = known_basis(model, corpus, chosen, n_random)
    if not (place / "atlas" / "manifest.json").exists():
        build_atlas(model, basis, corpus, place / "atlas", config=AtlasConfig(tokens=tokens))
    found: dict[str, object] = {"tokens": [model.tokenizer.piece(token) for token in chosen]}
    with LabelBook.create(place / "atlas.labels") as book:
        build_labels(model, basis, Atlas.open(place / "atlas"), book, config=config)
        for layer in (*EARLY, LATE):
            wanted = "output" if layer == LATE else "input"
            what = "embedding rows" if layer == 0 else "unembedding rows" if layer == LATE else "words"
            labels = book.labels(layer)
            known, random = ([labels[i] for i in some] for some in (range(KNOWN), range(KNOWN, KNOWN + n_random)))
            found[f"{what}, layer {layer}"] = {
                "kinds": _kinds(known),
                "missed": dict(Counter(_reason(each, wanted) for each in known if each.kind not in (wanted, "both"))),
                "names": [each.text for each in known],
                "random directions": _kinds(random),
                "random directions with a name": {
                    str(share): [each.text for each in random[i :: len(_RANDOM)] if each.text]
                    for i, share in enumerate(_RANDOM)
                },
            }
    return found


@torch.no_grad()
def taken_back(corpus: Corpus) -> dict[str, object]:
    """How much of a step behind the layer of true outputs is left at the end, along what they write and along random
    directions, where the stream points that way most: means over directions, with the smallest and the largest."""
    model = load_model(dtype="float32", device="cpu")
    says = _rows(model.weights.unembed.weight, common_words(model, corpus)) * model.weights.final_norm.gain
    random = torch.randn(says.shape, generator=torch.Generator().manual_seed(0))
    windows = corpus.windows("train", 256, seed=3)
    prompts = [model.tokenizer.from_ids([int(i) for i in windows[number].ids]) for number in range(10)]
    before, end = Site(Point.RESID_POST, LATE), Site(Point.FINAL_NORM_IN)
    stream = model.run(prompts, read=before, logits="none")[before][:, 5:]
    found: dict[str, object] = {}
    for name, rows in (("words", says), ("random directions", random)):
        left: list[float] = []
        for row in rows / row_norms(rows)[:, None]:
            changes: list[float] = []
            for place in (stream @ row).flatten().topk(_TRIED).indices.tolist():
                window, position = divmod(place, stream.shape[1])
                edits = [at(str(before), positions=[position + 5]).add(sign * _STEP * row) for sign in (1, -1)]
                up, down = (model.run(prompts[window], read=end, edit=edit)[end][0, position + 5] for edit in edits)
                changes.append(float((up - down) @ row) / 2 / _STEP)
            left.append(float(np.mean(changes)))
        found[name] = {"left": float(np.mean(left)), "least": min(left), "most": max(left)}
    return found


def common_words(model: Model, corpus: Corpus) -> list[int]:
    """Whole words that stand at about one place in a thousand."""
    windows = corpus.windows("train", 256, seed=0)
    ids = np.concatenate([windows[i].ids for i in range(min(2000, len(windows)))]).astype(np.int64)
    share = np.bincount(ids, minlength=model.anatomy.d_vocab) / len(ids)
    good = [
        int(token)
        for token in np.argsort(np.abs(np.log(np.maximum(share, 1e-9) / _FREQUENCY)))
        if model.tokenizer.raw(int(token))[:1] == b" " and model.tokenizer.raw(int(token))[1:].isalpha()
    ]
    return good[:KNOWN]


def known_basis(model: Model, corpus: Corpus, chosen: Sequence[int], n_random: int = RANDOM) -> PerLayer:
    """The transcoders of three layers with known features in front; thresholds by the densities that are wanted."""
    windows = corpus.windows("train", 256, seed=1)
    prompts = [model.tokenizer.from_ids([int(i) for i in windows[number].ids]) for number in range(_WINDOWS)]
    sites = {layer: Site(Point.MLP_IN, layer) for layer in (*EARLY, LATE)}
    run = model.run(prompts, read=list(sites.values()), logits="none")
    ids = torch.tensor([prompt.ids[1:] for prompt in prompts]).flatten()
    generator = torch.Generator().manual_seed(0)
    says = _rows(model.weights.unembed.weight, chosen) * model.weights.final_norm.gain.float()
    kept = choose_basis(model, "transcoders").basis
    assert isinstance(kept, PerLayer), "the transcoders that come along are per layer"
    found: dict[Layer, TranscoderLayer] = {}
    for layer, site in sites.items():
        x, its = run[site][:, 1:].flatten(0, 1), kept.layers[layer]
        if layer == LATE:
            reads, writes, share = says / _gain(model, layer), says, _SAID
        else:
            spread = torch.cov(x.float().T)
            spread = spread + 0.05 * spread.diagonal().mean() * torch.eye(len(spread))
            rows = _rows(model.weights.embed, chosen) * _gain(model, layer) if layer == 0 else _means(x, ids, chosen)
            inverse: Tensor = torch.linalg.inv(spread)
            reads, writes, share = rows @ inverse, mixtures(its.decoder.float(), KNOWN, generator), _FREQUENCY
        reads = torch.cat([reads, mixtures(its.encoder.weight.float(), n_random, generator)])
        writes = torch.cat([writes, mixtures(its.decoder.float(), n_random, generator)])
        found[layer] = _with(its, x, reads, writes, share)
    return PerLayer(found)


# ---------------------------------------------------------------- parts


def _with(
    kept: TranscoderLayer,
    x: Float[Tensor, "row d_model"],
    reads: Float[Tensor, "known d_model"],
    writes: Float[Tensor, "known d_model"],
    share: float,
) -> TranscoderLayer:
    """A layer whose first features are those that are given: known ones, active at the share, and random directions."""
    n, dtype = len(reads), x.dtype
    reads = _as_long(reads, kept.encoder.weight)
    values = (x @ reads.to(dtype).T).float()
    shares = torch.cat([torch.full((KNOWN,), share), torch.tensor(_RANDOM).repeat((n - KNOWN) // len(_RANDOM))])
    least = torch.stack([values[:, i].quantile(1 - float(shares[i])) for i in range(n)]).clamp(min=1e-3)
    match kept.encoder.rule:
        case JumpRelu(threshold):
            others = threshold
        case BatchTopK(_, threshold):
            others = torch.full_like(kept.encoder.bias, threshold)
        case _:
            others = torch.zeros_like(kept.encoder.bias)
    mine = torch.stack([values[values[:, i] > least[i], i].mean() for i in range(n)])
    lengths = row_norms(kept.decoder.float())
    step = (_strength(kept, x) * lengths).median()
    # A row that is longer than others would lead in every random mixture of them.
    writes = writes / row_norms(writes)[:, None] * (step / mine).clamp(max=float(lengths.median()))[:, None]
    encoder = Encoder(
        torch.cat([reads.to(dtype), kept.encoder.weight[n:]]),
        torch.cat([torch.zeros(n, dtype=dtype), kept.encoder.bias[n:]]),
        JumpRelu(torch.cat([least.to(dtype), others[n:]])),
    )
    return TranscoderLayer(encoder, torch.cat([writes.to(dtype), kept.decoder[n:]]), kept.bias, kept.skip)


def _strength(kept: TranscoderLayer, x: Float[Tensor, "row d_model"]) -> Float[Tensor, " feature"]:
    """How strongly features are active, where they are."""
    active = kept.encoder(x[:_ROWS]).float()
    return active.sum(0) / (active > 0).sum(0).clamp(min=1)


def _means(
    x: Float[Tensor, "row d_model"], ids: Int64[Tensor, " row"], chosen: Sequence[int]
) -> Float[Tensor, "known d_model"]:
    """What the stream is like on each word, against what it is like anywhere."""
    return torch.stack([x[ids == token].float().mean(0) for token in chosen]) - x.float().mean(0)


def _as_long(rows: Float[Tensor, "row d_model"], those: Float[Tensor, "other d_model"]) -> Float[Tensor, "row d_model"]:
    """The same directions, each as long as the median of others."""
    return rows / row_norms(rows)[:, None] * row_norms(those.float()).median()


def _rows(table: Float[Tensor, "d_vocab d_model"], chosen: Sequence[int]) -> Float[Tensor, "known d_model"]:
    return table[list(chosen)].float() - table.float().mean(0)


def _gain(model: Model, layer: Layer) -> Float[Tensor, " d_model"]:
    norm = model.weights.blocks[layer].mlp_norm
    assert norm is not None, "the embedded model has norms in front of its MLPs"
    return norm.gain.float()


def _kinds(labels: Sequence[Label]) -> dict[str, int]:
    return dict(Counter(str(label.kind) for label in labels))


def _reason(label: Label, wanted: str) -> str:
    """Why a label does not say what is known."""
    if label.kind != "obscure":
        return f"called {label.kind}"
    evidence = label.evidence
    assert evidence is not None, "what was built has evidence"
    if "to say anything" in label.why:
        return "too few unseen places"
    if wanted == "input":
        held = evidence.held
        if held is None:
            return "no rule"
        return "not better than random directions" if held.f1 <= held.bar or held.f1 < F1_LEAST else "failed an edit"
    said, effect = evidence.said, evidence.effect
    if effect is None or said is None:
        return "writes no words more pointedly than random directions"
    if not effect.ablated < 0 < effect.boosted:
        return "its words do not move down and up"
    if effect.p > _PLAIN:
        return "moves its words no further than random directions"
    return "its words come no more often"
