"""Run by delphi's own Python: its cache and its loader, timed and weighed.

    python delphi_cache.py steps    a request per line (JSON), an answer per line

First what to read: a model's folder, encoders, windows of tokens. Its `LatentCache.run` is then driven batch by batch,
as it is; in between the same batches go through the same model, hooks and encoders alone. Nothing of it is changed but
for the list of batches, which here waits until the next is asked for. Its command puts a model on a CUDA device; here
it is given one on the CPU, in bfloat16 as it would choose itself, or in float32.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from asked import answer, cpu_of, forget_peak, hear, memory_mb, silence, wait_for
from delphi.config import CacheConfig, ConstructorConfig, SamplerConfig
from delphi.latents import LatentCache, LatentDataset
from delphi.latents.cache import InMemoryCache
from delphi.latents.collect_activations import collect_activations
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

silence()


def encode(weight: Tensor, bias: Tensor, threshold: Tensor, x: Tensor) -> Tensor:
    """A JumpReLU's activations, dense as delphi's own `sae_dense_latents` are."""
    pre = torch.addmm(bias, x.flatten(0, 1), weight.T)
    return torch.where((pre > threshold) & (pre > 0), pre, 0.0).unflatten(0, x.shape[:2])


class OnRequest:
    """Batches, each of which is given when it is asked for; what came of the one before is told then."""

    def __init__(self, batches: list[Tensor], plain: Callable[[Tensor], object]):
        self.batches, self.finished = batches, 0.0
        self.meanwhile = {"plain": lambda number: plain(batches[number])}

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Tensor:
        return self.batches[number]

    def __iter__(self) -> Iterator[Tensor]:
        forget_peak()
        answer(before_mb=memory_mb("VmRSS"))
        for batch in self.batches:
            wait_for("keep", self.meanwhile)
            start = time.process_time()
            yield batch
            answer(cpu=time.process_time() - start, rss_mb=memory_mb("VmRSS"))
        wait_for("finish", self.meanwhile)
        self.finished = time.process_time()


class Cache(LatentCache):
    """Its cache, whose batches come on request."""

    def load_token_batches(self, n_tokens: int, tokens: Tensor) -> OnRequest:
        self.given = OnRequest(super().load_token_batches(n_tokens, tokens), self.alone)
        return self.given

    @torch.no_grad()
    def alone(self, batch: Tensor) -> None:
        """What `run` does with a batch, without keeping anything."""
        with collect_activations(self.model, list(self.hookpoint_to_sparse_encode), self.transcode) as activations:
            self.model(batch)
            for hookpoint, act in activations.items():
                self.hookpoint_to_sparse_encode[hookpoint](act)


def read(model: str, encoders: str, windows: str, batch: int, dtype: str, out: str) -> None:
    """Cache all windows; then write the cache and say what it weighs."""
    held, tokens = load_file(encoders), torch.from_numpy(np.load(windows).astype(np.int64))
    layers = sorted({int(name.split(".")[0]) for name in held})
    parts = ("weight", "bias", "threshold")
    encoding = {f"layers.{i}.mlp": partial(encode, *(held[f"{i}.{part}"] for part in parts)) for i in layers}
    opened = AutoModel.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
    cache = Cache(opened, encoding, batch_size=batch, transcode=True)
    cache.alone(tokens[:2])
    cache.run(tokens.numel(), tokens)
    join_cpu, joined_mb = time.process_time() - cache.given.finished, memory_mb()
    save_cpu = cpu_of(partial(cache.save_splits, CacheConfig().n_splits, Path(out)))
    cache.save_config(Path(out), CacheConfig(), model)
    where = cache.cache.latent_locations.values()
    answer(
        join_cpu=join_cpu,
        save_cpu=save_cpu,
        joined_mb=joined_mb,
        peak_mb=memory_mb(),
        bytes=sum(path.stat().st_size for path in Path(out).rglob("*.safetensors")),
        features=sum(len(held[f"{i}.bias"]) for i in layers),
        active=sum(len(each) for each in where),
        active_behind_first=sum(int((each[:, 1] > 0).sum()) for each in where),
    )


def fetch(out: str, model: str, wanted: list[tuple[str, int]]) -> None:
    """Its records of single features, each by a data set of its own; then all of a module in one."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    choices = SamplerConfig(n_examples_test=0), ConstructorConfig(min_examples=1, n_non_activating=0)
    cpu, found = [], 0
    for module, index in wanted:
        start = time.process_time()
        found += len(list(LatentDataset(out, *choices, tokenizer, [module], {module: torch.tensor([index])})))
        cpu.append(time.process_time() - start)
    module, start = wanted[0][0], time.process_time()
    n = len(list(LatentDataset(out, *choices, tokenizer, [module])))
    answer(cpu=cpu, found=found, in_a_row_cpu=(time.process_time() - start) / n)


def replay(acts: str, sizes: list[int]) -> None:
    """One module's activations again and again into its `InMemoryCache`: what it takes at each size, joined and not."""
    held, found, at, cpu = load_file(acts), [], 0, 0.0
    blocks, tokens = held["acts"], held["tokens"]
    cache, before = InMemoryCache(batch_size=blocks.shape[1]), memory_mb("VmRSS")
    for size in sizes:
        while at * tokens.numel() < size:
            cpu += cpu_of(partial(cache.add, blocks[at % len(blocks)], tokens, at, "layers.0.mlp"))
            at += 1
        found.append({"positions": at * tokens.numel(), "mb": memory_mb("VmRSS") - before, "cpu": cpu})
    forget_peak()
    seconds = cpu_of(cache.save)
    answer(before_mb=before, sizes=found, joined_mb=memory_mb() - before, join_cpu=seconds)


def main() -> None:
    torch.set_num_threads(1)
    calls = {"read": read, "fetch": fetch, "replay": replay}
    while "make" in (request := hear()):
        calls[request.pop("make")](**request)


if __name__ == "__main__":
    main()
