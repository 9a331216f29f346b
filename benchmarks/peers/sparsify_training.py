"""Run by sparsify's own Python: its step, or its trainer, at settings that suit a CPU.

    python sparsify_training.py steps          a request per line (JSON), an answer per line
    python sparsify_training.py fit PLAN.json  its trainer over windows of tokens until the CPU seconds are spent

What is done for it: its modules' bfloat16 autocast, which it switches on for CUDA alone, is switched on for the CPU as
well; the model is loaded in bfloat16 and without an unembedding, as its command does on a GPU; a batch is cut into
pieces that fit the cache (`micro_acc_steps`). Optimiser, learning rate and initialisation are its own. Its log, which
goes to Weights & Biases, is written to a file instead.
"""

import json
import os
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path

os.environ["SPARSIFY_DISABLE_TRITON"] = "1"

import torch
from asked import memory_mb
from safetensors.torch import load_file
from schedulefree import ScheduleFreeWrapper
from sparsify import SparseCoder, SparseCoderConfig, TrainConfig, Trainer
from sparsify.data import MemmapDataset
from sparsify.sign_sgd import SignSGD
from torch.utils.data import IterableDataset
from transformers import AutoModel

PLAIN_FORWARD = SparseCoder.forward
AUTOCAST_FORWARD = torch.autocast("cpu", dtype=torch.bfloat16)(SparseCoder.forward)


class LayerSteps:
    """One layer in training, stepped as `Trainer.fit` steps it."""

    def __init__(self, rows, layer, batch, features, k, skip, pieces, autocast, optimizer):
        SparseCoder.forward = AUTOCAST_FORWARD if autocast else PLAIN_FORWARD
        torch.set_float32_matmul_precision("high")  # as `Trainer.fit` does
        there, dtype = load_file(rows), torch.bfloat16 if autocast else torch.float32
        self.x, self.y = (there[f"{side}.{layer}"][:batch].to(dtype) for side in "xy")
        self.pieces = pieces
        config = SparseCoderConfig(num_latents=features, k=k, skip_connection=skip, transcode=True)
        self.coder = SparseCoder(self.x.shape[1], config, dtype=torch.float32)
        self.coder.encoder.bias.data = -self.x.float().mean(0) @ self.coder.encoder.weight.data.T
        self.coder.b_dec.data = self.y.float().mean(0)
        if optimizer == "signum":
            rate = 5e-3 / (features / (2**14)) ** 0.5
            self.optimizer = ScheduleFreeWrapper(SignSGD(self.coder.parameters(), lr=rate), momentum=0.95)
            self.optimizer.train()
        else:
            self.optimizer = torch.optim.Adam(self.coder.parameters(), lr=2e-4 / (features / (2**14)) ** 0.5)

    def __call__(self) -> dict[str, float]:
        variance = (self.y - self.y.mean(0)).pow(2).sum()
        fvu = 0.0
        for x, y in zip(self.x.chunk(self.pieces), self.y.chunk(self.pieces), strict=True):
            out = self.coder(x=x, y=y, total_variance=variance)
            fvu += float(out.fvu.detach())
            out.fvu.div(self.pieces).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"fvu": fvu, "l0": self.coder.cfg.k, "tokens": len(self.x)}


class Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def answer(self, **found: float) -> None:
        spent = {"wall": time.perf_counter() - self.wall, "cpu": time.process_time() - self.cpu}
        memory = {"before_mb": IMPORTED, "peak_mb": memory_mb()}
        print(json.dumps(spent | found | memory), file=ANSWERS, flush=True)


def serve() -> None:
    """`{"make": kind, …}` makes something and takes its first step, `{"steps": n}` times so many more."""
    made = json.loads(sys.stdin.readline())
    if made.pop("make") == "trainer":
        windows = MemmapDataset(made["windows"], made["window"])
        train(made, OnRequest(windows, made["sequences"]))
        return
    clock = Clock()
    step, request = LayerSteps(**made), {"steps": 1}
    while request:
        tokens = 0
        for _ in range(request["steps"]):
            found = step()
            tokens += found["tokens"]
        clock.answer(**found | {"tokens": tokens})
        request = json.loads(sys.stdin.readline() or "null")
        clock = Clock()


