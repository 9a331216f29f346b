"""TopK as JumpReLU, for tools that have no TopK: thresholds chosen on text, and judged on other text.

TopK lets a feature fire where it is among the k largest of its position. A threshold knows only its own feature, so no
thresholds compute the same; those chosen here let every feature fire as often as it did on the text they are chosen on,
which keeps L0 there. What this costs is measured on documents that had no part in the choice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from micrographia.bases.activation import JumpRelu, Relu, TopK
from micrographia.bases.formats.matching import matched
from micrographia.bases.formats.parts import BasisFile, LayerParts
from micrographia.bases.transcoder import Encoder
from micrographia.corpus.corpus import Corpus
from micrographia.errors import CallError, WorkError
from micrographia.ids import Layer
from micrographia.model.model import Model
from micrographia.model.site import Point, Site
from micrographia.model.tokens import Prompt
from micrographia.store import Progress, silent

__all__ = ["POSITIONS", "Calibrated", "LayerChange", "calibrated", "thresholds_like"]

POSITIONS = 8192
"""On so many positions thresholds are chosen; half as many judge them."""

_WINDOW = 128
_AT_ONCE = 8
_MEMORY = 1 << 29
"""Bytes of the model's activations that are held at once."""
_CLEAR = 1e-3
"""How far above all that was seen the threshold lies of a feature that is never active."""
_NUMBERS = 1 << 25
"""Pre-activations that are computed at once."""


@dataclass(frozen=True, slots=True)
class LayerChange:
    """What thresholds change at one layer: active features per position, and the share of variance unexplained."""

    layer: Layer
    l0_before: float
    l0: float
    fvu_before: float
    fvu: float


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """A basis with thresholds in the place of TopK, and what they change where they were not chosen."""

    file: BasisFile
    chosen_on: int
    judged_on: int
    layers: tuple[LayerChange, ...]

    def mean(self, figure: Callable[[LayerChange], float]) -> float:
        """Over the layers."""
        return sum(map(figure, self.layers)) / len(self.layers)

    @property
    def line(self) -> str:
        """The loss, as a conversion lists it."""
        l0 = f"{self.mean(lambda each: each.l0_before):.4g} → {self.mean(lambda each: each.l0):.4g}"
        fvu = f"{self.mean(lambda each: each.fvu_before):.4f} → {self.mean(lambda each: each.fvu):.4f}"
        return (
            f"TopK becomes JumpReLU, with thresholds from {self.chosen_on} positions; on {self.judged_on} others "
            f"L0 {l0}, FVU {fvu} (means over {len(self.layers)} layers)"
        )


