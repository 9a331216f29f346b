"""A corpus on disk, open to be read: its documents, its windows, and what it says about itself."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from micrographia.corpus.encoding import Ids, tokenizer_sha256
from micrographia.corpus.manifest import SPLITS, CorpusManifest, Split, read_manifest
from micrographia.corpus.shards import Shard
from micrographia.corpus.strand import Strand
from micrographia.corpus.windows import Windows, WindowsOf, permuted
from micrographia.errors import CallError
from micrographia.model.tokens import Tokenizer
from micrographia.store import MANIFEST, Progress, check_files, silent, verify_files

__all__ = ["Corpus", "Excerpt"]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One document as the corpus keeps it."""

    name: str
    source: str
    fingerprint: int
    ids: Ids
    """With what stands in front of it."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Token ids of many documents, mapped from disk. `open` makes one."""

    folder: Path
    manifest: CorpusManifest
    sha256: str
    """Of its manifest, which holds the SHA-256 of every other file."""
    strands: Mapping[Split, Strand]

    @staticmethod
    def open(folder: Path | str) -> "Corpus":
        """Open a corpus, comparing sizes and CRC-32s with its manifest."""
        folder = Path(folder).expanduser()
        manifest = read_manifest(folder)
        check_files(folder, [shard.file for shard in manifest.shards])
        shards = [Shard.open(folder / shard.file.name) for shard in manifest.shards]
        digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        strands: dict[Split, Strand] = {split: Strand([shard.table(split) for shard in shards]) for split in SPLITS}
        return Corpus(folder, manifest, digest, strands)

    def verify(self, progress: Progress = silent) -> None:
        """Compare the SHA-256 of every file with the manifest."""
        verify_files(self.folder, [shard.file for shard in self.manifest.shards], progress)

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Refuse a tokenizer for which these ids mean something else."""
        ours = self.manifest.plan.tokenizer
        if tokenizer_sha256(tokenizer) != ours.sha256:
            raise CallError(
                f"The corpus {self.folder} is written in the tokens of {ours.name} ({ours.d_vocab} of them), which "
                f"{tokenizer.name} ({tokenizer.d_vocab}) does not share. Build one for it: micrographia corpus build "
                f"--model {tokenizer.name} --out DIR"
            )

    def documents(self, split: Split) -> Iterator[Excerpt]:
        """All documents of a split, in the order in which they were kept."""
        return (self.document(split, number) for number in range(self._strand(split).n_documents))

    def document(self, split: Split, number: int) -> Excerpt:
        """One document of a split."""
        strand = self._strand(split)
        if not 0 <= number < strand.n_documents:
            raise CallError(f"The {split} split has {strand.n_documents} documents; there is no number {number}.")
        source = self.manifest.sources[strand.source(number)].name
        ids = strand.read(*strand.bounds(number))
        return Excerpt(strand.name(number), source, strand.fingerprint(number), ids)

    def document_at(self, split: Split, token: int) -> int:
        """The number of the document that a window begins in, by the window's `start`."""
        return self._strand(split).document_at(token)

    def sample(self, split: Split, n: int, *, seed: int = 0) -> list[Excerpt]:
        """Some documents of a split, each at most once; all of them, if there are no more than `n`."""
        total = self._strand(split).n_documents
        return [self.document(split, permuted(number, total, seed)) for number in range(min(n, total))]

    def windows(self, split: Split, length: int, *, seed: int | None = 0, packed: bool = True) -> Windows:
        """The split as windows of `length` tokens, mixed by the seed; without a seed in order."""
        of = WindowsOf(corpus=self.sha256, split=split, length=length, seed=seed, packed=packed)
        return Windows(self._strand(split), self.manifest.plan.tokenizer.front, of)

    def _strand(self, split: Split) -> Strand:
        if split not in self.strands:
            raise CallError(f"A corpus has the splits {' and '.join(SPLITS)}; there is no {split!r}.")
        return self.strands[split]
