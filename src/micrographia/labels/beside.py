"""Where the labels of an atlas lie: beside it, or with the transcoders that come along, whose folder may be closed.

Those that come along are only read. Who says something of their own, or makes labels anew, writes to a copy in the
folder for what is made here, and from then on that is what is shown.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from micrographia import store
from micrographia.atlas.atlas import BESIDE, Atlas, built_place
from micrographia.bases.named import shipped_folder
from micrographia.errors import WorkError
from micrographia.labels.store import LabelBook

__all__ = ["labels_beside", "labels_instead_of", "labels_place", "labels_to_write"]


def labels_place(atlas: Path) -> Path:
    """Where the labels of an atlas lie: `atlas.labels` beside `atlas`."""
    return atlas.with_name(f"{atlas.name}.labels")


def labels_beside(atlas: Atlas) -> "LabelBook | None":
    """The labels of an atlas, if there are any: made or written here, or those that came along with its transcoders.

    Of the transcoders that come along, what was made here for others than they are now is passed over.
    """
    came, here = _places(atlas)
    if here.exists():
        book = LabelBook.open(here)
        if came is None or book.fits(atlas):
            return book
        book.close()
    return None if came is None else LabelBook.sealed(came)


def labels_to_write(atlas: Atlas) -> "LabelBook":
    """The labels of an atlas, to be written to, made if there are none. Those that came along stay as they are: they
    are copied to a place of one's own first."""
    came, here = _places(atlas)
    if came is not None and not _fit(here, atlas):
        with store.writing(here, kind=WorkError, elsewhere="choose another place."), store.locked(here):
            if not _fit(here, atlas):  # another process may have copied them while this one waited
                _copy(came, here)
    return LabelBook.create(here)


def labels_instead_of(atlas: Atlas) -> Path | None:
    """Where labels will lie that are made from the small atlas that comes along, and be shown instead of those that
    come along with it. None for any other atlas."""
    came, here = _places(atlas)
    return here if came is not None and came == labels_place(atlas.folder.resolve()) else None


def _places(atlas: Atlas) -> tuple[Path | None, Path]:
    """Where labels lie that came along, if some did with this atlas's transcoders, and where those of one's own lie."""
    shipped, built = shipped_folder(), built_place()
    if shipped is None or atlas.folder.resolve() not in (built.resolve(), (shipped / BESIDE).resolve()):
        return None, labels_place(atlas.folder)
    came = labels_place(shipped / BESIDE)
    return came if came.exists() else None, labels_place(built)


def _fit(here: Path, atlas: Atlas) -> bool:
    """Whether there are labels of one's own, of the transcoders that the atlas is of."""
    if not here.exists():
        return False
    with LabelBook.open(here) as book:
        return book.fits(atlas)


def _copy(came: Path, here: Path) -> None:
    """Put a copy where labels of one's own lie, with what people said before any came along; what was there is put
    aside, with its log, which SQLite would read into the copy."""
    own: list[tuple[int, int, str]] = []
    if here.exists():
        with LabelBook.open(here) as before:
            own = [] if before.layers else before.own()
    partial = here.with_name(f"{here.name}.partial")
    shutil.copyfile(came, partial)
    with LabelBook.create(partial) as book:
        for layer, index, text in own:
            book.say(layer, index, text)
    for end in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            here.with_name(f"{here.name}{end}").replace(here.with_name(f"{here.name}.before{end}"))
    partial.replace(here)
