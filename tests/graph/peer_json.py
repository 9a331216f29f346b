"""A graph's JSON as circuit-tracer 0.5.0 and its successors write it, from numbers made up here."""

import random

__all__ = ["peer_json"]


def peer_json(seed: int = 0, *, old_errors: bool = False, n_layers: int = 4, n_tokens: int = 3) -> dict:
    """`old_errors`: errors are called `0_{layer}_{position}`, as 0.5.0 does; feature 2 of layer 0 then shares its name
    with the error of layer 2."""
    draw = random.Random(seed)
    nodes = []
    for layer in range(n_layers):
        for feature in (2, 11):
            index, position = (feature if layer == 0 else feature + 100 * layer), 1 + feature % 2
            diagonal = layer + index
            nodes.append(
                node(
                    f"{layer}_{index}_{position}",
                    diagonal * (diagonal + 1) // 2 + index,
                    str(layer),
                    position,
                    "cross layer transcoder",
                    f"{layer}_{index}-0",
                    influence=draw.random(),
                    activation=draw.random(),
                )
            )
    for layer in range(n_layers):
        for position in (1, 2):
            name = f"0_{layer}_{position}" if old_errors else f"{layer}_-1_{position}"
            js = f"{layer}_{position}-0" if old_errors else f"{layer}_-1-{position}"
            nodes.append(node(name, -1, str(layer), position, "mlp reconstruction error", js, influence=draw.random()))
    for position in range(n_tokens):
        name = f"E_{500 + position}_{position}"
        nodes.append(node(name, position, "E", position, "embedding", f"E_{500 + position}-{position}", influence=0.9))
    for number, (token, p) in enumerate(((" French", 0.75), (" (p=", 0.125))):
        name, top = f"{n_layers + 1}_{900 + number}_{n_tokens - 1}", str(n_layers + 1)
        clerp = f'Output "{token}" (p={p:.3f})'
        js = f"L_{900 + number}-{n_tokens - 1}"
        nodes.append(node(name, 900 + number, top, n_tokens - 1, "logit", js, clerp=clerp, token_prob=p))
        nodes[-1]["is_target_logit"] = number == 0
    links = []
    for target in nodes:
        for source in nodes:
            reads = target["feature_type"] in ("logit", "cross layer transcoder") and height(source) < height(target)
            if reads and draw.random() < 0.7 and source["ctx_idx"] <= target["ctx_idx"]:
                links.append({"source": source["node_id"], "target": target["node_id"], "weight": draw.gauss(0, 1)})
    return {
        "metadata": {
            "slug": "a-slug",
            "scan": "gemma-2-2b",
            "transcoder_list": [],
            "prompt_tokens": ["<bos>", " Eiffel", "\n"],
            "prompt": "<bos> Eiffel\n",
            "node_threshold": 0.8,
            "schema_version": 1,
            "info": {"creator_name": "somebody", "create_time_ms": 1789593498121},
            "pruning_settings": {"node_threshold": 0.8, "edge_threshold": 0.9},
        },
        "qParams": {
            "pinnedIds": [nodes[0]["node_id"]],
            "supernodes": [["a group", nodes[1]["node_id"], nodes[3]["node_id"]]],
            "linkType": "both",
            "clickedId": "",
            "sg_pos": "1 2",
        },
        "nodes": nodes,
        "links": links,
    }


def height(node: dict) -> float:
    if node["feature_type"] == "logit":
        return 1000
    return -1 if node["layer"] == "E" else int(node["layer"])


def node(
    node_id: str, feature: int, layer: str, position: int, feature_type: str, js: str, **more: float | str | None
) -> dict:
    known = {"clerp": "", "influence": None, "activation": None, "token_prob": 0.0}
    return {
        "node_id": node_id,
        "feature": feature,
        "layer": layer,
        "ctx_idx": position,
        "feature_type": feature_type,
        "is_target_logit": False,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "jsNodeId": js,
        **known,
        **more,
    }
