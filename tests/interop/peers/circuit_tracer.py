"""Run by circuit-tracer's own Python: load what we wrote, save what circuit-tracer writes, compute both."""

import sys
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file, save_file

HERE = str(Path(__file__).parent)
sys.path[:] = [entry for entry in sys.path if entry != HERE]  # this script has the name of the package

from circuit_tracer.transcoder.activation_functions import JumpReLU  # noqa: E402
from circuit_tracer.transcoder.cross_layer_transcoder import CrossLayerTranscoder, load_clt  # noqa: E402
from circuit_tracer.transcoder.single_layer_transcoder import SingleLayerTranscoder, TranscoderSet  # noqa: E402
from circuit_tracer.utils.hf_utils import load_transcoders  # noqa: E402

CPU = torch.device("cpu")
HOOKS = {"feature_input_hook": "mlp.hook_in", "feature_output_hook": "hook_mlp_out"}


def load(folder: Path):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    if config["model_kind"] == "transcoder_set":
        count = len(list(folder.glob("layer_*.safetensors")))
        config["transcoders"] = [str(folder / f"layer_{i}.safetensors") for i in range(count)]
        return load_transcoders(config | {"scan": "x"}, CPU, torch.float32)
    return load_clt(str(folder), device=CPU, dtype=torch.float32, **{key: config[key] for key in HOOKS})


@torch.no_grad()
def answers(coder, x):
    inputs = x[None].expand(coder.n_layers, -1, -1).contiguous()
    acts = coder.encode(inputs)
    outputs = coder.decode(acts, inputs)
    found = {f"acts.{i}": acts[i].to_dense().contiguous() for i in range(coder.n_layers)}
    return found | {f"out.{i}": outputs[i].contiguous() for i in range(coder.n_layers)}


@torch.no_grad()
def randomise(module):
    for parameter in module.parameters():
        parameter.normal_()
    for name, parameter in module.named_parameters():
        if "threshold" in name:
            parameter.abs_()
    return module


def save_set(folder: Path, *, skip: bool, jump: bool):
    single = {
        i: randomise(
            SingleLayerTranscoder(
                6,
                10,
                JumpReLU(torch.zeros(10)) if jump else torch.nn.functional.relu,
                i,
                skip_connection=skip,
                device=CPU,
                dtype=torch.float32,
            )
        )
        for i in range(3)
    }
    coder = TranscoderSet(single, **HOOKS)
    coder.to_safetensors(str(folder))
    config = {"model_name": "a/model", "model_kind": "transcoder_set", "scan": "some/scan", **HOOKS}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return coder


def save_clt(folder: Path, *, jump: bool):
    rule = "jump_relu" if jump else "relu"
    coder = randomise(CrossLayerTranscoder(3, 10, 6, rule, lazy_decoder=False, device=CPU, dtype=torch.float32))
    coder.to_safetensors(str(folder))
    config = {"model_name": "a/model", "model_kind": "cross_layer_transcoder", "feature_input_hook": "hook_resid_mid"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"feature_output_hook": "hook_mlp_out"}))
    return coder


def main(work: Path) -> None:
    torch.manual_seed(0)
    x = load_file(work / "input.safetensors")["x"]
    for folder in sorted((work / "ours").iterdir()):
        save_file(answers(load(folder), x), work / f"ours-{folder.name}.safetensors")
    for skip in (False, True):
        for jump in (False, True):
            name = f"set{'-skip' if skip else ''}{'-jump' if jump else ''}"
            coder = save_set(work / "theirs" / name, skip=skip, jump=jump)
            save_file(answers(coder, x), work / f"theirs-{name}.safetensors")
    for jump in (False, True):
        name = f"clt{'-jump' if jump else ''}"
        coder = save_clt(work / "theirs" / name, jump=jump)
        save_file(answers(coder, x), work / f"theirs-{name}.safetensors")


main(Path(sys.argv[1]))
