"""Run by our own Python: our steps and our trainer, asked and timed exactly as sparsify's are.

python our_training.py steps          a request per line (JSON), an answer per line
python our_training.py fit PLAN.json  our trainer until the CPU seconds are spent
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from asked import memory_mb
from safetensors.torch import load_file
from torch import Tensor

import micrographia as mg
from micrographia.bases.training.blocks import Block
from micrographia.bases.training.config import TrainConfig, config_of
from micrographia.bases.training.cross import TrainedCrossLayer
from micrographia.bases.training.layer import TrainedLayer
from micrographia.bases.training.prepare import Training, finish, prepare
from micrographia.bases.training.trainer import BlockProgress
from micrographia.corpus.corpus import Corpus
from micrographia.ids import Layer
from micrographia.model.weights import Linear, MlpWeights

Step = Callable[[], dict[str, float]]
LONG = 1_000_000_000
"""More positions than any benchmark reads."""


def layer_steps(rows: str, layer: int, batch: int, **config: object) -> Step:
    """One layer on the same batch again and again."""
    choices = config_of({"batch": batch, "block": batch, "tokens": LONG, **config}, "the benchmark")
    block = block_of(rows, (Layer(layer),), batch, choices)
    trained = TrainedLayer.begin(choices, Layer(layer), mlps_of(rows, (Layer(layer),))[Layer(layer)], block)
    x, y = block.inputs[Layer(layer)], block.outputs[Layer(layer)]

    def step() -> dict[str, float]:
        loss, l0 = trained.step(x, y, choices.rate_at(trained.adam.steps))
        return {"fvu": loss, "l0": l0, "tokens": batch}

    return step


def cross_steps(rows: str, layers: int, batch: int, **config: object) -> Step:
    """A cross-layer transcoder of the first so many layers in `rows`, on the same batch again and again."""
    made = {"architecture": "cross-layer", "skip": False, "batch": batch, "block": batch, "tokens": LONG, **config}
    choices = config_of(made, "the benchmark")
    block = block_of(rows, tuple(map(Layer, range(layers))), batch, choices)
    trained = TrainedCrossLayer.begin(choices, mlps_of(rows, tuple(block.inputs)), block)
    x, y = list(block.inputs.values()), list(block.outputs.values())

    def step() -> dict[str, float]:
        found = trained.step(x, y, choices.rate_at(trained.adam.steps))
        return {"fvu": sum(found.losses) / layers, "l0": sum(found.l0) / layers, "tokens": batch}

    return step


def block_of(rows: str, layers: tuple[Layer, ...], batch: int, config: TrainConfig) -> Block:
    there, kept = load_file(rows), config.kept_as()
    return Block(
        0,
        {layer: there[f"x.{layer}"][:batch].to(kept) for layer in layers},
        {layer: there[f"y.{layer}"][:batch].to(kept) for layer in layers},
    )


def mlps_of(rows: str, layers: tuple[Layer, ...]) -> dict[Layer, MlpWeights]:
    there = load_file(rows)
    return {
        layer: MlpWeights(*(Linear(there[f"{name}.{layer}"]) for name in ("gate", "up", "down"))) for layer in layers
    }


def trainer_steps(corpus: str, folder: str, **config: object) -> Step:
    """All layers from one stream of forwards; a step is a block."""
    training = prepared(Path(folder), corpus, config_of({"tokens": LONG, **config}, "the benchmark"), save_every=LONG)
    blocks: Iterator[BlockProgress] = training.trainer.run()

    def step() -> dict[str, float]:
        progress = next(blocks)
        tokens = training.trainer.blocks.n_windows * training.trainer.config.window
        return {"fvu": progress.mean("fvu"), "l0": progress.mean("l0"), "tokens": tokens}

    return step


def prepared(folder: Path, corpus: str, config: TrainConfig, save_every: int) -> Training:
    dtype = "bfloat16" if config.precision == "bf16" else "float32"
    return prepare(folder, Corpus.open(corpus), mg.open(dtype=dtype, device="cpu").model, config, save_every=save_every)


def product_steps(rows: int, inner: int, columns: int, dtype: str) -> Step:
    """One matrix product: what the machine can do."""
    width = getattr(torch, dtype)
    a, b = torch.randn(rows, inner).to(width), torch.randn(columns, inner).to(width)

    def step() -> dict[str, float]:
        torch.nn.functional.linear(a, b)
        return {"tokens": rows}

    return step


class DenseCrossLayer(torch.nn.Module):
    """A cross-layer transcoder as dense autograd has it: every feature of every position is decoded, zeros and all.

    Written as well as it can be in that style: the decoders of a source lie side by side, so that one product per
    source writes to all its targets; TopK keeps values in place without a second product; Adam is the fused one.
    """

    def __init__(self, layers: int, d_model: int, features: int, k: int) -> None:
        super().__init__()
        self.k = k
        self.encoders = torch.nn.ModuleList(torch.nn.Linear(d_model, features) for _ in range(layers))
        self.decoders = torch.nn.ParameterList(
            torch.randn(features, (layers - source) * d_model) * 0.02 for source in range(layers)
        )
        self.biases = torch.nn.Parameter(torch.zeros(layers, d_model))

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        out = list(self.biases)
        for source, rows in enumerate(x):
            pre = torch.relu(self.encoders[source](rows))
            best = pre.topk(self.k, dim=1, sorted=False)
            active = torch.zeros_like(pre).scatter(1, best.indices, best.values)
            written = (active @ self.decoders[source]).split(rows.shape[1], dim=1)
            out[source:] = [sum_so_far + more for sum_so_far, more in zip(out[source:], written, strict=True)]
        return out


def dense_steps(rows: str, layers: int, batch: int, features: int, k: int, autocast: bool) -> Step:
    """The dense cross-layer transcoder, in float32 or with its products in bfloat16."""
    there = load_file(rows)
    x = [there[f"x.{layer}"][:batch].float() for layer in range(layers)]
    y = [there[f"y.{layer}"][:batch].float() for layer in range(layers)]
    variances = [float((rows - rows.mean(0)).square().sum()) for rows in y]
    coder = DenseCrossLayer(layers, x[0].shape[1], features, k)
    adam = torch.optim.Adam(coder.parameters(), lr=2e-4, fused=True)

    def step() -> dict[str, float]:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            out = coder(x)
        losses = [(o - t).square().sum() / v for o, t, v in zip(out, y, variances, strict=True)]
        torch.stack(losses).sum().backward()
        adam.step()
        adam.zero_grad()
        return {"fvu": float(torch.stack(losses).detach().mean()), "l0": k, "tokens": batch}

    return step


MAKERS: dict[str, Callable[..., Step]] = {
    "layer": layer_steps,
    "cross": cross_steps,
    "dense": dense_steps,
    "trainer": trainer_steps,
    "product": product_steps,
}


def serve() -> None:
    """`{"make": kind, …}` makes something and takes its first step, `{"steps": n}` times so many more."""
    step: Step | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "make" in request:
            step = MAKERS[request.pop("make")](**request)
            request = {"steps": 1}
        assert step is not None
        wall, cpu, tokens, found = time.perf_counter(), time.process_time(), 0.0, {}
        for _ in range(request["steps"]):
            found = step()
            tokens += found["tokens"]
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        memory = {"before_mb": IMPORTED, "peak_mb": memory_mb()}
        print(json.dumps(found | spent | memory | {"tokens": tokens}), flush=True)


def planned(plan: dict, folder: str) -> TrainConfig:
    """The configuration with as many tokens as the CPU seconds allow, measured on three blocks."""
    if "tokens" in plan["config"]:
        return config_of(plan["config"], "the plan")
    trial = config_of({**plan["config"], "tokens": LONG}, "the plan")
    blocks = prepared(Path(folder), plan["corpus"], trial, save_every=LONG).trainer.run()
    seconds: list[float] = []
    for _ in range(3):
        before = time.process_time()
        next(blocks)
        seconds.append(time.process_time() - before)
    blocks.close()
    first, later = seconds[0], sum(seconds[1:]) / 2
    n_blocks = 1 + int((plan["core_seconds"] - first) / later)
    return trial.model_copy(update={"tokens": n_blocks * trial.block})


def fit(plan: dict) -> None:
    with TemporaryDirectory() as folder:
        config = planned(plan, folder)
    out = Path(plan["out"])
    training = prepared(out, plan["corpus"], config, save_every=8)
    wall, cpu = time.perf_counter(), time.process_time()
    with (out / "log.jsonl").open("w") as log:
        for progress in training.trainer.run():
            line = {"block": progress.block, "cpu": time.process_time() - cpu, "mean_fvu": progress.mean("fvu")}
            print(json.dumps(line | {"l0": progress.mean("l0"), "dead": progress.mean("dead")}), file=log, flush=True)
    spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    finish(training, "fp32")
    blocks = training.trainer.blocks
    tokens = config.n_blocks() * blocks.n_windows * config.window
    report = plan | {"config": config.model_dump(mode="json"), "tokens": tokens} | spent | {"peak_mb": memory_mb()}
    (out / "report.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report), flush=True)


IMPORTED = memory_mb()
torch.set_num_threads(1)
if sys.argv[1] == "steps":
    serve()
else:
    fit(json.loads(Path(sys.argv[2]).read_text()))
