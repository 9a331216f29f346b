"""Run by sparsify's own Python: load what we wrote, save what sparsify writes, compute both."""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

HERE = str(Path(__file__).parent)
sys.path[:] = [entry for entry in sys.path if entry != HERE]  # this script has the name of the package

from sparsify import SparseCoder, SparseCoderConfig  # noqa: E402


@torch.no_grad()
def answers(coders, x):
    found = {}
    for hookpoint, coder in coders.items():
        layer = hookpoint.split(".")[1]
        top = coder.encode(x)
        found[f"acts.{layer}"] = torch.zeros_like(top.pre_acts).scatter_(1, top.top_indices, top.top_acts)
        found[f"out.{layer}"] = coder(x, x).sae_out.contiguous()
    return found


def save(folder: Path, *, skip: bool):
    for layer in range(3):
        config = SparseCoderConfig(num_latents=10, k=3, skip_connection=skip, transcode=True)
        coder = SparseCoder(6, config)
        with torch.no_grad():
            for parameter in coder.parameters():
                parameter.normal_()
        coder.save_to_disk(folder / f"layers.{layer}.mlp")


def main(work: Path) -> None:
    torch.manual_seed(0)
    x = load_file(work / "input.safetensors")["x"]
    for skip in (False, True):
        save(work / "theirs" / ("skip" if skip else "plain"), skip=skip)
    for side in ("ours", "theirs"):
        for folder in sorted((work / side).iterdir()):
            coders = SparseCoder.load_many(str(folder), local=True)
            save_file(answers(coders, x), work / f"{side}-{folder.name}.safetensors")


main(Path(sys.argv[1]))
