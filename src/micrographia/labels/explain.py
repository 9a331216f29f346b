"""Everything that a label rests on, in plain words."""

from collections.abc import Callable, Iterator

from micrographia.labels.label import Evidence, Held, Label, Provenance, Share
from micrographia.labels.rules import At, Near, parse_rule

__all__ = ["explained"]

_EMBEDDERS = {"ModelStates": "the model's own states", "MiniLM": "all-MiniLM-L6-v2"}


def explained(label: Label, piece: Callable[[int], str]) -> Iterator[str]:
    """Lines about one feature; `piece` shows a token."""
    yield f"{label.layer}/{label.index}  {label.kind or 'not examined'}: {label.text or 'no label'}"
    yield label.why
    evidence = label.evidence
    if evidence is None:
        return
    yield from _score(label)
    yield ""
    yield from _rule(evidence, piece)
    yield from _edits(evidence)
    yield from _output(evidence, piece)
    yield from _around(evidence, piece)
    yield from _windows(evidence)
    bare = Evidence(density=evidence.density, withdrawn=evidence.withdrawn, windows=evidence.windows)
    if evidence == bare and label.kind == "obscure":
        yield (
            "What else was measured did not come along. To measure anew, from a whole atlas: micrographia label "
            f"--layers {label.layer}"
        )
    if label.provenance is not None:
        yield ""
        yield _made(label.provenance)


def _score(label: Label) -> Iterator[str]:
    if label.score is None or label.interval is None:
        return
    low, high = label.interval
    nulls = label.nulls or {}
    said = {
        "shuffled": "shuffled labels {}",
        "random": "random directions {}",
        "top_token": "the commonest token of its strongest places {}",
    }
    beside = ", ".join(said[name].format(_short(value)) for name, value in nulls.items())
    yield f"Score {_short(label.score)} ({_short(low)} to {_short(high)}); one half is chance. Beside it: {beside}."


def _rule(evidence: Evidence, piece: Callable[[int], str]) -> Iterator[str]:
    if evidence.withdrawn is not None:
        yield f"Withdrawn: {evidence.withdrawn}"
    if evidence.rule is None or evidence.held is None:
        return
    yield f"Rule: {_spoken(evidence.rule, piece)}{' (its strongest three tenths)' if evidence.strong else ''}"
    yield from _held(evidence.held)


def _held(held: Held) -> Iterator[str]:
    yield (
        f"  In {held.documents} unseen documents: it holds at {held.recall:.0%} of {held.n} places where the feature "
        f"is active; where it holds, the feature is active at {held.precision:.0%} (of all places, at {held.base:.2%})."
    )
    yield f"  F1 {_short(held.f1)}; hardly a random direction exceeds {_short(held.bar)}."
    hard = {"on the same tokens": held.hard, "on those nearest to them in the embedding": held.alike}
    if some := ", ".join(f"{name} {_short(value)}" for name, value in hard.items() if value is not None):
        yield f"  Against places where it is off, {some}."
    tenths = " ".join("–" if each is None else f"{each:.0%}" for each in held.deciles)
    yield f"  By tenths of its activations, weakest first: {tenths}"


def _edits(evidence: Evidence) -> Iterator[str]:
    if evidence.edits is not None:
        each, about = evidence.edits, None if evidence.rule is None else parse_rule(evidence.rule)
        done = "the place is moved" if isinstance(about, At) else "what the rule names is replaced"
        yield (
            f"Minimal pairs at {_places(each.n)}: {each.named:.0%} of the activation remains when {done}, "
            f"{each.other:.0%} when another token near by is{' replaced' if isinstance(about, At) else ''}."
        )


def _output(evidence: Evidence, piece: Callable[[int], str]) -> Iterator[str]:
    said, effect = evidence.said, evidence.effect
    if said is None:
        return
    tokens = " ".join(piece(token) for token in said.tokens)
    yield f"Promotes: {tokens}"
    yield f"  Mean cosine of the first five {_short(said.concentration)} (p {_p(said.p_concentration)})."
    yield (
        f"  One of them comes next at {said.next:.1%} of its places, at {said.next_elsewhere:.1%} of others' "
        f"(p {_p(said.p_next)}); the model thinks one likeliest at {said.argmax:.1%}, at {said.argmax_elsewhere:.1%} "
        f"of others' (p {_p(said.p_argmax)})."
    )
    if effect is None:
        yield "  Not taken out or doubled: it writes no words more pointedly than random directions do."
        return
    yield (
        f"  Their mean logit moves by {effect.ablated:+.3f} when it is taken out, by {effect.boosted:+.3f} when it is "
        f"doubled ({_places(effect.n)}); random directions move theirs by {abs(effect.random):.3f} (p {_p(effect.p)})."
    )


def _around(evidence: Evidence, piece: Callable[[int], str]) -> Iterator[str]:
    if not evidence.shares:
        return
    yield f"Around {evidence.examples} of its places, beyond random places (as it is around most random directions'):"
    yield from (f"  {_where(share.offset):<17}{_share(share, piece)}" for share in evidence.shares)


def _windows(evidence: Evidence) -> Iterator[str]:
    if not evidence.windows:
        return
    embedder = evidence.windows[0].embedder
    by = _EMBEDDERS.get(embedder, embedder)
    yield f"How alike the texts around its strongest places are (mean cosine of their embeddings by {by}):"
    for each in evidence.windows:
        null = f"19 in 20 sets of {each.n} random places are below {_short(each.null)}"
        yield f"  {each.name:<17}{_short(each.cosine)}; {null} (p {_p(each.p)})"


def _share(share: Share, piece: Callable[[int], str]) -> str:
    name = share.name if share.token is None else piece(share.token)
    return f"{name} at {share.share:.0%}, {share.corpus:.2%} of all (p {_p(share.p)}; entropy {share.entropy:.1f} bits)"


def _made(provenance: Provenance) -> str:
    return (
        f"Made with {provenance.method}, version {provenance.version}, from {provenance.model} in {provenance.dtype}, "
        f"basis {provenance.basis}; false discoveries at most {provenance.rate:.0%}; seed {provenance.seed}."
    )


def _spoken(rule: str, piece: Callable[[int], str]) -> str:
    """A rule with its tokens as people read them."""
    known = parse_rule(rule)
    if isinstance(known, Near):
        return f"at least {known.least} of {' '.join(map(piece, known.tokens))} within 8 tokens"
    if isinstance(known, At):
        return known.words()
    parts = (f"{each.name or ' or '.join(map(piece, each.tokens))} {_where(each.offset)}" for each in known.conditions)
    return ", and ".join(parts)


def _where(offset: int) -> str:
    if offset == 0:
        return "on it"
    return f"{abs(offset)} {'before' if offset < 0 else 'behind'}"


def _places(n: int) -> str:
    return f"{n} place{'' if n == 1 else 's'}"


def _short(value: float) -> str:
    return f"{value:.2f}"


def _p(value: float) -> str:
    return f"{value:.2g}"
