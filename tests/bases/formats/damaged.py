"""Bases that are wrong, each in one way, what must be said of it, and what is said, in Python and on the command line.

All of it is said in a process of its own: the checks of shapes in this one take tensors that nobody asked for.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import yaml
from safetensors.torch import load_file, save_file

from micrographia import store
from micrographia.bases.formats.convert import convert, open_basis, save_basis
from micrographia.bases.formats.format import Hints
from micrographia.cli.app import main
from micrographia.errors import MicrographiaError
from tests.bases.formats.samples import D, F, cross_layer, per_layer

__all__ = ["DAMAGED", "Damaged", "Verdict", "verdicts"]

REPOSITORY = Path(__file__).parents[3]
TARGETS = ("micrographia", "circuit-tracer", "saelens", "sparsify")


@dataclass(frozen=True)
class Damaged:
    """One way to be wrong: how it is made, what is said, and of which tool the files are."""

    make: Callable[[Path], None]
    said: str
    format: str = "micrographia"
    late: bool = False
    """Seen when a layer is used, and not before."""


@dataclass(frozen=True)
class Verdict:
    """What came of it."""

    opened: str
    """What opening it said; empty if nothing."""
    used: str
    written: list[str]
    """For every tool that is written."""
    code: int
    out: str
    err: str
    left: list[str]
    """What lies beside the basis afterwards."""


class Trap:
    """A pickle of it makes the folder `sprung` when it is opened by a careless reader."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("sprung",)


def _ours(folder: Path, **changes: object) -> None:
    """Our own manifest, changed."""
    save_basis(per_layer("topk"), folder)
    path = folder / store.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _our_tensor(folder: Path, name: str, tensor: torch.Tensor, kind: str = "topk") -> None:
    """A tensor of ours put in the place of another, with a manifest that weighs it rightly."""
    save_basis(per_layer(kind), folder)
    file, path = folder / "layer-001.safetensors", folder / store.MANIFEST
    save_file(load_file(file) | {name: tensor}, file)
    manifest = json.loads(path.read_text())
    manifest["files"][1] = store.record_file(file).model_dump()
    path.write_text(json.dumps(manifest))


def _theirs(
    folder: Path, to: str, name: str, change: Callable[[dict[str, torch.Tensor]], object], **made: object
) -> None:
    """A tensor file of another tool, changed."""
    kind = "topk" if to == "sparsify" else "jumprelu"
    save_basis(cross_layer(kind) if made else per_layer(kind), folder, to=to)
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name)


def _configured(folder: Path, to: str, name: str, **changes: object) -> None:
    """The settings of another tool, changed."""
    save_basis(per_layer("relu"), folder, to=to)
    path = folder / name
    if path.suffix == ".yaml":
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _without(folder: Path, to: str, name: str) -> None:
    save_basis(cross_layer() if name.startswith("W_") else per_layer(), folder, to=to)
    (folder / name).unlink()


def _filled(folder: Path, to: str, name: str, content: bytes) -> None:
    save_basis(per_layer(), folder, to=to)
    (folder / name).write_bytes(content)


def _pickled(folder: Path, to: str, name: str) -> None:
    save_basis(per_layer(), folder, to=to)
    torch.save({"W_enc": Trap()}, folder / name)


def _trapped(folder: Path) -> None:
    folder.mkdir()
    torch.save({"encoder.weight": torch.ones(F, D), "trap": Trap()}, folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps({"trainer": {"dict_class": "AutoEncoder", "layer": 0}}))


def _npz(folder: Path, threshold: object) -> None:
    place = folder / "layer_0"
    place.mkdir(parents=True)
    arrays = {
        "W_enc": np.ones((D, F), np.float32),
        "W_dec": np.ones((F, D), np.float32),
        "b_enc": np.ones(F, np.float32),
    }
    np.savez(place / "params.npz", **arrays, b_dec=np.ones(D, np.float32), threshold=threshold)


def _nan(tensors: dict[str, torch.Tensor], name: str) -> None:
    tensors[name].view(-1)[3] = float("nan")


