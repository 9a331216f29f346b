"""Run by circuit-tracer's own Python: trace prompts with its `attribute`, prune with its `prune_graph`, time both.

python attribution.py WORK     every folder in WORK/ours is a job: `job.json` says what to trace, and the answers are
                               `peer.json`, `graph.safetensors` and `json/graph.json` beside it; or it says what to
                               change with `feature_intervention`, and the answers are in `logits.safetensors`
python attribution.py steps    a request per line of JSON, an answer per line: first what to load, then what to trace
"""

import contextlib
import json
import resource
import sys
import time
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

HERE = str(Path(__file__).parent)
sys.path[:] = [entry for entry in sys.path if entry != HERE]  # a script beside this one has the name of the package

from circuit_tracer.attribution.attribute import attribute  # noqa: E402
from circuit_tracer.graph import compute_graph_scores, compute_node_influence, prune_graph  # noqa: E402
from circuit_tracer.replacement_model.replacement_model import ReplacementModel  # noqa: E402
from circuit_tracer.transcoder.cross_layer_transcoder import load_clt  # noqa: E402
from circuit_tracer.transcoder.single_layer_transcoder import load_transcoder_set  # noqa: E402
from circuit_tracer.utils.create_graph_files import create_graph_files  # noqa: E402

CPU = torch.device("cpu")


def load_basis(folder: Path):
    """Everything in memory: reading decoders from the disk when they are wanted is slower."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    hooks = {key: config[key] for key in ("feature_input_hook", "feature_output_hook")}
    options = {**hooks, "scan": "x", "device": CPU, "dtype": torch.float32, "lazy_encoder": False}
    if config["model_kind"] == "cross_layer_transcoder":
        return load_clt(str(folder), lazy_decoder=False, **options)
    paths = {int(path.stem.split("_")[1]): str(path) for path in folder.glob("layer_*.safetensors")}
    return load_transcoder_set(paths, lazy_decoder=False, **options)


def load_model(folder: str, basis, backend: str):
    if backend == "transformerlens":
        return load_transformer_lens(folder, basis)
    return ReplacementModel.from_pretrained_and_transcoders(
        folder, basis, backend="nnsight", device=CPU, dtype=torch.float32
    )


def load_transformer_lens(folder: str, basis):
    """As its `from_pretrained` does for a name it knows; for a folder it would leave the rotary base at 10,000."""
    from circuit_tracer.replacement_model.replacement_model_transformerlens import TransformerLensReplacementModel
    from transformer_lens import loading_from_pretrained as loading
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = loading.get_pretrained_model_config(folder, device="cpu", dtype=torch.float32)
    config.rotary_base = theirs.config.rope_theta
    state = loading.get_pretrained_state_dict(folder, config, theirs, dtype=torch.float32)
    model = TransformerLensReplacementModel(config, AutoTokenizer.from_pretrained(folder))
    model.load_and_process_state_dict(
        state, fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False
    )
    model._configure_replacement_model(basis)
    return model


class Meter:
    """Seconds on the wall and of this process, and the most memory that was resident while it ran."""

    def __enter__(self):
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far
        self.start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall, self.cpu = time.perf_counter() - self.start[0], time.process_time() - self.start[1]
        self.peak_mb = peak_mb()


def peak_mb() -> float:
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def trace(model, job):
    return attribute(
        torch.tensor(job["ids"]),
        model,
        batch_size=job["batch_size"],
        max_feature_nodes=job.get("max_nodes"),
        update_interval=job["update_interval"],
    )


def saved(graph, pruned):
    weights = torch.zeros(len(graph.adjacency_matrix))
    weights[-len(graph.logit_targets) :] = graph.logit_probabilities
    tensors = {
        "tokens": graph.input_tokens,
        "active": graph.active_features,
        "activation": graph.activation_values,
        "selected": graph.selected_features,
        "adjacency": graph.adjacency_matrix,
        "logit_tokens": graph.logit_token_ids,
        "logit_probabilities": graph.logit_probabilities,
        "influence": compute_node_influence(graph.adjacency_matrix, weights),
        "node_mask": pruned.node_mask,
        "edge_mask": pruned.edge_mask,
        "cumulative": pruned.cumulative_scores,
    }
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def run(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    if "interventions" in job:
        model = load_model(job["model"], load_basis(Path(job["basis"])), "nnsight")
        found = {name: intervene(model, job["text"], one) for name, one in job["interventions"].items()}
        save_file(found, folder / "logits.safetensors")
        return
    graph = trace(load_model(job["model"], load_basis(Path(job["basis"])), "nnsight"), job)
    save_file(saved(graph, prune_graph(graph)), folder / "graph.safetensors")
    create_graph_files(graph, "graph", str(folder / "json"), scan="x")
    replacement, completeness = compute_graph_scores(graph)
    (folder / "peer.json").write_text(json.dumps({"replacement": replacement, "completeness": completeness}))


def intervene(model, text, one):
    """Text, and not ids: with attention free it counts the tokens itself."""
    logits, _ = model.feature_intervention(
        text,
        [tuple(change) for change in one["changes"]],
        constrained_layers=None if one["held"] is None else range(*one["held"]),
        freeze_attention=one["freeze_attention"],
    )
    return logits[0].detach().clone()


def answer(model, request):
    with Meter() as tracing:
        graph = trace(model, request)
    times = []
    for _ in range(request.get("prunings", 1)):
        with Meter() as pruning:
            pruned = prune_graph(graph)
        times.append((pruning.cpu, pruning.wall))
    if "save" in request:
        save_file(saved(graph, pruned), request["save"])
    return {
        "wall": tracing.wall,
        "cpu": tracing.cpu,
        "peak_mb": tracing.peak_mb,
        "prune_cpu": min(times)[0],
        "prune_wall": min(times)[1],
        "active": len(graph.active_features),
        "nodes": len(graph.selected_features),
    }


def serve(answers) -> None:
    load = json.loads(sys.stdin.readline())
    before = peak_mb()
    model = load_model(load["model"], load_basis(Path(load["basis"])), load["backend"])
    with Meter() as after:
        pass
    print(json.dumps({"before_mb": before}), file=answers, flush=True)
    for line in sys.stdin:
        found = answer(model, json.loads(line)) | {"loaded_mb": after.peak_mb}
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "steps":
        answers, sys.stdout = sys.stdout, sys.stderr  # libraries print, too
        serve(answers)
    else:
        for folder in sorted((Path(sys.argv[1]) / "ours").iterdir()):
            run(folder)
