import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from micrographia.corpus.packages import download_line, find_package, packages_dir
from micrographia.corpus.recipe import Package
from micrographia.errors import CallError, WorkError

FILES = {"cabinet_of_texts/__init__.py": "raise SystemExit('imported')", "cabinet_of_texts/data/a.txt": "On moss.\n"}


def package(**choices: object) -> Package:
    known = {"name": "cabinet", "package": "cabinet.of-texts", "files": ("cabinet_of_texts/data/*",)}
    return Package.model_validate(known | choices)


def wheel(folder: Path, version: str = "1.2") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"cabinet_of_texts-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return path


def installed(site: Path, *, metadata: bool = True) -> None:
    for name, content in FILES.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(content)
    if metadata:
        info = site / "cabinet_of_texts-1.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cabinet-of-texts\nVersion: 1.3\n")
        (info / "RECORD").write_text("".join(f"{name},,\n" for name in FILES))


def texts(found: Package, *folders: Path) -> tuple[str, dict[str, bytes]]:
    carrier = find_package(found, folders)
    assert carrier is not None
    content: dict[str, bytes] = {}
    for member in carrier.members:
        with member.open() as stream:
            content[member.name] = stream.read(1 << 20)
    return carrier.version, content


def test_a_wheel_is_read_where_it_lies(tmp_path: Path) -> None:
    path = wheel(tmp_path)
    assert texts(package(), tmp_path) == ("1.2", {"cabinet_of_texts/data/a.txt": b"On moss.\n"})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert texts(package(version="1.2", sha256=digest), tmp_path)[0] == "1.2"


@pytest.mark.parametrize(("metadata", "version"), [(True, "1.3"), (False, "unknown")])
def test_an_installed_package_is_read_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: bool, version: str
) -> None:
    installed(tmp_path, metadata=metadata)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert texts(package()) == (version, {"cabinet_of_texts/data/a.txt": b"On moss.\n"})
    assert "cabinet_of_texts" not in sys.modules


def test_a_package_that_is_nowhere_is_not_found_and_the_command_names_it(tmp_path: Path) -> None:
    assert find_package(package(), [tmp_path, tmp_path / "no folder"]) is None
    line = download_line([package(version="1.2"), package(package="other")], tmp_path / "a b")
    assert line == f"pip download --no-deps -d '{tmp_path}/a b' cabinet.of-texts==1.2 other"


def test_a_wheel_of_other_bytes_is_refused(tmp_path: Path) -> None:
    wheel(tmp_path)
    with pytest.raises(WorkError, match=r"any\.whl is not the file that the recipe names: its SHA-256 is [0-9a-f]{64}"):
        find_package(package(sha256="0" * 64), [tmp_path])


def test_a_wheel_that_is_no_zip_file_is_refused(tmp_path: Path) -> None:
    wheel(tmp_path).write_bytes(b"hello")
    with pytest.raises(WorkError, match="is not a wheel that can be read: File is not a zip file"):
        find_package(package(), [tmp_path])


def test_a_damaged_file_in_a_wheel_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = wheel(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"On moss.", b"On mess."))
    with pytest.raises(WorkError, match=r"data/a\.txt is damaged: Bad CRC-32"):
        texts(package(), tmp_path)


def test_other_versions_are_refused_and_several_need_a_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path / "wheels")
    assert find_package(package(version="9"), [tmp_path / "wheels"]) is None
    wheel(tmp_path / "wheels", "1.10")
    with pytest.raises(
        CallError, match=r"holds 2 wheels of cabinet.of-texts: .*1\.10.*1\.2.*Keep one, or give a version"
    ):
        find_package(package(), [tmp_path / "wheels"])
    assert texts(package(version="1.10"), tmp_path / "wheels")[0] == "1.10"
    installed(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(
        CallError, match=r"wants cabinet.of-texts 9, and 1\.3 is installed\. Get the wheel: pip download"
    ):
        find_package(package(version="9"), [])


def test_a_pattern_that_fits_nothing_is_refused_with_what_there_is(tmp_path: Path) -> None:
    wheel(tmp_path)
    with pytest.raises(CallError, match=r"holds no file \*\.csv; it holds 2 others, such as cabinet_of_texts/__init__"):
        find_package(package(files=("*.csv",)), [tmp_path])


def test_fetched_wheels_lie_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MICROGRAPHIA_CACHE", str(tmp_path))
    assert packages_dir() == tmp_path / "packages"
