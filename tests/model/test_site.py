"""Addresses: written, read back, and refused with what exists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrographia.errors import SiteError
from micrographia.ids import Layer
from micrographia.model.model import Model
from micrographia.model.site import Point, Site, sites_matching


@given(point=st.sampled_from(Point), layer=st.integers(0, 200))
def test_a_site_reads_back_from_its_text(point: Point, layer: int) -> None:
    site = Site(point, Layer(layer) if point.in_block else None)
    assert Site.parse(str(site)) == site


def test_a_point_means_one_site_per_layer(tiny) -> None:
    anatomy = tiny("llama").anatomy
    assert [str(site) for site in sites_matching(anatomy, "z")] == ["z.0", "z.1", "z.2"]
    assert [str(site) for site in sites_matching(anatomy, "z.2")] == ["z.2"]
    assert [str(site) for site in sites_matching(anatomy, Point.LOGITS)] == ["logits"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resid_past.1", r"no site 'resid_past.1'. Did you mean 'resid_post'\?.*resid_pre"),
        ("resid_post.x", r"no site 'resid_post.x'"),
        ("resid_post.-1", r"no site 'resid_post.-1'"),
        ("resid_post.3", r"no layer 3 in 'resid_post.3': this model's layers are 0 to 2"),
        ("logits.1", r"point logits is written 'logits'"),
        ("q_norm_in.0", r"no q_norm_in \(it has no norm there\). It has: embed, "),
        ("pos_embed", r"no pos_embed \(it marks positions another way\)"),
        ("", r"no site ''"),
    ],
)
def test_a_wrong_site_is_answered_with_what_exists(tiny, text: str, message: str) -> None:
    with pytest.raises(SiteError, match=message):
        tiny("llama").run("t1 t2", read=[text])


def test_families_have_the_points_their_form_says(tiny) -> None:
    def points(case: str) -> set[str]:
        return {str(site.point) for site in tiny(case).sites}

    assert "resid_mid" not in points("neox")
    assert "resid_mid" in points("neox-serial")
    assert "gate" not in points("gpt2")
    assert {"pos_embed"} == points("gpt2") - points("llama")
    assert {"q_rot", "k_rot", "gate"} == points("llama") - points("gpt2")
    assert {"q_norm_in", "q_norm_scale", "k_norm_in", "k_norm_scale"} == points("qwen3") - points("llama")
    assert {"attn_norm_in", "attn_norm_scale", "mlp_norm_in", "mlp_norm_scale"} == points("qwen3") - points("olmo2")
    assert points("gemma3") - points("gemma2") == points("qwen3") - points("llama")


def test_a_layer_belongs_to_points_inside_blocks_only() -> None:
    with pytest.raises(SiteError, match=r"written 'resid_post\.LAYER'"):
        Site(Point.RESID_POST)


def test_the_sites_of_a_model_are_in_the_order_of_its_forward_pass(model: Model) -> None:
    seen: list[Site] = []
    model.run(
        model.tokenizer.from_ids([3, 4, 5]), readers=dict.fromkeys(model.sites, lambda act, site: seen.append(site))
    )
    order = {site: i for i, site in enumerate(seen)}
    assert set(order) == set(model.sites)
    streams = [site for site in model.sites if site.point.value.startswith(("resid", "embed", "logits"))]
    assert sorted(streams, key=order.__getitem__) == streams
