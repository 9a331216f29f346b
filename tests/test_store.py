import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micrographia import store
from micrographia.errors import CacheError, ModelFileError


def signed(folder: Path, **files: bytes) -> store.Manifest:
    folder.mkdir(exist_ok=True)
    records: list[store.FileRecord] = []
    for name, content in files.items():
        (folder / name).write_bytes(content)
        records.append(store.record_file(folder / name))
    manifest = store.Manifest(
        kind="model", name="m", source="m.gguf", source_sha256="0" * 64, producer="test", files=tuple(records)
    )
    store.write_json(folder / store.MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def test_the_variable_moves_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path))
    assert store.cache_dir() == tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG folders are Linux's")
def test_without_the_variable_the_cache_is_the_platform_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MICROGRAPHIA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.cache_dir() == tmp_path / "micrographia"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert store.cache_dir() == Path.home() / ".cache" / "micrographia"


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(TypeError), store.atomic_file(path) as stream:
        stream.writelines([b"half", "no bytes"])  # type: ignore[list-item]
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"before"
    with store.atomic_file(path) as stream:
        stream.write(b"after")
    assert path.read_bytes() == b"after"


def test_a_full_device_is_a_sentence_that_says_where_else() -> None:
    path = Path("/dev/full")
    if not path.exists():
        pytest.skip("this system has no /dev/full")
    with (
        pytest.raises(CacheError, match=r"Cannot write /dev/full, which takes 5 MB: No space left on device.*export"),
        store.writing(path, needed=5_000_000),
        path.open("wb", buffering=0) as stream,
    ):
        stream.write(b"x")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, r"Cannot write .*x: no luck; its disk has .* free\. Make room, or write elsewhere\."),
        (errno.EROFS, r"Cannot write .*x: no luck\. Write elsewhere\."),
    ],
)
def test_a_writer_may_have_words_of_its_own(tmp_path: Path, number: int, said: str) -> None:
    with (
        pytest.raises(ModelFileError, match=said),
        store.writing(tmp_path / "x", kind=ModelFileError, elsewhere="write elsewhere."),
    ):
        raise OSError(number, "no luck")


def test_a_limit_on_file_size_is_a_full_disk(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from micrographia import store\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from micrographia.errors import CacheError\n"
        "try:\n"
        "    with store.atomic_file(Path(sys.argv[1])) as stream: stream.write(bytes(100_000))\n"
        "except CacheError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "file")], capture_output=True, text=True, check=True
    )
    assert "Cannot write" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_another_failure_of_the_system_is_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), store.writing(tmp_path):
        raise IsADirectoryError(errno.EISDIR, "a folder")


def test_what_the_disk_has_no_room_for_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"needs 1e\+03 TB, and its disk has .* free"):
        store.check_room(tmp_path / "not" / "yet", 10**15)


def test_a_second_holder_waits_for_the_first(tmp_path: Path) -> None:
    stages: list[str] = []
    order: list[str] = []
    begun = threading.Event()

    def second() -> None:
        def progress(stage: str, done: int, total: int, /) -> None:
            stages.append(f"{stage} {done}")
            begun.set()

        with store.locked(tmp_path / "x", progress):
            order.append("second")

    thread = threading.Thread(target=second)
    with store.locked(tmp_path / "x"):
        thread.start()
        assert begun.wait(10)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert stages == ["waiting for another process 0", "waiting for another process 1"]


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = signed(tmp_path / "m", a=b"hello", b=b"")
    found = store.read_manifest(tmp_path / "m")
    assert found == written
    assert found.size == 5
    assert found.files[0].sha256 == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@given(content=st.binary(min_size=1, max_size=300), data=st.data())
def test_a_single_flipped_bit_is_noticed_both_ways(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "flipped"
    manifest = signed(folder, a=content)
    store.check_files(folder, manifest.files)
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    (folder / "a").write_bytes(damaged)
    with pytest.raises(CacheError, match=r"a is damaged: its CRC-32.*Delete it.*rm -r"):
        store.check_files(folder, manifest.files)
    with pytest.raises(CacheError, match="a is damaged: its SHA-256"):
        store.verify_files(folder, manifest.files)


def test_a_missing_and_a_shorter_file_are_named(tmp_path: Path) -> None:
    manifest = signed(tmp_path / "m", a=b"hello")
    (tmp_path / "m" / "a").write_bytes(b"hell")
    with pytest.raises(CacheError, match="it has 4 bytes, and had 5"):
        store.check_files(tmp_path / "m", manifest.files)
    (tmp_path / "m" / "a").unlink()
    with pytest.raises(CacheError, match="a is missing"):
        store.check_files(tmp_path / "m", manifest.files)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "schema version 2, and this Micrographia reads version 1"),
        ({"schema_version": None}, "schema version None"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"kind": "cheese"}, "kind: Input should be 'model'"),
        ({"files": [{"name": "a"}]}, r"files\.0\.size: Field required"),
    ],
)
def test_a_manifest_that_is_not_understood_is_refused_by_name(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    signed(tmp_path / "m", a=b"hello")
    path = tmp_path / "m" / store.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CacheError, match=said):
        store.read_manifest(tmp_path / "m")


def test_any_record_is_read_with_the_same_care(tmp_path: Path) -> None:
    found = signed(tmp_path / "m", a=b"hello")
    raw = found.model_dump(mode="json")
    assert store.record_of(raw, store.Manifest, tmp_path) == found
    for change, said in (
        ({"schema_version": 7}, r"reads version 1: update Micrographia\.$"),
        ({"name": 3}, r"name: .*\)\.$"),
    ):
        with pytest.raises(ModelFileError, match=said):
            store.record_of(raw | change, store.Manifest, tmp_path, kind=ModelFileError)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_manifest_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    signed(tmp_path / "m", a=b"hello")
    (tmp_path / "m" / store.MANIFEST).write_bytes(content)
    with pytest.raises(CacheError, match="Delete it"):
        store.read_manifest(tmp_path / "m")


def test_a_folder_is_removed_and_nothing_is_left(tmp_path: Path) -> None:
    signed(tmp_path / "m", a=b"hello")
    store.remove_folder(tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_file_has_the_permissions_of_any_other_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    store.write_json(tmp_path / "ours", {})
    assert os.stat(tmp_path / "ours").st_mode == os.stat(tmp_path / "plain").st_mode


def test_sizes_are_written_for_people() -> None:
    assert [store.readable_size(n) for n in (0, 999, 1000, 538_060_816)] == ["0 B", "999 B", "1 kB", "538 MB"]
