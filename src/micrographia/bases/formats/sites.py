"""Our sites in the words of TransformerLens and of Hugging Face's modules."""

import re
from collections.abc import Mapping
from typing import TypeAlias

from micrographia.bases.formats.facts import BasisFacts, InputNorm
from micrographia.errors import UnsupportedError
from micrographia.ids import Layer
from micrographia.model.site import Point

__all__ = ["INPUT_HOOKS", "OUTPUT_HOOKS", "block_and_hook", "input_hook", "module_layer", "output_hook", "site_of_hook"]

_Place: TypeAlias = tuple[Point, InputNorm]

INPUT_HOOKS: Mapping[str, _Place] = {
    "mlp.hook_in": (Point.MLP_IN, "as-read"),
    "ln2.hook_normalized": (Point.MLP_IN, "before-gain"),
    "hook_resid_mid": (Point.RESID_MID, "as-read"),
    "hook_mlp_in": (Point.RESID_MID, "as-read"),
    "hook_resid_pre": (Point.RESID_PRE, "as-read"),
}
"""What an encoder reads. `hook_mlp_in` is the residual before the norm, whatever it sounds like; of several words for
one place the first is written."""

OUTPUT_HOOKS: Mapping[str, _Place] = {
    "hook_mlp_out": (Point.MLP_OUT, "as-read"),
    "mlp.hook_out": (Point.MLP_OUT, "as-read"),
    "hook_resid_post": (Point.RESID_POST, "as-read"),
}
"""What a decoder writes. `mlp.hook_out` lies before a post-norm, and is used for models that have none."""

_BLOCK = re.compile(r"blocks\.(?P<layer>\d+)\.(?P<hook>[\w.]+)")
_MODULE = re.compile(r"(?:^|.*\.)(?P<layer>\d+)\.mlp")


def site_of_hook(hook: str, hooks: Mapping[str, _Place], where: str) -> _Place:
    """The site that a hook's name means."""
    if hook not in hooks:
        raise UnsupportedError(
            f"{where} says {hook!r}, and the hooks that are understood here are {', '.join(hooks)}; "
            "--input-site and --output-site say it in our words."
        )
    return hooks[hook]


def input_hook(facts: BasisFacts) -> str | None:
    """The hook for what the encoder reads; None where there is none."""
    return _hook(INPUT_HOOKS, (facts.input_site, facts.input_norm))


def output_hook(facts: BasisFacts) -> str | None:
    """The hook for what the decoder writes; None where there is none."""
    return _hook(OUTPUT_HOOKS, (facts.output_site, "as-read"))


def _hook(hooks: Mapping[str, _Place], place: _Place) -> str | None:
    return next((hook for hook, its in hooks.items() if its == place), None)


def block_and_hook(name: str) -> tuple[Layer, str] | None:
    """`blocks.5.mlp.hook_in` → layer 5, `mlp.hook_in`."""
    hit = _BLOCK.fullmatch(name)
    return None if hit is None else (Layer(int(hit["layer"])), hit["hook"])


def module_layer(name: str) -> Layer | None:
    """`layers.5.mlp` or `h.5.mlp` → layer 5."""
    hit = _MODULE.fullmatch(name)
    return None if hit is None else Layer(int(hit["layer"]))
