"""Addresses: where in a model a tensor can be read or edited.

A `Site` is a point and, where the point lies in a block, a layer. Written: `logits`, `resid_post.3`, `pattern.0`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from types import MappingProxyType

from micrographia.errors import SiteError
from micrographia.ids import Layer
from micrographia.model.anatomy import Anatomy

__all__ = ["AXES", "Point", "Site", "points_of", "sites_matching", "sites_of"]


class Point(StrEnum):
    """The places on the way of a token through the model, in the order in which it passes them."""

    EMBED = "embed"
    POS_EMBED = "pos_embed"

    RESID_PRE = "resid_pre"
    ATTN_NORM_IN = "attn_norm_in"
    ATTN_NORM_SCALE = "attn_norm_scale"
    ATTN_IN = "attn_in"
    Q_NORM_IN = "q_norm_in"
    Q_NORM_SCALE = "q_norm_scale"
    Q = "q"
    K_NORM_IN = "k_norm_in"
    K_NORM_SCALE = "k_norm_scale"
    K = "k"
    V = "v"
    Q_ROT = "q_rot"
    K_ROT = "k_rot"
    SCORES = "scores"
    PATTERN = "pattern"
    Z = "z"
    ATTN_POST_NORM_IN = "attn_post_norm_in"
    ATTN_POST_NORM_SCALE = "attn_post_norm_scale"
    ATTN_OUT = "attn_out"

    RESID_MID = "resid_mid"
    MLP_NORM_IN = "mlp_norm_in"
    MLP_NORM_SCALE = "mlp_norm_scale"
    MLP_IN = "mlp_in"
    GATE = "gate"
    UP = "up"
    POST = "post"
    MLP_POST_NORM_IN = "mlp_post_norm_in"
    MLP_POST_NORM_SCALE = "mlp_post_norm_scale"
    MLP_OUT = "mlp_out"
    RESID_POST = "resid_post"

    FINAL_NORM_IN = "final_norm_in"
    FINAL_NORM_SCALE = "final_norm_scale"
    FINAL_NORM_OUT = "final_norm_out"
    LOGITS = "logits"

    @property
    def in_block(self) -> bool:
        return self not in _OUTSIDE_BLOCKS


_NAMED: Mapping[str, Point] = MappingProxyType({point.value: point for point in Point})
_OUTSIDE_BLOCKS = frozenset(
    {
        Point.EMBED,
        Point.POS_EMBED,
        Point.FINAL_NORM_IN,
        Point.FINAL_NORM_SCALE,
        Point.FINAL_NORM_OUT,
        Point.LOGITS,
    }
)

_STREAM = ("batch", "pos", "d_model")
_SCALE = ("batch", "pos", "one")
_QUERY = ("batch", "pos", "head", "d_head")
_KEY = ("batch", "pos", "kv_head", "d_head")
_SQUARE = ("batch", "head", "query", "key")
_NEURON = ("batch", "pos", "neuron")

AXES: Mapping[Point, tuple[str, ...]] = MappingProxyType(
    dict.fromkeys(Point, _STREAM)
    | dict.fromkeys((point for point in Point if point.value.endswith("_scale")), _SCALE)
    | dict.fromkeys((Point.Q_NORM_IN, Point.Q, Point.Q_ROT, Point.Z), _QUERY)
    | dict.fromkeys((Point.K_NORM_IN, Point.K, Point.V, Point.K_ROT), _KEY)
    | dict.fromkeys((Point.SCORES, Point.PATTERN), _SQUARE)
    | dict.fromkeys((Point.GATE, Point.UP, Point.POST), _NEURON)
    | {
        Point.Q_NORM_SCALE: ("batch", "pos", "head", "one"),
        Point.K_NORM_SCALE: ("batch", "pos", "kv_head", "one"),
        Point.LOGITS: ("batch", "pos", "d_vocab"),
    }
)
"""The axes of the tensor at each point. A scale shared by all heads has length 1 along its head axis."""


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """A point, and the layer it lies in (None for the points before and after the blocks)."""

    point: Point
    layer: Layer | None = None

    def __post_init__(self) -> None:
        if self.point.in_block != (self.layer is not None):
            form = f"{self.point}.LAYER" if self.point.in_block else f"{self.point}"
            raise SiteError(f"The point {self.point} is written {form!r}; this says layer {self.layer}.")

    def __str__(self) -> str:
        return str(self.point) if self.layer is None else f"{self.point}.{self.layer}"

    @staticmethod
    def parse(text: str) -> "Site":
        """Read `resid_post.3` or `logits`."""
        name, dot, layer = text.partition(".")
        if name not in _NAMED or (dot and not layer.isdecimal()):
            raise SiteError(_unknown(text, name, Point))
        return Site(_NAMED[name], Layer(int(layer)) if dot else None)


def points_of(anatomy: Anatomy) -> tuple[Point, ...]:
    """The points that a model of this anatomy has."""
    absent: set[Point] = set()
    if not anatomy.learned_positions:
        absent |= {Point.POS_EMBED}
    if not any(anatomy.rotaries):
        absent |= {Point.Q_ROT, Point.K_ROT}
    if not anatomy.pre_norm:
        absent |= {Point.ATTN_NORM_IN, Point.ATTN_NORM_SCALE, Point.MLP_NORM_IN, Point.MLP_NORM_SCALE}
    if not anatomy.post_norm:
        absent |= {Point.ATTN_POST_NORM_IN, Point.ATTN_POST_NORM_SCALE}
        absent |= {Point.MLP_POST_NORM_IN, Point.MLP_POST_NORM_SCALE}
    if anatomy.qk_norm == "none":
        absent |= {Point.Q_NORM_IN, Point.Q_NORM_SCALE, Point.K_NORM_IN, Point.K_NORM_SCALE}
    if anatomy.parallel:
        absent |= {Point.RESID_MID}
    if not anatomy.gated:
        absent |= {Point.GATE}
    return tuple(point for point in Point if point not in absent)


def sites_of(anatomy: Anatomy) -> tuple[Site, ...]:
    """Every site of the model, in the order in which a forward pass reaches them."""
    points = points_of(anatomy)
    outside = [Site(point) for point in points if not point.in_block]
    before = [site for site in outside if site.point in (Point.EMBED, Point.POS_EMBED)]
    inside = [Site(point, Layer(layer)) for layer in range(anatomy.n_layers) for point in points if point.in_block]
    return (*before, *inside, *(site for site in outside if site not in before))


def sites_matching(anatomy: Anatomy, wanted: str | Point | Site) -> tuple[Site, ...]:
    """The sites meant by `resid_post.3` (one) or by `resid_post` (one per layer)."""
    if not isinstance(wanted, Site):
        point = _NAMED.get(wanted)
        if point is not None and point in points_of(anatomy) and point.in_block:
            return tuple(Site(point, Layer(layer)) for layer in range(anatomy.n_layers))
    site = wanted if isinstance(wanted, Site) else _parse_for(anatomy, wanted)
    if site.point not in points_of(anatomy):
        raise SiteError(
            f"This {anatomy.family} model has no {site.point!s} ({_why_absent(site.point)}). "
            f"It has: {', '.join(points_of(anatomy))}."
        )
    if site.layer is not None and not 0 <= site.layer < anatomy.n_layers:
        raise SiteError(
            f"There is no layer {site.layer} in {str(site)!r}: this model's layers are 0 to {anatomy.n_layers - 1}."
        )
    return (site,)


def _parse_for(anatomy: Anatomy, text: str) -> Site:
    name, dot, layer = text.partition(".")
    if name not in _NAMED or (dot and not layer.isdecimal()):
        raise SiteError(_unknown(text, name, points_of(anatomy)))
    point = _NAMED[name]
    if point.in_block and not dot:
        return Site(point, Layer(0))
    return Site(point, Layer(int(layer)) if dot else None)


def _why_absent(point: Point) -> str:
    match point:
        case Point.RESID_MID:
            return "attention and MLP read the same residual"
        case Point.GATE:
            return "its MLP is not gated"
        case Point.POS_EMBED | Point.Q_ROT | Point.K_ROT:
            return "it marks positions another way"
        case _:
            return "it has no norm there"


def _unknown(text: str, name: str, known: Iterable[Point]) -> str:
    points = [str(point) for point in known]
    near = get_close_matches(name, points, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return (
        f"There is no site {text!r}.{hint} A site is POINT or POINT.LAYER, such as 'resid_post.3'; "
        f"the points are: {', '.join(points)}."
    )