JUNK = bytes(range(256)) * 40


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)


def _grown(folder: Path) -> None:
    _ours(folder)
    torch.save({"encoder": Trap()}, folder / "layer-001.safetensors")


def _other_width(folder: Path) -> None:
    save_basis(per_layer(), folder, to="circuit-tracer")
    save_basis(per_layer(d=D - 1), folder.with_name("narrow"), to="circuit-tracer")
    (folder.with_name("narrow") / "layer_1.safetensors").replace(folder / "layer_1.safetensors")
    for path in sorted(folder.with_name("narrow").iterdir()):
        path.unlink()
    folder.with_name("narrow").rmdir()


DAMAGED: dict[str, Damaged] = {
    "ours, another width": Damaged(lambda f: _ours(f, d_model=7), "its manifest asks for"),
    "ours, another number of features": Damaged(
        lambda f: _our_tensor(f, "encoder_bias", torch.ones(F + 1)), r"holds encoder_bias in shape \(11,\)"
    ),
    "ours, a missing layer": Damaged(
        lambda f: (_ours(f), (f / "layer-001.safetensors").unlink()), "is missing, which the manifest lists"
    ),
    "ours, an unknown key": Damaged(lambda f: _ours(f, colour="red"), "colour: Extra inputs are not permitted"),
    "ours, an unknown tensor": Damaged(
        lambda f: _our_tensor(f, "colour", torch.ones(3)), "holds the tensors bias, colour, "
    ),
    "ours, a newer version": Damaged(lambda f: _ours(f, schema_version=9), "reads version 1: update Micrographia"),
    "ours, junk for a manifest": Damaged(
        lambda f: (_ours(f), (f / store.MANIFEST).write_bytes(b'"d_model"' + JUNK)), "cannot be read as JSON"
    ),
    "ours, NaN": Damaged(
        lambda f: _our_tensor(f, "decoder", torch.full((F, D), torch.nan)),
        "decoder in .*holds 60 of 60 values that are NaN",
        late=True,
    ),
    "ours, an infinite threshold": Damaged(
        lambda f: _our_tensor(f, "threshold", torch.full((F,), torch.inf), "jumprelu"),
        "threshold in .*holds 10 of 10 values that are NaN or infinite",
        late=True,
    ),
    "ours, damaged": Damaged(
        lambda f: (_ours(f), _flipped(f / "layer-001.safetensors")), "layer-001.safetensors is damaged", late=True
    ),
    "ours, a pickle": Damaged(_grown, r"is damaged: it has|is a pickle"),
    "circuit-tracer, a wrong shape": Damaged(
        lambda f: _theirs(f, "circuit-tracer", "layer_1.safetensors", lambda t: t.update(b_enc=torch.ones(F + 1))),
        "b_enc in .* feature is 11 here and 10 in W_enc",
        "circuit-tracer",
    ),
    "circuit-tracer, layers of different widths": Damaged(
        _other_width, "layer 0 has 6 dimensions, and layer 1 has 5", "circuit-tracer"
    ),
    "circuit-tracer, a missing layer": Damaged(
        lambda f: _without(f, "circuit-tracer", "layer_1.safetensors"), "lacks the file of layer 1", "circuit-tracer"
    ),
    "circuit-tracer, a missing decoder": Damaged(
        lambda f: _without(f, "circuit-tracer", "W_dec_1.safetensors"),
        "W_dec_1.safetensors cannot be read",
        "circuit-tracer",
    ),
    "circuit-tracer, an unknown key": Damaged(
        lambda f: _configured(f, "circuit-tracer", "config.yaml", colour="red"),
        "has colour, which nothing",
        "circuit-tracer",
    ),
    "circuit-tracer, junk for settings": Damaged(
        lambda f: _filled(f, "circuit-tracer", "config.yaml", JUNK), "cannot be read as YAML", "circuit-tracer"
    ),
    "circuit-tracer, NaN": Damaged(
        lambda f: _theirs(f, "circuit-tracer", "layer_1.safetensors", lambda t: _nan(t, "W_dec")),
        "W_dec in .* holds 1 of 60 values that are NaN",
        "circuit-tracer",
        late=True,
    ),
    "circuit-tracer, a pickle": Damaged(
        lambda f: _pickled(f, "circuit-tracer", "layer_1.safetensors"),
        "is a pickle, which can run code",
        "circuit-tracer",
    ),
    "saelens, an unknown key": Damaged(
        lambda f: _configured(f, "saelens", "layer_1/cfg.json", colour="red"), "has colour, which nothing", "saelens"
    ),
    "saelens, junk for weights": Damaged(
        lambda f: _filled(f, "saelens", "layer_1/sae_weights.safetensors", JUNK),
        "is not a whole safetensors file",
        "saelens",
    ),
    "saelens, settings gone": Damaged(
        lambda f: _without(f, "saelens", "layer_1/cfg.json"), r"cfg\.json cannot be read as JSON", "saelens"
    ),
    "sparsify, an unknown tensor": Damaged(
        lambda f: _theirs(f, "sparsify", "layers.1.mlp/sae.safetensors", lambda t: t.update(colour=torch.ones(2))),
        "holds colour, which nothing here understands",
        "sparsify",
    ),
    "sparsify, NaN": Damaged(
        lambda f: _theirs(f, "sparsify", "layers.1.mlp/sae.safetensors", lambda t: _nan(t, "encoder.weight")),
        "encoder.weight in .* holds 1 of 60 values that are NaN",
        "sparsify",
        late=True,
    ),
    "sparsify, an empty file": Damaged(
        lambda f: _filled(f, "sparsify", "layers.1.mlp/sae.safetensors", b""), "is not a whole safetensors", "sparsify"
    ),
    "gemma-scope, objects": Damaged(
        lambda f: _npz(f, np.array([Trap()] * F, dtype=object)), "is not a whole npz file of numbers", "gemma-scope"
    ),
    "gemma-scope, NaN": Damaged(
        lambda f: _npz(f, np.full(F, np.nan, np.float32)),
        "holds 10 of 10 values that are NaN",
        "gemma-scope",
        late=True,
    ),
    "dictionary-learning, code": Damaged(
        _trapped, r"ae\.pt is a pickle that wants to call .*mkdir", "dictionary-learning"
    ),
}