class OnRequest(IterableDataset):
    """The windows in order, as many batches as are asked for at a time: so its trainer is driven step by step."""

    def __init__(self, windows: MemmapDataset, batch: int):
        self.windows, self.batch, self.given = windows, batch, 0

    def __len__(self) -> int:
        return len(self.windows)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        request = {"steps": 1}
        while request:
            clock, n = Clock(), request["steps"] * self.batch
            for _ in range(n):
                yield self.windows[self.given]
                self.given += 1
            clock.answer(tokens=n * self.windows.mmap.shape[1])
            request = json.loads(sys.stdin.readline() or "null")


class UntilSpent(IterableDataset):
    """The windows in order, whole batches of them, until the process has spent its CPU seconds."""

    def __init__(self, windows: MemmapDataset, batch: int, core_seconds: float):
        self.windows, self.batch, self.core_seconds = windows, batch, core_seconds
        self.given = 0

    def __len__(self) -> int:
        return len(self.windows)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        self.began = time.process_time()
        while time.process_time() - self.began < self.core_seconds and self.given + self.batch <= len(self.windows):
            for _ in range(self.batch):
                yield self.windows[self.given]
                self.given += 1


def logging_to(path: Path, dataset: UntilSpent, pieces: int) -> types.ModuleType:
    """Stands in for Weights & Biases: a line per report, with the CPU seconds and windows so far.

    sparsify divides its pieces' sum by their number although each is measured against the whole batch's variance.
    """
    stand_in = types.ModuleType("wandb")
    file = path.open("w")

    def log(info, step):
        fvu = {name.removeprefix("fvu/"): value * pieces for name, value in info.items() if name.startswith("fvu/")}
        spent = time.process_time() - dataset.began
        line = {"step": step, "cpu": spent, "windows": dataset.given, "mean_fvu": sum(fvu.values()) / len(fvu)}
        print(json.dumps(line | {"fvu": fvu}), file=file, flush=True)

    stand_in.init, stand_in.log = (lambda **_: None), log
    return stand_in


def train(plan: dict, dataset: OnRequest | UntilSpent) -> Trainer:
    """Its trainer on the embedded model, to the end of the dataset."""
    SparseCoder.forward = AUTOCAST_FORWARD if plan["autocast"] else PLAIN_FORWARD
    dtype = torch.bfloat16 if plan["autocast"] else torch.float32
    model = AutoModel.from_pretrained(plan["model"], dtype=dtype).eval()
    out = Path(plan["out"])
    config = TrainConfig(
        SparseCoderConfig(num_latents=plan["features"], k=plan["k"], skip_connection=plan["skip"], transcode=True),
        batch_size=plan["sequences"],
        micro_acc_steps=plan["pieces"],
        exclude_tokens=[0],
        hookpoints=["layers.*.mlp"],
        optimizer=plan["optimizer"],
        save_every=plan["save_every"],
        log_to_wandb="wandb" in sys.modules,
        save_dir=str(out.parent),
        run_name=out.name,
    )
    trainer = Trainer(config, dataset, model)
    trainer.fit()
    return trainer


def fit(plan: dict) -> None:
    out = Path(plan["out"])
    out.mkdir(parents=True, exist_ok=True)
    dataset = UntilSpent(MemmapDataset(plan["windows"], plan["window"]), plan["sequences"], plan["core_seconds"])
    sys.modules["wandb"] = logging_to(out / "log.jsonl", dataset, plan["pieces"])
    wall = time.perf_counter()
    trainer = train(plan, dataset)
    spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - dataset.began}
    tokens = dataset.given * plan["window"]
    report = plan | spent | {"tokens": tokens, "steps": trainer.global_step, "peak_mb": memory_mb()}
    (out / "report.json").write_text(json.dumps(report, indent=1))
    print(json.dumps(report), file=ANSWERS, flush=True)


IMPORTED = memory_mb()
ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what sparsify prints goes to stderr
torch.set_num_threads(1)
if sys.argv[1] == "steps":
    serve()
else:
    fit(json.loads(Path(sys.argv[2]).read_text()))
