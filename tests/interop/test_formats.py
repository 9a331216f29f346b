"""What we write computes the same in the library whose files they are; what a library writes computes the same here.

Every library loads and saves with its own code, in an environment of its own, once for all of its tests.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from micrographia.bases.formats.convert import format_named, open_basis
from micrographia.bases.formats.format import Hints
from micrographia.bases.formats.parts import BasisFile
from micrographia.bases.formats.writing import new_folder
from micrographia.bases.transcoder import CrossLayer
from tests.bases.formats.samples import D, cross_layer, per_layer
from tests.interop.environments import run_peer

CLOSE = 1e-5

OURS: dict[str, dict[str, BasisFile]] = {
    "circuit-tracer": {
        "relu": per_layer("relu"),
        "skip": per_layer("relu", skip=True),
        "jumprelu": per_layer("jumprelu"),
        "jumprelu-skip": per_layer("jumprelu", skip=True),
        "batchtopk": per_layer("batchtopk"),
        "cross": cross_layer("relu"),
        "cross-jumprelu": cross_layer("jumprelu"),
        "cross-batchtopk": cross_layer("batchtopk"),
    },
    "saelens": {
        "relu": per_layer("relu"),
        "skip": per_layer("relu", skip=True),
        "jumprelu": per_layer("jumprelu"),
        "jumprelu-skip": per_layer("jumprelu", skip=True),
        "batchtopk": per_layer("batchtopk"),
        "gaps": per_layer("relu", layers=(1, 4)),
    },
    "sparsify": {
        "relu": per_layer("relu"),
        "topk": per_layer("topk"),
        "topk-skip": per_layer("topk", skip=True),
        "gaps": per_layer("topk", layers=(1, 4)),
    },
}
THEIRS = {
    "circuit-tracer": ("set", "set-skip", "set-jump", "set-skip-jump", "clt", "clt-jump"),
    "saelens": ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"),
    "sparsify": ("plain", "skip"),
}


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder in which a library has done its work."""

    @cache
    def work(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        (folder / "ours").mkdir()
        (folder / "theirs").mkdir()
        x = torch.randn(32, D, generator=torch.Generator().manual_seed(1))
        save_file({"x": x}, folder / "input.safetensors")
        tool = format_named(name)
        for case, file in OURS[name].items():
            fitted = tool.fit(file, "fp32")
            assert fitted.lost == ()
            with new_folder(folder / "ours" / case) as partial:
                tool.write(fitted.file, partial, "fp32")
        run_peer(name, folder)
        return folder

    return work


def answers(file: BasisFile, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same figures from the basis itself, in float64."""
    basis, x = file.basis(torch.float64), x.double()
    if isinstance(basis, CrossLayer):
        acts = {layer: encoder(x) for layer, encoder in basis.encoders.items()}
        out = {layer: bias.expand_as(x) for layer, bias in basis.biases.items()}
        for source, decoders in basis.decoders.items():
            for i, decoder in enumerate(decoders):
                out[source + i] = out[source + i] + acts[source] @ decoder
    else:
        acts = {layer: each.encoder(x) for layer, each in basis.layers.items()}
        out = {layer: each(x) for layer, each in basis.layers.items()}
    return {f"acts.{i}": a for i, a in acts.items()} | {f"out.{i}": o for i, o in out.items()}


def assert_close(wanted: dict[str, torch.Tensor], found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert tensor.abs().max() > 0.1, f"{name} is nearly zero: nothing was compared"
        assert (found[name].double() - tensor).abs().max() <= CLOSE * tensor.abs().max().clamp(min=1), name


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, cases in OURS.items() for case in cases])
def test_what_we_write_computes_the_same_in_the_library(peer: Callable[[str], Path], name: str, case: str) -> None:
    work = peer(name)
    x = load_file(work / "input.safetensors")["x"]
    assert_close(answers(OURS[name][case], x), load_file(work / f"ours-{case}.safetensors"))


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, cases in THEIRS.items() for case in cases])
def test_what_the_library_writes_computes_the_same_here(peer: Callable[[str], Path], name: str, case: str) -> None:
    work = peer(name)
    x = load_file(work / "input.safetensors")["x"]
    file = open_basis(work / "theirs" / case, hints=Hints())
    assert_close(load_file(work / f"theirs-{case}.safetensors"), answers(file, x))
