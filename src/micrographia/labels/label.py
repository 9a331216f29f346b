"""What is said of a feature, and everything that it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from micrographia.ids import Layer

__all__ = [
    "KINDS",
    "By",
    "Edits",
    "Effect",
    "Evidence",
    "Held",
    "Kind",
    "Label",
    "Provenance",
    "Said",
    "Share",
    "Window",
]

Kind: TypeAlias = Literal["input", "output", "both", "cross", "obscure", "dense", "dead"]
KINDS: tuple[Kind, ...] = ("input", "output", "both", "cross", "obscure", "dense", "dead")
By: TypeAlias = Literal["rule", "person"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Share(_Record):
    """How often one token, or a class of them, stands at a distance from where the feature is active."""

    offset: int
    name: str
    """The class; empty for a single token."""
    token: int | None
    share: float
    """Of the places where the feature is active."""
    corpus: float
    """Of all places."""
    odds: float
    """The logarithm of the odds between the two, shrunk towards none."""
    entropy: float
    """Of the tokens at this distance, in bits."""
    p: float
    """How often as many random places agree as surprisingly, at this distance."""


class Said(_Record):
    """What the tokens that a feature promotes have to do with what comes next."""

    tokens: tuple[int, ...]
    concentration: float
    """The mean cosine of what it writes with these tokens."""
    p_concentration: float
    next: float
    """How often one of them is the next token where it is active."""
    next_elsewhere: float
    """The same where others of its layer are active."""
    p_next: float
    argmax: float
    """How often one of them is what the model thinks likeliest where it is active."""
    argmax_elsewhere: float
    p_argmax: float


class Effect(_Record):
    """What happens to the promoted tokens' logits at the next position when the feature is doubled and taken out."""

    n: int
    ablated: float
    """The change of their mean logit, against the vocabulary's mean, when it is taken out."""
    boosted: float
    """And when it is there twice."""
    random: float
    """What as long a step along a random direction does to the tokens which that promotes, of the two changes' half
    difference."""
    auc: float
    """How often the feature does more than such a direction."""
    p: float


class Held(_Record):
    """How well the rule behind a label says, in documents that it was not made from, where the feature is active."""

    n: int
    """Places where it is active."""
    documents: int
    base: float
    """The share of places at which it is active."""
    recall: float
    precision: float
    f1: float
    """Of recall and precision."""
    auc: float
    """Against places where it is off: 0.5 is chance."""
    hard: float | None
    """Against places where it is off though their token is one of those on which it is active; None without any."""
    alike: float | None = None
    """Against places where it is off on tokens nearest in the embedding to those on which it is active; None without
    any."""
    low: float
    high: float
    """The middle 95 % of `auc` over documents drawn anew."""
    deciles: tuple[float | None, ...]
    """The recall by tenths of its activations, weakest first."""
    shuffled: float
    """The mean of `auc` when the labels of its layer are dealt out anew."""
    random: float
    """The mean of `auc` for random directions, with rules made in the same way."""
    bar: float
    """What hardly a random direction exceeds: in F1 with a rule about the text up to the place, in `auc` with one about
    words around."""
    top_token: float
    """`auc` of the commonest token among its strongest places, as a rule."""


class Edits(_Record):
    """What remains of the activation when a token that the rule names is replaced, and when another one is."""

    n: int
    named: float
    other: float


class Window(_Record):
    """How alike the texts around a feature's strongest places are: the mean cosine of their embeddings."""

    name: str
    embedder: str
    """What turned the texts into vectors: the name of its class."""
    n: int
    """Texts, each of another document."""
    cosine: float
    null: float
    """The 95th percentile of as many random places."""
    p: float


class Evidence(_Record):
    """Everything that was measured of one feature."""

    density: float
    examples: int = 0
    """Places that evidence and rule are from, in documents of the one half."""
    shares: tuple[Share, ...] = ()
    said: Said | None = None
    effect: Effect | None = None
    rule: str | None = None
    """The rule behind the label, in a form that can be read back."""
    strong: bool = False
    """Whether the label is about the strongest three tenths of its activations alone."""
    held: Held | None = None
    edits: Edits | None = None
    windows: tuple[Window, ...] = ()
    withdrawn: str | None = None
    """The label that it had until it failed."""


class Provenance(_Record):
    """What labels were made with."""

    method: str
    version: str
    judge: str | None
    """The language model that was asked; None where rules decide."""
    model: str
    model_fingerprint: str
    dtype: str
    basis: str
    basis_fingerprint: str
    tokenizer_sha256: str
    corpus_sha256: str
    split_sha256: str
    """Of the numbers of the documents that labels are tested on."""
    fit_positions: int
    held_positions: int
    seed: int
    rate: float
    """Of false discoveries that are put up with."""


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """One feature's kind, and its name if it has one."""

    layer: Layer
    index: int
    kind: Kind | None
    """None where only a person has said something."""
    text: str | None
    """None where no name is earned."""
    by: By
    why: str
    """One sentence: why this kind, and why a name or none."""
    score: float | None = None
    """How often, in unseen documents, the rule ranks a place where the feature is active above one where it is off; or,
    of a label about the output, how often the feature does more than a random direction. One half is chance."""
    interval: tuple[float, float] | None = None
    nulls: Mapping[str, float] | None = None
    """The same score for `shuffled` labels, `random` directions and the `top_token` of the strongest places."""
    evidence: Evidence | None = None
    provenance: Provenance | None = None

    def __str__(self) -> str:
        return f"{self.layer}/{self.index} {self.kind or 'not examined'}: {self.text or 'no label'}"
