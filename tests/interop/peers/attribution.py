"""Run by circuit-tracer's own Python: trace prompts with its `attribute`, prune with its `prune_graph`, time both.

Every folder in `work/ours` is one job: `job.json` says what to trace, `peer.json`, `graph.safetensors` and
`json/graph.json` are the answer.
"""

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
MEGABYTE = 1024  # ru_maxrss counts kilobytes


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE


def load_basis(folder: Path):
    """Everything in memory: reading decoders from the disk when they are wanted is slower."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    hooks = {key: config[key] for key in ("feature_input_hook", "feature_output_hook")}
    options = {**hooks, "device": CPU, "dtype": torch.float32, "lazy_encoder": False, "lazy_decoder": False}
    if config["model_kind"] == "cross_layer_transcoder":
        return load_clt(str(folder), scan="x", **options)
    paths = {int(path.stem.split("_")[1]): str(path) for path in folder.glob("layer_*.safetensors")}
    return load_transcoder_set(paths, scan="x", **options)


def load_model(folder: str, basis, backend: str):
    if backend == "nnsight":
        return ReplacementModel.from_pretrained_and_transcoders(
            folder, basis, backend="nnsight", device=CPU, dtype=torch.float32
        )
    return load_transformer_lens(folder, basis)


def load_transformer_lens(folder: str, basis):
    """As its `from_pretrained` does for a name it knows; for a folder it would leave the rotary base at 10,000."""
    from circuit_tracer.replacement_model.replacement_model_transformerlens import TransformerLensReplacementModel
    from transformer_lens import loading_from_pretrained as loading
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = loading.get_pretrained_model_config(folder, device="cpu", dtype=torch.float32)
    config.rotary_base = theirs.config.rope_theta
    state = loading.get_pretrained_state_dict(folder, config, theirs, dtype=torch.float32)
    model = TransformerLensReplacementModel(config, tokenizer)
    model.load_and_process_state_dict(
        state, fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False
    )
    model._configure_replacement_model(basis)
    return model


class Clock:
    """Seconds on the wall and of this process."""

    def __enter__(self):
        self.start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall, self.cpu = time.perf_counter() - self.start[0], time.process_time() - self.start[1]

    def seconds(self):
        return {"wall": self.wall, "cpu": self.cpu}


def trace(model, job):
    targets = None if job.get("targets") is None else torch.tensor(job["targets"])
    return attribute(
        torch.tensor(job["ids"]),
        model,
        attribution_targets=targets,
        batch_size=job["batch_size"],
        max_feature_nodes=job.get("max_nodes"),
        update_interval=job.get("update_interval", 4),
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
    with Clock() as loading:
        model = load_model(job["model"], load_basis(Path(job["basis"])), job.get("backend", "nnsight"))
    loaded, tracing, pruning = peak_mb(), [], []
    for _ in range(job.get("rounds", 1)):
        with Clock() as clock:
            graph = trace(model, job)
        tracing.append(clock.seconds())
    traced = peak_mb()
    for _ in range(job.get("pruning_rounds", 1)):
        with Clock() as clock:
            pruned = prune_graph(graph, job.get("node_threshold", 0.8), job.get("edge_threshold", 0.98))
        pruning.append(clock.seconds())
    replacement, completeness = compute_graph_scores(graph)
    facts = {
        "active": len(graph.active_features),
        "nodes": len(graph.adjacency_matrix),
        "loading": loading.seconds(),
        "tracing": tracing,
        "pruning": pruning,
        "loaded_mb": loaded,
        "traced_mb": traced,
        "peak_mb": peak_mb(),
        "replacement": replacement,
        "completeness": completeness,
    }
    if job.get("keep", True):
        save_file(saved(graph, pruned), folder / "graph.safetensors")
        create_graph_files(graph, "graph", str(folder / "json"), scan="x")
    (folder / "peer.json").write_text(json.dumps(facts, indent=1))


def main(work: Path) -> None:
    torch.set_num_threads(1)
    for folder in sorted((work / "ours").iterdir()):
        run(folder)


main(Path(sys.argv[1]))