def calibrated(
    file: BasisFile, model: Model, corpus: Corpus, *, positions: int = POSITIONS, progress: Progress = silent
) -> Calibrated:
    """The basis with thresholds for all of its TopK layers, from the held-out documents of a corpus.

    Every other document has a part in the choice, the rest judge.
    """
    wanted = [layer for layer in file.coding if isinstance(file.layers[layer].rule, TopK)]
    if not wanted:
        raise CallError("There is nothing to calibrate: no layer of this basis has TopK.")
    corpus.check_tokenizer(model.tokenizer)
    fitting = matched(file, model.anatomy, model.weights)
    reader = _Reader(model, 0 if file.facts.first_position == "trained" else 1)
    choosing, judging = reader.prompts(corpus, (positions, max(positions // 2, 1)))
    judge, thresholds, changes = _Judge(fitting.kind), dict[Layer, Tensor](), list[LayerChange]()
    layers = wanted if file.kind == "per-layer" else list(file.layers)
    together = max(1, _MEMORY // (positions * file.d_model * 8))
    for start in range(0, len(layers), together):
        group = layers[start : start + together]
        inputs = reader.read(choosing, [Site(Point.MLP_IN, layer) for layer in group if layer in wanted])
        both = reader.read(judging, [Site(point, layer) for layer in group for point in (Point.MLP_IN, Point.MLP_OUT)])
        for layer in group:
            each = fitting.layers[layer].changed(lambda _, part: part.to(torch.float32))
            if layer in wanted:
                thresholds[layer] = thresholds_like(_encoder(each), inputs[Site(Point.MLP_IN, layer)])
            x, y = (both[Site(point, layer)] for point in (Point.MLP_IN, Point.MLP_OUT))
            changes.append(judge.change(layer, each, thresholds.get(layer), x, y))
            progress("calibrating", len(changes), len(layers))
    return Calibrated(_with(file, thresholds), _count(choosing, reader), _count(judging, reader), tuple(changes))


def thresholds_like(encoder: Encoder, x: Float[Tensor, "row d_model"]) -> Float[Tensor, " feature"]:
    """Thresholds above which every feature is as often as it is active under the encoder's own rule.

    Each lies half-way between the pre-activations of which one must be above and the next not.
    """
    counts = torch.zeros(encoder.n_features, dtype=torch.long)
    for rows in _pieces(len(x), encoder.n_features):
        counts += (encoder(x[rows]) > 0).sum(0)
    found: list[Tensor] = []
    for some in _pieces(encoder.n_features, len(x)):
        pre = torch.addmm(encoder.bias[some, None], encoder.weight[some], x.T)
        ordered = pre.sort(-1, descending=True).values
        ordered = torch.cat([ordered[:, :1] * (1 + _CLEAR), ordered, torch.zeros_like(ordered[:, :1])], -1)
        above, below = (ordered.gather(-1, (counts[some] + i)[:, None])[:, 0].clamp(min=0) for i in (0, 1))
        between = (above + below) / 2
        found.append(torch.where(between < above, between, below))
    return torch.cat(found)


def _pieces(n: int, width: int) -> Iterator[slice]:
    """`n` rows of a width, some at once."""
    step = max(1, _NUMBERS // width)
    return (slice(start, start + step) for start in range(0, n, step))


@dataclass(frozen=True, slots=True, eq=False)
class _Reader:
    """Reads activations of a model; the first positions of every window are left out."""

    model: Model
    first: int

    def prompts(self, corpus: Corpus, wanted: tuple[int, int]) -> tuple[list[Prompt], list[Prompt]]:
        """Windows of held-out documents until they have so many positions; no document is on both sides."""
        found, counts = (list[Prompt](), list[Prompt]()), [0, 0]
        window = min(_WINDOW, self.model.anatomy.context)
        for each in corpus.windows("heldout", window, packed=False):
            side = corpus.document_at("heldout", each.start) % 2
            if counts[side] < wanted[side] and len(each.ids) > self.first:
                found[side].append(self.model.tokenizer.from_ids(each.ids.tolist()))
                counts[side] += len(each.ids) - self.first
            if all(count >= want for count, want in zip(counts, wanted, strict=True)):
                return found
        raise WorkError(
            f"There is too little text: the held-out documents of {corpus.folder} have {counts[0]} positions to choose "
            f"thresholds on and {counts[1]} to judge them by, and {wanted[0]} and {wanted[1]} are wanted. Build a "
            "larger corpus, or ask for fewer: --positions"
        )

    def read(self, prompts: Sequence[Prompt], sites: Sequence[Site]) -> dict[Site, Float[Tensor, "row d_model"]]:
        """What lies at the sites, all positions one below the other."""
        rows: dict[Site, list[Tensor]] = {site: [] for site in sites}
        for start in range(0, len(prompts) if sites else 0, _AT_ONCE):
            run = self.model.run(prompts[start : start + _AT_ONCE], read=sites, logits="none")
            for site, kept in rows.items():
                for number, prompt in enumerate(run.prompts):
                    kept.append(run[site][number, self.first : len(prompt.ids)].to("cpu", torch.float32))
        return {site: torch.cat(kept) for site, kept in rows.items()}


@dataclass(frozen=True, slots=True, eq=False)
class _Judge:
    """Sums up what layers write, before and after, and holds it against the truth."""

    kind: str
    before: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    after: dict[int, Tensor] = field(default_factory=dict[int, Tensor])

    def change(self, layer: Layer, each: LayerParts, threshold: Tensor | None, x: Tensor, y: Tensor) -> LayerChange:
        """Layers must come from the lowest up, since some write to later ones."""
        l0 = [0.0, 0.0]
        if "encoder" in each.parts:
            encoder = _encoder(each)
            rules = (encoder.rule, encoder.rule if threshold is None else JumpRelu(threshold))
            for side, (rule, sums) in enumerate(zip(rules, (self.before, self.after), strict=True)):
                acts = replace(encoder, rule=rule)(x)
                l0[side] = float((acts > 0).sum() / len(x))
                decoders = each.parts["decoder"][None] if self.kind == "per-layer" else each.parts["decoders"]
                for i, decoder in enumerate(decoders):
                    sums[layer + i] = sums.get(layer + i, torch.zeros_like(y)) + acts @ decoder
        rest = each.parts.get("bias", torch.zeros(y.shape[-1])).expand_as(y)
        if "skip" in each.parts:
            rest = rest + x @ each.parts["skip"].T
        nothing = torch.zeros_like(y)
        fvu = [_unexplained(y, sums.pop(layer, nothing) + rest) for sums in (self.before, self.after)]
        return LayerChange(layer, l0[0], l0[1], fvu[0], fvu[1])


def _unexplained(y: Float[Tensor, "row d_model"], rebuilt: Float[Tensor, "row d_model"]) -> float:
    """Squared error over squared distance from the mean, both summed over all rows."""
    return float((y - rebuilt).double().square().sum() / (y - y.mean(0)).double().square().sum())


def _encoder(layer: LayerParts) -> Encoder:
    return Encoder(layer.parts["encoder"], layer.parts["encoder_bias"], layer.activation_rule())


def _with(file: BasisFile, thresholds: dict[Layer, Tensor]) -> BasisFile:
    layers = dict(file.layers)
    for layer, threshold in thresholds.items():
        changed = layers[layer].with_parts({"threshold": lambda threshold=threshold: threshold})
        layers[layer] = replace(changed, rule=Relu())
    return replace(file, layers=layers)


def _count(prompts: Sequence[Prompt], reader: _Reader) -> int:
    return sum(len(prompt.ids) - reader.first for prompt in prompts)