@cache
def verdicts() -> dict[str, Verdict]:
    """What is said of each."""
    command = [sys.executable, "-c", "from tests.bases.formats.damaged import judge; judge()"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: Verdict(**found) for name, found in json.loads(done.stdout).items()}


def judge() -> None:
    """Print all verdicts as JSON."""
    found = {}
    with TemporaryDirectory() as root:
        for number, (name, case) in enumerate(DAMAGED.items()):
            place = Path(root, str(number))
            place.mkdir()
            os.chdir(place)
            case.make(Path("in"))
            found[name] = _verdict(case)
        os.chdir("/")
    print(json.dumps(found))


def _verdict(case: Damaged) -> dict[str, object]:
    source, out, hints = Path("in"), Path("out"), Hints(transcoder=True)

    def use() -> None:
        for each in open_basis(source, case.format, hints).layers.values():
            dict(each.parts)

    called = ("convert", "in", "out", "--to", "micrographia", "--from", case.format, "--transcoder")
    return {
        "opened": _said(lambda: open_basis(source, case.format, hints)),
        "used": _said(use),
        "written": [
            _said(lambda to=to: convert(source, out, to, said=case.format, hints=hints, lossy=True)) for to in TARGETS
        ],
        **_called(*called),
        "left": sorted(path.name for path in Path().iterdir() if path != source),
    }


def _said(work: Callable[[], object]) -> str:
    try:
        work()
    except MicrographiaError as error:
        return str(error)
    return ""


def _called(*arguments: str) -> dict[str, object]:
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        try:
            main(arguments)
        except SystemExit as left:
            code = left.code
        else:
            code = 0
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}
