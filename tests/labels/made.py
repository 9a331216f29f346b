"""Labels by hand."""

from micrographia.ids import Layer
from micrographia.labels.label import Evidence, Held, Label, Provenance

__all__ = ["PROVENANCE", "held", "label"]

PROVENANCE = Provenance(
    method="rules",
    version="1",
    judge=None,
    model="tiny",
    model_fingerprint="m",
    dtype="float64",
    basis="random",
    basis_fingerprint="b",
    tokenizer_sha256="t",
    corpus_sha256="c",
    split_sha256="s",
    fit_positions=10,
    held_positions=20,
    seed=0,
    rate=0.05,
)


def held(auc: float = 0.9) -> Held:
    return Held(
        n=40, documents=9, base=0.01, recall=0.8, precision=0.7, f1=0.75, auc=auc, hard=0.6, alike=0.8, low=auc - 0.1,
        high=auc + 0.1, deciles=(None, *[0.5] * 9), shuffled=0.5, random=0.55, bar=0.7, top_token=0.6,
    )  # fmt: skip


def label(layer: int, index: int, text: str | None = "␣years", kind="input") -> Label:
    nulls = {"shuffled": 0.5, "random": 0.55, "top_token": 0.6}
    return Label(
        Layer(layer), index, kind, text, "rule", "Because.", 0.9, (0.8, 1.0), nulls, Evidence(density=0.01, held=held())
    )
