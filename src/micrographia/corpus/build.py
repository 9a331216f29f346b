"""From a recipe to a corpus on disk: read, tokenise, leave out what was there, write shard by shard.

A build works in a folder of its own beside the corpus and takes the corpus's name when all is done. Each shard carries
what was known when it was closed, so that a build which died goes on behind its last shard; what comes out is, byte
for byte, what an undisturbed build makes.
"""

import hashlib
import json
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import final

from pydantic import ValidationError

from micrographia.corpus.documents import Document
from micrographia.corpus.duplicates import Hashes
from micrographia.corpus.encoding import MOST_TOGETHER, Encoded, Encoder, tokenizer_sha256
from micrographia.corpus.manifest import (
    CorpusManifest,
    Plan,
    ShardRecord,
    SourceReport,
    Split,
    Tally,
    TokenizerRecord,
    read_manifest,
)
from micrographia.corpus.recipe import Recipe
from micrographia.corpus.shards import Draft, Shard
from micrographia.corpus.sources import ModelMaker, Reading, Surroundings, open_sources
from micrographia.errors import CacheError, CallError, WorkError
from micrographia.model.tokens import Tokenizer
from micrographia.store import (
    MANIFEST,
    Progress,
    check_files,
    is_full,
    locked,
    record_file,
    removal_line,
    remove_folder,
    silent,
    sync_folder,
    write_json,
    writing,
)

__all__ = ["SHARD_TOKENS", "build", "split_of"]

SHARD_TOKENS = 1 << 22
"""A shard is closed by the document that brings it to so many tokens."""

_PLAN = "plan.json"
_SAMPLED = 64
"""A shard of text that the model writes is closed so many times earlier: each token takes a thousand times longer."""


def build(
    recipe: Recipe,
    out: Path,
    tokenizer: Tokenizer,
    *,
    model: ModelMaker | None = None,
    packages: Sequence[Path] = (),
    workers: int = 2,
    shard_tokens: int = SHARD_TOKENS,
    progress: Progress = silent,
) -> CorpusManifest:
    """Build a corpus in the folder `out`, or go on with it. If it is there already, nothing is done.

    `packages` are folders with wheels; `workers` is how many threads tokenise, which changes no byte.
    """
    out = out.expanduser().absolute()
    readings = open_sources(recipe, Surroundings(recipe.longest, tuple(packages), model))
    encoder = Encoder(tokenizer, recipe.bos)
    plan = Plan(
        recipe=recipe,
        tokenizer=TokenizerRecord(
            name=tokenizer.name,
            sha256=tokenizer_sha256(tokenizer),
            d_vocab=tokenizer.d_vocab,
            front=encoder.front,
        ),
        versions=tuple(reading.version for reading in readings),
        shard_tokens=shard_tokens,
    )
    with _own_words(out), locked(out.with_name(f".{out.name}"), progress):
        if out.exists() and not _is_empty_folder(out):
            return _there_already(out, plan)
        folder = out.with_name(f"{out.name}.building")
        builder = _Builder(plan, readings, encoder, folder)
        try:
            builder.begin()
            for index in range(len(recipe.sources)):
                builder.read_source(index, workers=workers, progress=progress)
            manifest = builder.finish()
        finally:
            builder.tidy()
        with writing(out):
            os.replace(folder, out)
            sync_folder(out.parent)
        return manifest


def split_of(group: int, recipe: Recipe) -> Split:
    """Where the documents of a group go. It depends on nothing but the group, so a further source moves none."""
    drawn = hashlib.blake2b(f"{recipe.seed}/{group}".encode(), digest_size=8).digest()
    return "heldout" if int.from_bytes(drawn, "little") < recipe.heldout * 2**64 else "train"


