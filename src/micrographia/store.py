"""What we keep on disk: one cache folder, written whole or not at all, and checked when it is read.

A folder in the cache carries a `manifest.json`: which source it was made from and what every file in it
weighs. The CRC-32 in it is fast enough to be compared at each load (0.2 s for 540 MB) and notices any
flipped byte; the SHA-256 is for `verify`.
"""

import errno
import hashlib
import json
import os
import shlex
import shutil
import sys
import tempfile
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, TypeVar, cast, runtime_checkable

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from micrographia.errors import CacheError, WorkError

__all__ = [
    "CACHE_VARIABLE",
    "MANIFEST",
    "FileRecord",
    "Manifest",
    "Progress",
    "atomic_file",
    "cache_dir",
    "check_files",
    "check_room",
    "complaints",
    "crc32_file",
    "is_full",
    "locked",
    "read_manifest",
    "readable_size",
    "record_file",
    "record_of",
    "removal_line",
    "remove_folder",
    "sha256_file",
    "silent",
    "sync_folder",
    "umask",
    "verify_files",
    "write_json",
    "writing",
]

CACHE_VARIABLE = "MICROGRAPHIA_CACHE"
"""The environment variable that moves the cache."""
MANIFEST = "manifest.json"

_SCHEMA = 1
_CHUNK = 1 << 22
_ELSEWHERE = f"choose another place for the cache: export {CACHE_VARIABLE}=/path/with/room"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}

_Record = TypeVar("_Record", bound=BaseModel)


@runtime_checkable
class Progress(Protocol):
    """Told how far a long piece of work has come: `done` of `total` bytes, in the stage called `stage`.

    Called often, and at least once with `done == total`; must return quickly and must not raise.
    """

    def __call__(self, stage: str, done: int, total: int, /) -> None: ...


def silent(stage: str, done: int, total: int, /) -> None:
    """The `Progress` that tells nobody."""


class FileRecord(BaseModel):
    """One file of a folder, and how to tell that it is still the same."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    size: int
    crc32: str
    sha256: str


class Manifest(BaseModel):
    """What a folder of the cache holds and what it was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = _SCHEMA
    kind: Literal["model"]
    name: str
    source: str
    source_sha256: str
    producer: str
    files: tuple[FileRecord, ...]

    @property
    def size(self) -> int:
        return sum(record.size for record in self.files)


# ---------------------------------------------------------------- where


def cache_dir() -> Path:
    """The cache folder: `MICROGRAPHIA_CACHE`, or the platform's own place for caches. Not created here."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(os.path.expanduser(chosen)).absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "micrographia"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "micrographia"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "micrographia"


# ---------------------------------------------------------------- writing


@contextmanager
def writing(
    path: Path, *, needed: int | None = None, kind: type[WorkError] = CacheError, elsewhere: str = _ELSEWHERE
) -> Generator[None]:
    """Turn a disk that is full or refuses into one sentence, of this kind, which ends with what to do."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise kind(f"{_full_disk(path, needed, error)} Make room, or {elsewhere}") from error
        if error.errno in _REFUSED:
            said = elsewhere[:1].upper() + elsewhere[1:]
            raise kind(f"Cannot write {path}: {error.strerror}. {said}") from error
        raise


def is_full(error: OSError) -> bool:
    """Whether it was for want of room: on the disk, in a quota, or under a limit on the size of files."""
    return error.errno in _FULL


def check_room(path: Path, needed: int) -> None:
    """Refuse at once what the disk has no room for."""
    free = _free_bytes(path)
    if free is not None and free < needed:
        raise CacheError(
            f"Writing {path} needs {readable_size(needed)}, and its disk has {readable_size(free)} free. "
            f"Make room, or {_ELSEWHERE}"
        )


