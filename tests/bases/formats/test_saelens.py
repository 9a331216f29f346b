"""SAELens' folders: what is read, what is refused, what is written."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from micrographia.bases.formats.convert import compare, convert, open_basis, save_basis
from micrographia.bases.formats.format import Hints
from micrographia.errors import MicrographiaError, UnsupportedError
from micrographia.model.site import Point
from tests.bases.formats.samples import D, F, cross_layer, per_layer


def configured(folder: Path, *, metadata: dict[str, object] | None = None, **changes: object) -> None:
    path = folder / "layer_1" / "cfg.json"
    config = json.loads(path.read_text())
    config |= changes | {"metadata": config["metadata"] | (metadata or {})}
    path.write_text(json.dumps({key: its for key, its in config.items() if its is not None}))


ARCHITECTURES = {
    ("relu", False): "transcoder",
    ("relu", True): "skip_transcoder",
    ("jumprelu", False): "jumprelu_transcoder",
    ("batchtopk", True): "jumprelu_skip_transcoder",
}


@pytest.mark.parametrize(("kind", "skip"), ARCHITECTURES)
def test_the_files_are_theirs(tmp_path: Path, kind: str, skip: bool) -> None:
    file = per_layer(kind, skip=skip, layers=(1, 4), model="a/model", bos="absent", dataset="d", training={"k": 1})
    save_basis(file, tmp_path / "x", to="saelens")
    place = tmp_path / "x" / "layer_4"
    assert load_file(place / "sae_weights.safetensors")["W_enc"].shape == (D, F)
    config = json.loads((place / "cfg.json").read_text())
    assert config["architecture"] == ARCHITECTURES[kind, skip]
    assert config["metadata"]["hook_name"] == "blocks.4.mlp.hook_in"
    assert config["metadata"]["hook_name_out"] == "blocks.4.hook_mlp_out"
    assert config["metadata"]["prepend_bos"] is False
    back = open_basis(tmp_path / "x")
    assert back.facts.model_copy(update={"foreign": {}}) == file.facts
    assert compare(file, back).equal


def test_one_folder_is_one_layer(tmp_path: Path) -> None:
    save_basis(per_layer(), tmp_path / "x", to="saelens")
    assert open_basis(tmp_path / "x" / "layer_2").coding == (2,)


def test_their_own_words_are_kept(tmp_path: Path) -> None:
    save_basis(per_layer(layers=(1,)), tmp_path / "x", to="saelens")
    configured(tmp_path / "x", metadata={"neuronpedia_id": "n", "hook_name_out": "blocks.1.mlp.hook_out"})
    convert(tmp_path / "x", tmp_path / "ours", "micrographia")
    convert(tmp_path / "ours", tmp_path / "y", "saelens")
    metadata = json.loads((tmp_path / "y" / "layer_1" / "cfg.json").read_text())["metadata"]
    assert (metadata["neuronpedia_id"], metadata["hook_name_out"]) == ("n", "blocks.1.mlp.hook_out")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architecture": "topk"}, "has the architecture 'topk'; of SAELens' the transcoders are read"),
        ({"architecture": "skip_transcoder"}, "beyond that nothing; its cfg.json says skip_transcoder"),
        ({"apply_b_dec_to_input": True}, "has apply_b_dec_to_input = True; only False can be read"),
        ({"normalize_activations": "layer_norm"}, "has normalize_activations = 'layer_norm'; only 'none'"),
        ({"flavour": 1}, "has flavour, which nothing here understands"),
        ({"d_sae": 11}, r"d_in, d_sae, d_out = \(6, 11, 6\)"),
        ({"d_out": None}, "lacks d_out"),
        ({"metadata": {"hook_name": "hook_embed"}}, "whose layer cannot be told"),
        ({"metadata": {"hook_name": "blocks.0.mlp.hook_in"}}, "both of layer 0"),
        ({"metadata": {"hook_name": "blocks.1.hook_resid_mid"}}, r"different sites, .* \(layers 0 and 1\)"),
        ({"metadata": {"model_name": "another"}}, r"different sites, models or data"),
        ({"metadata": {"hook_name_out": None}}, "both must name a hook of one block, or --output-site"),
        ({"metadata": {"hook_name_out": "blocks.2.hook_mlp_out"}}, "both must name a hook of one block"),
        ({"metadata": {"hook_name": "blocks.1.attn.hook_z"}}, "says 'attn.hook_z', and the hooks"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    save_basis(per_layer(), tmp_path / "x", to="saelens")
    configured(tmp_path / "x", **change)
    with pytest.raises(MicrographiaError, match=said):
        open_basis(tmp_path / "x")


def test_a_person_may_say_the_output(tmp_path: Path) -> None:
    save_basis(per_layer(layers=(1,)), tmp_path / "x", to="saelens")
    configured(tmp_path / "x", metadata={"hook_name_out": None})
    assert open_basis(tmp_path / "x", hints=Hints(output_site=Point.MLP_OUT)).facts.output_site == Point.MLP_OUT


def test_what_it_cannot_hold_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"TopK \(k = 3\) becomes ReLU"):
        save_basis(per_layer("topk"), tmp_path / "x", to="saelens")
    with pytest.raises(UnsupportedError, match="this basis is a cross-layer one"):
        save_basis(cross_layer(), tmp_path / "x", to="saelens")
    file = per_layer(input_site=Point.POST, output_site=Point.LOGITS)
    with pytest.raises(UnsupportedError, match=r"the input site post has no hook there.*the output site logits has"):
        save_basis(file, tmp_path / "x", to="saelens")
    assert list(tmp_path.iterdir()) == []
