"""What the model itself writes, as documents. Round number r is the same whether or not rounds before it were run."""

import hashlib
from collections.abc import Iterator

from micrographia.corpus.documents import Document, fingerprint
from micrographia.corpus.recipe import OnPolicy
from micrographia.errors import CallError
from micrographia.model.generate import Sampling
from micrographia.model.model import Model
from micrographia.model.tokens import Prompt

__all__ = ["sampled"]


def sampled(source: OnPolicy, model: Model, start: int) -> Iterator[Document]:
    """Documents of a source from number `start` on."""
    openings = _openings(source, model)
    for number in range(start // source.batch, -(-source.documents // source.batch)):
        first = number * source.batch
        rows = [openings[row % len(openings)] for row in range(first, min(first + source.batch, source.documents))]
        sampling = Sampling(temperature=source.temperature, top_p=source.top_p, seed=_seed(source.seed, number))
        written = model.generate_many(rows, max_new=source.max_new, sampling=sampling)
        for row, generation in enumerate(written, first):
            if row >= start:
                text = generation.prompt.text + generation.text
                yield Document(f"{source.name}/{row}", text, fingerprint(text), row)


def _openings(source: OnPolicy, model: Model) -> list[Prompt]:
    """What is continued: the openings that are given, or only what stands in front of every text."""
    if source.openings:
        return [model.tokenizer.prompt(opening) for opening in source.openings]
    front = model.tokenizer.front() or model.tokenizer.ends[:1]
    if not front:
        raise CallError(f'{model.name} has no token that begins a text. Give openings, as in openings = ["The"].')
    prompt = model.tokenizer.from_ids(front)
    return [Prompt(prompt.ids, prompt.pieces, "", len(prompt.ids))]


def _seed(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=7).digest(), "little")
