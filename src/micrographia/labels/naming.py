"""A graph whose features are called what their labels call them, and whether that holds in this prompt."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from micrographia.graph.graph import Graph, NodeLabel
from micrographia.graph.nodes import NodeId
from micrographia.ids import Layer, TokenId
from micrographia.labels.label import Label
from micrographia.labels.rules import REACH, At, Condition, Near, parse_rule
from micrographia.labels.store import LabelBook
from micrographia.labels.vocabulary import CLASSES, STARTS
from micrographia.model.tokens import Tokenizer

__all__ = ["agrees", "named"]


def named(graph: Graph, book: LabelBook, tokenizer: Tokenizer) -> Graph:
    """With a label at every feature of which something is known. What the graph called its nodes before stays."""
    return replace(graph, labels={**dict(_found(graph, book, tokenizer)), **graph.labels})


def agrees(
    label: Label, tokens: Sequence[int], position: int, promoted: Sequence[int], tokenizer: Tokenizer
) -> bool | None:
    """Whether a feature, active at a position of some tokens, does there what its label says.

    The rule of a label about the input holds at the position; of those tokens that a label about the output names, one
    is among those that the feature promotes here. None where the label claims nothing that can be looked up.
    """
    evidence = label.evidence
    if evidence is None or label.text is None or label.by != "rule":
        return None
    reads = None if evidence.rule is None else _holds(evidence.rule, tokens, position, tokenizer)
    if evidence.strong and reads is False:
        return None  # it speaks of strong activations, and this may be a weak one
    writes = None if evidence.said is None else bool({*evidence.said.tokens} & {*promoted})
    match label.kind:
        case "input" | "cross":
            return reads
        case "output":
            return writes
        case "both":
            return None if reads is None or writes is None else reads and writes
        case _:
            return None


def _holds(rule: str, tokens: Sequence[int], position: int, tokenizer: Tokenizer) -> bool:
    parsed = parse_rule(rule)
    if isinstance(parsed, Near):
        before, behind = tokens[max(0, position - REACH) : position], tokens[position + 1 : position + REACH + 1]
        return sum(token in parsed.tokens for token in (*before, *behind)) >= parsed.least
    if isinstance(parsed, At):
        return parsed.first <= _number(parsed, tokens, position, tokenizer) <= parsed.last
    return all(_meets(each, tokens, position + each.offset, tokenizer) for each in parsed.conditions)


def _number(rule: At, tokens: Sequence[int], position: int, tokenizer: Tokenizer) -> int:
    """Which token of its text, its line or its sentence a place is, counted from 1."""
    front = len(tokenizer.front())
    if rule.since == "text":
        return position + 1 - (front if tuple(tokens[:front]) == tokenizer.front() else 0)
    starts, special = STARTS[rule.since], {*tokenizer.front(), *tokenizer.ends}
    for back in range(1, position + 1):
        token = TokenId(tokens[position - back])
        if token in special or starts(tokenizer.raw(token).decode("utf-8", "replace")):
            return back
    return position + 1


def _meets(condition: Condition, tokens: Sequence[int], place: int, tokenizer: Tokenizer) -> bool:
    if not 0 <= place < len(tokens):
        return False
    if condition.name:
        return CLASSES[condition.name](tokenizer.raw(tokens[place]).decode("utf-8", "replace"))
    return tokens[place] in condition.tokens


def _found(graph: Graph, book: LabelBook, tokenizer: Tokenizer) -> Iterator[tuple[NodeId, NodeLabel]]:
    n, says = graph.nodes, graph.promoted
    features = np.arange(len(n))[n.spans["feature"]]
    layers, index = n.layer[features], n.index[features]
    for layer in np.unique(layers).tolist():
        labels = book.labels(Layer(layer), np.unique(index[layers == layer]).tolist())
        for node in features[layers == layer].tolist():
            label = labels.get(int(n.index[node]))
            if label is not None:
                promoted = () if says is None else says.tokens[node].tolist()
                here = agrees(label, graph.prompt.ids, int(n.position[node]), promoted, tokenizer)
                yield n.id(node), NodeLabel(label.text or "", label.kind or "", label.score, label.by, here)
