"""What is wrong with an attribution graph in the JSON of circuit-tracer and Neuronpedia: schema and unwritten rules.

An error is what a reader stumbles over; a warning is what a reader does without, or guesses at.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, cast

from micrographia.errors import CallError, WorkError

__all__ = [
    "FEATURE_TYPES",
    "Finding",
    "Report",
    "cantor",
    "check_graph",
    "read_graph_json",
    "uncantor",
]

FEATURE_TYPES = ("cross layer transcoder", "mlp reconstruction error", "embedding", "logit")
"""The kinds of node that other tools know, in their words."""

_Level: TypeAlias = Literal["error", "warning"]
_Record: TypeAlias = Mapping[str, object]
_PROBABILITY = re.compile(r"\(p=\s*([0-9.eE+-]+)\)\s*$")
_SHOWN_ALIKE = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: where, what, by which rule, and how many more of its like there are."""

    level: _Level
    where: str
    what: str
    rule: str
    more: int = 0

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" (and {self.more} more like it)" if self.more else "")


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, and what the file holds."""

    findings: tuple[Finding, ...]
    n_nodes: int
    n_links: int

    @property
    def sound(self) -> bool:
        """Whether there is no error; warnings are allowed."""
        return all(finding.level != "error" for finding in self.findings)


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a record: what it must be, in words and as a test, and whether it may be missing."""

    name: str
    words: str
    test: Callable[[object], bool]
    needed: bool = True


def cantor(layer: int, feature: int) -> int:
    """The one number that other tools make of a layer and a feature."""
    return (layer + feature) * (layer + feature + 1) // 2 + feature


def uncantor(pair: int) -> tuple[int, int]:
    """The layer and the feature behind that number."""
    diagonal = (math.isqrt(8 * pair + 1) - 1) // 2
    feature = pair - diagonal * (diagonal + 1) // 2
    return diagonal - feature, feature


def read_graph_json(path: Path) -> object:
    """The JSON in a file; what is not JSON, `NaN` and `Infinity` included, is refused."""
    try:
        return json.loads(path.read_bytes(), parse_constant=_no_constant)
    except FileNotFoundError as error:
        raise CallError(f"{path} is not there: give a graph's JSON file.") from error
    except RecursionError as error:
        raise WorkError(f"{path} is not a graph: it is nested too deeply.") from error
    except (OSError, ValueError) as error:
        raise WorkError(f"{path} cannot be read as JSON: {error}.") from error


def check_graph(content: object) -> Report:
    """Everything that is wrong with a graph's JSON, each kind of fault shown at most three times."""
    if not isinstance(content, dict):
        return Report((Finding("error", "the file", "must be a JSON object", "form"),), 0, 0)
    file = _mapping(cast("object", content))
    parts = {name: _records(file.get(name)) for name in ("nodes", "links")}
    return Report(tuple(_counted(_everything(file))), *(len(part) for part in parts.values()))


# ---------------------------------------------------------------- the schema


def _text(value: object) -> bool:
    return isinstance(value, str)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 62


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e308 < value < 1e308


