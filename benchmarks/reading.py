"""What reading costs: every residual site kept, against a plain forward pass, and against Hugging Face's own.

    python benchmarks/reading.py [--rounds 9] [--tokens 16 128 512] [--out reading.json]

Runs are interleaved (plain, reading, Hugging Face, plain, …) on one thread, and the figure is the ratio of CPU times
within a round; the median and the range over rounds are reported. CPU time counts the work, not the noise of a
shared machine. Hugging Face runs the same weights with its default attention, once plain and once with
`output_hidden_states=True`, which is its own way of reading the residual.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

import micrographia as mg
from benchmarks.machine import processor
from micrographia.model.checkpoint import locate

RESIDUAL = ("resid_pre", "resid_mid", "resid_post")


def cpu_seconds(work: Callable[[], object], repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start) / repeats


def rivals(n_tokens: int) -> dict[str, Callable[[], object]]:
    scope = mg.open(dtype="float32", device="cpu")
    model = scope.model
    theirs = AutoModelForCausalLM.from_pretrained(locate(None).folder, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(100, 40_000, (n_tokens,), generator=generator).tolist()
    prompt = model.tokenizer.from_ids(ids)
    batch = torch.tensor([ids])
    gap = (model.run(prompt).logits - theirs(batch).logits).abs().max()
    assert gap < 1e-2, f"the two models differ by {gap}: nothing to compare"

    @torch.no_grad()
    def hugging_face(**options: bool) -> object:
        return theirs(batch, use_cache=False, **options)

    return {
        "plain": lambda: model.run(prompt),
        "reading the residual": lambda: model.run(prompt, read=RESIDUAL),
        "reading every site": lambda: model.run(prompt, read=model.sites),
        "Hugging Face": hugging_face,
        "Hugging Face, hidden states": lambda: hugging_face(output_hidden_states=True),
    }


def measure(n_tokens: int, rounds: int) -> dict[str, list[float]]:
    work = rivals(n_tokens)
    repeats = max(1, 256 // n_tokens)
    for run in work.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, run in work.items():
            times[name].append(cpu_seconds(run, repeats))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 128, 512])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    print(f"{'tokens':>6}  {'what':<28} {'CPU ms':>8} {'× plain: median':>16} {'range':>13}")
    for n_tokens in chosen.tokens:
        times = measure(n_tokens, chosen.rounds)
        for name, seconds in times.items():
            ratios = [mine / plain for mine, plain in zip(seconds, times["plain"], strict=True)]
            row = {
                "tokens": n_tokens,
                "what": name,
                "cpu_ms": 1000 * statistics.median(seconds),
                "ratio": statistics.median(ratios),
                "lowest": min(ratios),
                "highest": max(ratios),
            }
            results.append(row)
            print(
                f"{n_tokens:>6}  {name:<28} {row['cpu_ms']:>8.1f} {row['ratio']:>16.3f} "
                f"{row['lowest']:>6.2f}–{row['highest']:.2f}"
            )
    if chosen.out:
        machine = {"processor": processor(), "torch": torch.__version__, "threads": 1}
        chosen.out.write_text(json.dumps({"machine": machine, "rounds": chosen.rounds, "results": results}, indent=1))


if __name__ == "__main__":
    main()