@contextmanager
def atomic_file(path: Path, *, needed: int | None = None) -> Generator[BinaryIO]:
    """Open a file that appears under its name only when it is complete and on the disk."""
    with writing(path, needed=needed):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, 0o666 & ~umask())
            os.replace(name, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all."""
    with atomic_file(path) as stream:
        stream.write((json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder outlive a power cut, where the system can."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(
    path: Path, progress: Progress = silent, *, kind: type[WorkError] = CacheError, elsewhere: str = _ELSEWHERE
) -> Generator[None]:
    """Hold the lock that belongs to `path`; a second process waits. It is free again if the holder dies."""
    with writing(path, kind=kind, elsewhere=elsewhere):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(path.name + ".lock"))
        if not _acquired_at_once(lock):
            progress("waiting for another process", 0, 1)
            lock.acquire()
            progress("waiting for another process", 1, 1)
    try:
        yield
    finally:
        lock.release()


def remove_folder(folder: Path) -> None:
    """Remove a folder so that nobody ever sees half of it."""
    with writing(folder):
        doomed = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".removed-"))
        os.replace(folder, doomed / folder.name)
        shutil.rmtree(doomed)


# ---------------------------------------------------------------- checking


def sha256_file(path: Path, progress: Progress = silent) -> str:
    """The SHA-256 of a file, in hex, without holding the file in memory."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    for chunk in _chunks(path):
        digest.update(chunk)
        done += len(chunk)
        progress(f"checking {path.name}", done, total)
    return digest.hexdigest()


def crc32_file(path: Path) -> str:
    """The CRC-32 of a file, in hex, without holding the file in memory."""
    crc = 0
    for chunk in _chunks(path):
        crc = zlib.crc32(chunk, crc)
    return f"{crc:08x}"


def record_file(path: Path) -> FileRecord:
    """Weigh a file for the manifest, reading it once."""
    digest, crc, size = hashlib.sha256(), 0, 0
    for chunk in _chunks(path):
        digest.update(chunk)
        crc = zlib.crc32(chunk, crc)
        size += len(chunk)
    return FileRecord(name=path.name, size=size, crc32=f"{crc:08x}", sha256=digest.hexdigest())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder in our cache; an unknown version or key is refused by name."""
    path = folder / MANIFEST
    try:
        raw: object = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CacheError(f"{folder} has no {MANIFEST}, so it cannot be trusted. {removal_line(folder)}") from error
    except ValueError as error:
        raise CacheError(f"{path} is not JSON: {error}. {removal_line(folder)}") from error
    return record_of(raw, Manifest, path, remedy=removal_line(folder))


def record_of(
    raw: object, form: type[_Record], path: Path, *, kind: type[WorkError] = CacheError, remedy: str = ""
) -> _Record:
    """What was read from `path` as the record that was written; an unknown version or key is refused by name.

    The form has a field `schema_version`, whose default is the version that is read.
    """
    known = cast("dict[str, object]", raw) if isinstance(raw, dict) else {}
    reads: object = form.model_fields["schema_version"].default
    if (version := known.get("schema_version")) != reads:
        raise kind(
            f"{path} has schema version {version!r}, and this Micrographia reads version {reads}: "
            f"update Micrographia. {remedy}".rstrip()
        )
    try:
        return form.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        raise kind(f"{path} cannot be understood ({complaints(error)}). {remedy}".rstrip()) from error


def complaints(error: ValidationError) -> str:
    """What is wrong with a record, each thing with its place."""
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'the whole'}: {each['msg']}" for each in error.errors())


def check_files(folder: Path, records: Iterable[FileRecord]) -> None:
    """Compare sizes and CRC-32s with the manifest: fast, done at every load."""
    for record in records:
        path = _same_size(folder, record)
        if (found := crc32_file(path)) != record.crc32:
            raise CacheError(
                f"{path} is damaged: its CRC-32 is {found}, and it was {record.crc32} when written. "
                + removal_line(folder)
            )


def verify_files(folder: Path, records: Iterable[FileRecord], progress: Progress = silent) -> None:
    """Compare the SHA-256 of every file with the manifest: slow, and as certain as it gets."""
    for record in records:
        found = sha256_file(_same_size(folder, record), progress)
        if found != record.sha256:
            raise CacheError(
                f"{folder / record.name} is damaged: its SHA-256 is {found}, and it was {record.sha256} when "
                f"written. {removal_line(folder)}"
            )


def removal_line(folder: Path, *, by: str = "") -> str:
    """The sentence that says how to get rid of a folder which is made anew by itself, or `by` a command."""
    remove = f'rmdir /s /q "{folder}"' if sys.platform == "win32" else f"rm -r {shlex.quote(str(folder))}"
    return f"Delete it, and {f'make it anew by {by}' if by else 'it is made anew'}: {remove}"


def readable_size(size: int) -> str:
    """A number of bytes for people: `540 MB`."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"


# ---------------------------------------------------------------- parts


def _same_size(folder: Path, record: FileRecord) -> Path:
    path = folder / record.name
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise CacheError(f"{path} is missing. {removal_line(folder)}") from error
    if size != record.size:
        raise CacheError(
            f"{path} is damaged: it has {size} bytes, and had {record.size} when written. " + removal_line(folder)
        )
    return path


def _chunks(path: Path) -> Iterator[memoryview]:
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            yield buffer[:count]


def _acquired_at_once(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except TimeoutError:
        return False
    return True


def umask() -> int:
    """The permissions that new files of this process do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _free_bytes(path: Path) -> int | None:
    for place in (path, *path.parents):
        if place.exists():
            return shutil.disk_usage(place).free
    return None


def _full_disk(path: Path, needed: int | None, error: OSError) -> str:
    free = _free_bytes(path)
    wants = "" if needed is None else f", which takes {readable_size(needed)}"
    has = "" if free is None else f"; its disk has {readable_size(free)} free"
    return f"Cannot write {path}{wants}: {error.strerror}{has}."
