"""Run by SAELens' own Python: load what we wrote, save what SAELens writes, compute both."""

import sys
from pathlib import Path

import torch
from sae_lens import SAE
from sae_lens.registry import get_sae_class
from sae_lens.saes.sae import SAEMetadata
from safetensors.torch import load_file, save_file

ARCHITECTURES = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")


@torch.no_grad()
def answers(folder: Path, x):
    found = {}
    for place in sorted(folder.iterdir()):
        coder = SAE.load_from_disk(place)
        layer = coder.cfg.metadata.hook_name.split(".")[1]
        found[f"acts.{layer}"] = coder.encode(x).contiguous()
        found[f"out.{layer}"] = coder(x).contiguous()
    return found


@torch.no_grad()
def save(folder: Path, architecture: str) -> None:
    made, config = get_sae_class(architecture)
    for layer in range(3):
        names = {"hook_name": f"blocks.{layer}.mlp.hook_in", "hook_name_out": f"blocks.{layer}.hook_mlp_out"}
        metadata = SAEMetadata(**names, model_name="a/model", prepend_bos=True, neuronpedia_id="kept")
        coder = made(config(d_in=6, d_sae=10, d_out=6, apply_b_dec_to_input=False, metadata=metadata))
        for name, parameter in coder.named_parameters():
            parameter.normal_()
            if name == "threshold":
                parameter.abs_()
        coder.save_model(folder / f"layer_{layer}")


def main(work: Path) -> None:
    torch.manual_seed(0)
    x = load_file(work / "input.safetensors")["x"]
    for architecture in ARCHITECTURES:
        save(work / "theirs" / architecture, architecture)
    for side in ("ours", "theirs"):
        for folder in sorted((work / side).iterdir()):
            save_file(answers(folder, x), work / f"{side}-{folder.name}.safetensors")


main(Path(sys.argv[1]))