def _or_null(test: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or test(value)


def _list_of(test: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(test(each) for each in _list(cast("object", value)))


def _object(value: object) -> bool:
    return isinstance(value, dict)


def _layer(value: object) -> bool:
    return value == "E" or (
        (_whole(value) or isinstance(value, str)) and re.fullmatch(r"\d{1,9}", str(value)) is not None
    )


_WHOLE = (
    _Field("metadata", "an object", _object),
    _Field("qParams", "an object", _object),
    _Field("nodes", "a list of objects", _list_of(_object)),
    _Field("links", "a list of objects", _list_of(_object)),
)
_METADATA = (
    _Field("slug", "a text", _text),
    _Field("scan", "a text", _text),
    _Field("prompt_tokens", "a list of texts", _list_of(_text)),
    _Field("prompt", "a text", _text),
    _Field("node_threshold", "a number", _or_null(_number), needed=False),
    _Field("schema_version", "a whole number", _or_null(_whole), needed=False),
    _Field("info", "an object", _or_null(_object), needed=False),
    _Field("feature_details", "an object", _or_null(_object), needed=False),
    _Field("generation_settings", "an object", _or_null(_object), needed=False),
    _Field("pruning_settings", "an object", _or_null(_object), needed=False),
)
_QPARAMS = (
    _Field("pinnedIds", "a list of texts", _list_of(_text), needed=False),
    _Field("supernodes", "a list of lists of texts", _list_of(_list_of(_text)), needed=False),
    _Field("linkType", "a text", _text, needed=False),
    _Field("clickedId", "a text", _or_null(_text), needed=False),
    _Field("sg_pos", "a text", _text, needed=False),
)
_NODE = (
    _Field("node_id", "a text", _text),
    _Field("feature", "a whole number or null", _or_null(_whole)),
    _Field("layer", 'a layer\'s number, or "E"', _layer),
    _Field("ctx_idx", "a whole number", _whole),
    _Field("feature_type", "a text", _text),
    _Field("jsNodeId", "a text", _text),
    _Field("clerp", "a text", _text),
    _Field("influence", "a number or null", _or_null(_number), needed=False),
    _Field("activation", "a number or null", _or_null(_number), needed=False),
    _Field("token_prob", "a number", _number, needed=False),
    _Field("is_target_logit", "true or false", lambda value: isinstance(value, bool), needed=False),
    _Field("run_idx", "a whole number", _whole, needed=False),
    _Field("reverse_ctx_idx", "a whole number", _whole, needed=False),
)
_LINK = (_Field("source", "a text", _text), _Field("target", "a text", _text), _Field("weight", "a number", _number))


def _everything(content: _Record) -> Iterator[Finding]:
    yield from _shape(content, _WHOLE, "the file")
    metadata, view = _mapping(content.get("metadata")), _mapping(content.get("qParams"))
    nodes, links = _records(content.get("nodes")), _records(content.get("links"))
    yield from _shape(metadata, _METADATA, "metadata")
    yield from _shape(view, _QPARAMS, "qParams")
    for record, fields, name in ((nodes, _NODE, "nodes"), (links, _LINK, "links")):
        for i, each in enumerate(record):
            yield from _shape(each, fields, f"{name}[{i}]")
    yield from _metadata_rules(metadata)
    n_tokens = len(_list(metadata.get("prompt_tokens")))
    for i, node in enumerate(nodes):
        yield from _node_rules(node, f"nodes[{i}]", n_tokens)
    yield from _graph_rules(nodes)
    yield from _link_rules(links, nodes)
    yield from _view_rules(view, {str(node.get("node_id")) for node in nodes})


def _shape(record: _Record, fields: Sequence[_Field], where: str) -> Iterator[Finding]:
    kind = where.split("[")[0]
    for field in fields:
        if field.name not in record:
            if field.needed:
                yield Finding("error", where, f"lacks {field.name}, {field.words}", f"form {kind} lacks {field.name}")
        elif not field.test(record[field.name]):
            shown = f"must be {field.words}, and is {_shown(record[field.name])}"
            yield Finding("error", f"{where}.{field.name}", shown, f"form {kind} {field.name}")


# ---------------------------------------------------------------- the unwritten rules


def _metadata_rules(metadata: _Record) -> Iterator[Finding]:
    if metadata.get("schema_version") != 1:
        what = f"should be 1, and is {_shown(metadata.get('schema_version'))}: old readers decode features otherwise"
        yield Finding("warning", "metadata.schema_version", what, "version")
    sets = {
        f"metadata.{place}.neuronpedia_source_set": _mapping(metadata.get(place)).get("neuronpedia_source_set")
        for place in ("info", "feature_details")
    }
    if len(set(map(str, sets.values()))) > 1:
        said = " and ".join(f"{where} is {_shown(value)}" for where, value in sets.items())
        yield Finding("warning", "metadata", f"must name the source set in both places or in none: {said}", "sets")


def _node_rules(node: _Record, where: str, n_tokens: int) -> Iterator[Finding]:
    kind, position = node.get("feature_type"), node.get("ctx_idx")
    if kind not in FEATURE_TYPES:
        what = f"is {_shown(kind)}; readers know {', '.join(FEATURE_TYPES)}"
        yield Finding("error", f"{where}.feature_type", what, "type")
    if isinstance(position, int) and not 0 <= position < n_tokens:
        yield Finding("error", f"{where}.ctx_idx", f"is {position}, and the prompt has {n_tokens} tokens", "ctx")
    influence = node.get("influence")
    if isinstance(influence, int | float) and not -1e-6 <= influence <= 1 + 1e-3:
        what = f"is {influence}; it is the node's place on the cumulative curve, from 0 to 1"
        yield Finding("warning", f"{where}.influence", what, "influence")
    match kind:
        case "cross layer transcoder":
            yield from _feature_rules(node, where)
        case "mlp reconstruction error":
            yield from _error_rules(node, where)
        case "embedding":
            yield from _token_rules(node, where)
        case "logit":
            yield from _logit_rules(node, where)
        case _:
            pass


def _feature_rules(node: _Record, where: str) -> Iterator[Finding]:
    layer, pair, parts = _layer_number(node), node.get("feature"), _id_parts(node)
    if layer is None or not isinstance(pair, int):
        return
    if len(parts) == 3 and parts[0] == layer and pair != cantor(layer, max(parts[1], 0)):
        what = f"is {pair}; for layer {layer}, feature {parts[1]} readers expect {cantor(layer, max(parts[1], 0))}"
        yield Finding("error", f"{where}.feature", what, "cantor")
    elif len(parts) != 3 or parts[0] != layer or parts[2] != node.get("ctx_idx"):
        yield _id_rule(node, where, "{layer}_{feature}_{position}")
    elif pair < 0 or uncantor(pair)[0] != layer:
        yield Finding("error", f"{where}.feature", f"is {pair}, which is no feature of layer {layer}", "cantor")


def _error_rules(node: _Record, where: str) -> Iterator[Finding]:
    layer, position, parts = _layer_number(node), node.get("ctx_idx"), _id_parts(node)
    if parts != [layer, -1, position]:
        collides = parts == [0, layer, position]
        what = f"{_shown(node.get('node_id'))} is also the name of a feature; an error's is {{layer}}_-1_{{position}}"
        yield (
            Finding("warning", f"{where}.node_id", what, "id")
            if collides
            else _id_rule(node, where, "{layer}_-1_{position}")
        )
    if node.get("feature") != -1:
        yield Finding("warning", f"{where}.feature", f"is {_shown(node.get('feature'))}; an error's is -1", "error")


def _token_rules(node: _Record, where: str) -> Iterator[Finding]:
    position = node.get("ctx_idx")
    if node.get("layer") != "E":
        yield Finding("error", f"{where}.layer", f'is {_shown(node.get("layer"))}; a token\'s is "E"', "token")
    if re.fullmatch(rf"E_\d+_{position}", str(node.get("node_id"))) is None:
        yield _id_rule(node, where, "E_{vocabulary}_{position}")
    if node.get("feature") != position:
        what = f"is {_shown(node.get('feature'))}; a token's is its position, {position}"
        yield Finding("warning", f"{where}.feature", what, "token")


def _logit_rules(node: _Record, where: str) -> Iterator[Finding]:
    found = _PROBABILITY.search(str(node.get("clerp")))
    said = None if found is None else _as_number(found[1])
    if said is None:
        yield Finding("error", f"{where}.clerp", 'must end with the probability: Output "tok" (p=0.123)', "clerp")
    probability = node.get("token_prob")
    if not isinstance(probability, int | float):
        yield Finding("warning", where, "has no token_prob", "prob")
    elif not 0 <= probability <= 1 + 1e-6:
        yield Finding("error", f"{where}.token_prob", f"is {probability}, which is no probability", "prob")
    elif said is not None and abs(said - probability) > 0.001:
        yield Finding("warning", f"{where}.clerp", f"says p={said}, and token_prob is {probability:.3f}", "prob")
    parts = _id_parts(node)
    if len(parts) != 3 or parts[0] != _layer_number(node) or parts[2] != node.get("ctx_idx"):
        yield _id_rule(node, where, "{layers + 1}_{vocabulary}_{position}")


def _graph_rules(nodes: Sequence[_Record]) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for i, node in enumerate(nodes):
        name = str(node.get("node_id"))
        if name in seen:
            what = f"{_shown(name)} is also nodes[{seen[name]}]: links to it cannot be told apart"
            yield Finding("error", f"nodes[{i}].node_id", what, "twice")
        seen.setdefault(name, i)
    kinds = Counter(str(node.get("feature_type")) for node in nodes)
    if not kinds["logit"]:
        yield Finding("error", "nodes", "has no logit", "no logit")
    elif not any(node.get("is_target_logit") is True for node in nodes):
        yield Finding("warning", "nodes", "marks no logit with is_target_logit", "target")
    layers = [layer for node in nodes if node.get("feature_type") != "logit" and (layer := _layer_number(node))]
    if nodes and not layers:
        yield Finding(
            "error", "nodes", "must have a node above layer 0 that is no logit: readers count layers by it", "top"
        )


def _link_rules(links: Sequence[_Record], nodes: Sequence[_Record]) -> Iterator[Finding]:
    names = [str(node.get("node_id")) for node in nodes]
    heights = dict(zip(names, map(_height, nodes), strict=True))
    several = {name for name, count in Counter(names).items() if count > 1}
    seen: set[tuple[str, str]] = set()
    for i, link in enumerate(links):
        pair = (str(link.get("source")), str(link.get("target")))
        missing = [name for name in pair if name not in heights]
        for name in missing:
            yield Finding("error", f"links[{i}]", f"leads to {_shown(name)}, which is no node", "dangling")
        if pair in seen and pair[0] not in several:
            yield Finding("error", f"links[{i}]", f"is there twice: {_shown(pair[0])} to {_shown(pair[1])}", "repeated")
        seen.add(pair)
        if not missing and not several.intersection(pair) and not heights[pair[0]] < heights[pair[1]]:
            what = f"leads from {_shown(pair[0])} to {_shown(pair[1])}, and not from a lower layer to a higher one"
            yield Finding("error", f"links[{i}]", what, "upwards")


def _view_rules(view: _Record, names: set[str]) -> Iterator[Finding]:
    for i, name in enumerate(_list(view.get("pinnedIds"))):
        if not isinstance(name, str) or name not in names:
            yield Finding("warning", f"qParams.pinnedIds[{i}]", f"is {_shown(name)}, which is no node", "pinned")
    for i, found in enumerate(_list(view.get("supernodes"))):
        group = _list(found)
        if len(group) < 2:
            yield Finding("warning", f"qParams.supernodes[{i}]", "must be a label and at least one node", "group")
            continue
        for name in group[1:]:
            if not isinstance(name, str) or name not in names:
                where = f"qParams.supernodes[{i}]"
                yield Finding("warning", where, f"holds {_shown(name)}, which is no node", "member")


# ---------------------------------------------------------------- parts


def _counted(found: Iterator[Finding]) -> Iterator[Finding]:
    """Errors first; of each kind the first few, the last of them with the number of the rest."""
    kinds: dict[tuple[_Level, str], list[Finding]] = {}
    for each in found:
        kinds.setdefault((each.level, each.rule), []).append(each)
    for _, alike in sorted(kinds.items(), key=lambda item: item[0][0] != "error"):
        shown = alike[:_SHOWN_ALIKE]
        for i, each in enumerate(shown):
            yield replace(each, more=len(alike) - len(shown) if i == len(shown) - 1 else 0)


def _id_rule(node: _Record, where: str, form: str) -> Finding:
    return Finding(
        "warning", f"{where}.node_id", f"is {_shown(node.get('node_id'))}, and should be {form}", f"id {form}"
    )


def _id_parts(node: _Record) -> list[int]:
    """The numbers in a node's id; nothing where it has any other form."""
    parts = str(node.get("node_id")).split("_")
    return [int(part) for part in parts] if all(re.fullmatch(r"-?\d{1,18}", part) for part in parts) else []


def _layer_number(node: _Record) -> int | None:
    layer = node.get("layer")
    return int(cast("str | int", layer)) if _layer(layer) and layer != "E" else None


def _height(node: _Record) -> float:
    """How high a node lies: tokens lowest, logits above everything."""
    if node.get("feature_type") == "logit":
        return math.inf
    layer = _layer_number(node)
    return -1.0 if layer is None else float(layer)


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _records(value: object) -> list[_Record]:
    return [cast("_Record", each) for each in _list(value) if isinstance(each, dict)]


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _mapping(value: object) -> _Record:
    return cast("_Record", value) if isinstance(value, dict) else {}


def _shown(value: object) -> str:
    """A value of the file in a message: in ASCII, and not longer than a line."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