@final
class _Builder:
    """A build at work: what it has seen, the shard that it fills, and what it will say about each source."""

    __slots__ = (
        "_bands",
        "_draft",
        "_encoder",
        "_folder",
        "_n_shards",
        "_ours",
        "_plan",
        "_readings",
        "_reports",
        "_seen",
    )

    def __init__(self, plan: Plan, readings: Sequence[Reading], encoder: Encoder, folder: Path) -> None:
        self._plan = plan
        self._readings = readings
        self._encoder = encoder
        self._folder = folder
        self._reports: list[SourceReport] = []
        self._n_shards = 0
        self._ours = False
        """Whether what lies in the folder is of this build."""
        self._seen = Hashes()
        self._bands = Hashes()
        self._draft = Draft(encoder.dtype, encoder.front)

    def begin(self) -> None:
        """Make the folder, or take up what a build that died has left in it."""
        path = self._folder / _PLAN
        if not path.exists():
            if self._folder.exists():
                remove_folder(self._folder)
            self._ours = True
            write_json(path, self._plan.model_dump(mode="json"))
            return
        if _read_plan(path) != self._plan:
            raise CallError(
                f"{self._folder} holds an unfinished corpus of another recipe, tokenizer or version. Finish it with "
                f"the command that began it, or begin anew: {_without_promise(self._folder)}"
            )
        for left in self._folder.glob(".*.tmp"):
            left.unlink()
        state = None
        while self._shard_path(self._n_shards).exists():
            shard = Shard.open(self._shard_path(self._n_shards))
            for table in (shard.train, shard.heldout):
                self._seen.add(table.fingerprints.tolist())
                self._bands.add(filter(None, table.bands.tolist()))
            self._n_shards += 1
            state = shard.state
        if state is not None:
            self._reports = [SourceReport.model_validate(report) for report in json.loads(state)]
        self._ours = True

    def read_source(self, index: int, *, workers: int, progress: Progress) -> None:
        """Take what one source gives, from where the last finished shard stopped."""
        if index < len(self._reports) - 1:
            return
        source, reading = self._plan.recipe.sources[index], self._readings[index]
        if index == len(self._reports):
            self._reports.append(
                SourceReport(name=source.name, kind=source.kind, licence=source.licence, version=reading.version)
            )
        budget = self._plan.recipe.budget(index)
        total = reading.total or budget or 1
        early, together = (_SAMPLED, source.batch) if source.kind == "on-policy" else (1, MOST_TOGETHER)
        documents = self._documents(index)
        with closing(self._encoder.encoded(documents, workers=workers, together=together)) as stream:
            while budget is None or self._reports[index].tokens < budget:
                if (encoded := next(stream, None)) is None:
                    self._reports[index] = self._reports[index].model_copy(update={"exhausted": True})
                    break
                self._take(index, encoded)
                if self._draft.n_tokens * early >= self._plan.shard_tokens:
                    self._close()
                done = encoded.document.place if reading.total else self._reports[index].tokens
                progress(source.name, min(done, total), total)
        progress(source.name, total, total)

    def finish(self) -> CorpusManifest:
        """Close the last shard and write the manifest."""
        if self._draft.n_tokens:
            self._close()
        if not self._n_shards:
            read = sum(report.read for report in self._reports)
            found = f"all {read} documents in them are blank" if read else "they are empty"
            raise WorkError(f"There is no text in these sources: {found}.")
        shards = tuple(self._record(number) for number in range(self._n_shards))
        manifest = CorpusManifest(plan=self._plan, sources=tuple(self._reports), shards=shards)
        write_json(self._folder / MANIFEST, manifest.model_dump(mode="json"))
        (self._folder / _PLAN).unlink()
        sync_folder(self._folder)
        return manifest

    def tidy(self) -> None:
        """Leave nothing behind where there is nothing to go on with."""
        if self._ours and not self._n_shards and self._folder.exists():
            remove_folder(self._folder)

    # ------------------------------------------------------------ parts

    def _documents(self, index: int) -> Iterator[Document]:
        """The documents of a source that are not yet in a shard; those before are compared where that costs little."""
        report, reading = self._reports[index], self._readings[index]
        if not reading.rereads:
            yield from reading.documents(report.read)
            return
        documents = reading.documents(0)
        digest = ""
        for _ in range(report.read):
            document = next(documents, None)
            digest = "" if document is None else _chained(digest, document)
        if digest != report.sha256:
            raise CacheError(
                f"The texts of {report.name!r} have changed since this build was interrupted. "
                f"Begin anew: {_without_promise(self._folder)}"
            )
        yield from documents

    def _take(self, index: int, encoded: Encoded) -> None:
        report = self._reports[index]
        update: dict[str, object] = {"read": report.read + 1, "sha256": _chained(report.sha256, encoded.document)}
        near = [int(band) for band in encoded.bands if band]
        if not len(encoded.ids) or not encoded.document.text.strip():
            update["empty"] = report.empty + 1
        elif encoded.fingerprint in self._seen:
            update["duplicates"] = report.duplicates + 1
        elif self._plan.recipe.near_duplicates and any(band in self._bands for band in near):
            update["near_duplicates"] = report.near_duplicates + 1
        else:
            split = split_of(encoded.document.group, self._plan.recipe)
            update[split] = report.tally(split).plus(self._draft.add(split, index, encoded))
            update["characters"] = report.characters + len(encoded.document.text)
            update["replaced"] = report.replaced + encoded.replaced
            self._seen.add([encoded.fingerprint])
            self._bands.add(near)
        self._reports[index] = report.model_copy(update=update)

    def _close(self) -> None:
        state = json.dumps([report.model_dump(mode="json") for report in self._reports])
        self._draft.write(self._shard_path(self._n_shards), state)
        self._n_shards += 1
        self._draft = Draft(self._encoder.dtype, self._encoder.front)

    def _record(self, number: int) -> ShardRecord:
        path = self._shard_path(number)
        shard = Shard.open(path)
        train, heldout = (
            Tally(documents=len(table.starts), tokens=len(table.tokens)) for table in (shard.train, shard.heldout)
        )
        return ShardRecord(file=record_file(path), train=train, heldout=heldout)

    def _shard_path(self, number: int) -> Path:
        return self._folder / f"shard-{number:05d}.safetensors"


# ---------------------------------------------------------------- parts


def _chained(digest: str, document: Document) -> str:
    link = f"{digest}\0{document.name}\0{document.text}".encode(errors="surrogatepass")
    return hashlib.sha256(link).hexdigest()


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is None


def _there_already(out: Path, plan: Plan) -> CorpusManifest:
    if not (out / MANIFEST).is_file():
        raise CallError(f"{out} is there already, and is no corpus. Choose another --out.")
    manifest = read_manifest(out)
    if manifest.plan != plan:
        raise CallError(
            f"{out} holds a corpus already, of another recipe, tokenizer or version. Choose another --out, or delete "
            f"it: {_without_promise(out)}"
        )
    check_files(out, [shard.file for shard in manifest.shards])
    return manifest


def _read_plan(path: Path) -> Plan | None:
    try:
        return Plan.model_validate_json(path.read_bytes())
    except ValidationError:
        return None


def _without_promise(folder: Path) -> str:
    """Only the command that deletes a folder."""
    return removal_line(folder).split(": ", 1)[1]


@contextmanager
def _own_words(out: Path) -> Generator[None]:
    """A full disk, said of a corpus: there is a place to choose and something to go on with."""
    try:
        yield
    except CacheError as error:
        cause = error.__cause__
        if not isinstance(cause, OSError):
            raise
        room = "Make room, and the same command goes on behind the last finished shard; or choose another --out."
        way_out = room if is_full(cause) else "Choose another --out."
        raise CacheError(f"Cannot write the corpus {out}: {cause.strerror}. {way_out}") from cause
