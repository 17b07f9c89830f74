"""Finding a data set's folder and listing the images in it, with errors that say what to do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from protocols.datasets.card import DatasetCard
from protocols.errors import DataError
from protocols.types import JUNK_PID, Image

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})

Parse = Callable[[str], tuple[int, int] | None]
"""A file name -> (pid, 0-based camid), None if it does not follow the data set's convention."""


@dataclass(frozen=True)
class Place:
    """Where a data set was found: `folder` is its path under the data root, with `/`."""

    card: DatasetCard
    data_root: Path
    folder: str
    notes: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """The data set's folder."""
        return self.data_root / self.folder


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the operating system says about `path` into a DataError."""
    try:
        yield
    except PermissionError as error:
        raise DataError(f"No permission to read {path}: change its rights or owner.") from error
    except OSError as error:
        raise DataError(f"{path} can not be read: {error.strerror or error}.") from error


def is_dir(path: Path) -> bool:
    """Whether `path` is a folder. Raises DataError where permissions hide the answer."""
    with readable(path):
        return path.is_dir()


def require_data_root(data_root: Path) -> None:
    """Raise DataError unless the data root is a folder that can be listed."""
    if not is_dir(data_root):
        what = "is not a folder" if data_root.exists() else "does not exist"
        raise DataError(f"The data root {data_root} {what}. Give the folder that holds data sets.")
    with readable(data_root), os.scandir(data_root):
        pass


def find(card: DatasetCard, data_root: Path) -> Place | None:
    """The first of the card's folders that exists, None if none does; noted if several do."""
    found = [folder for folder in card.folders if is_dir(data_root / folder)]
    if not found:
        return None
    used = data_root / found[0]
    others = [
        f
        for f in found[1:]
        if not used.samefile(data_root / f) and not found[0].startswith(f + "/")
    ]
    notes = (f"also found and not used: {', '.join(others)}",) if others else ()
    return Place(card, data_root, found[0], notes)


def absent(card: DatasetCard, data_root: Path) -> DataError:
    """The error for a data set of which no folder exists."""
    looked = ", ".join(f"{folder}/" for folder in card.folders)
    message = f"{card.name} ({card.key}) is not under {data_root}. Looked for: {looked}."
    own = {folder.split("/")[0].lower() for folder in card.folders}
    if data_root.resolve().name.lower() in own:
        message += f" {data_root} seems to be the data set itself: give the folder above it."
    return DataError(message)


def half_copied(place: Place, what: str, needed: Iterable[str] = ()) -> DataError:
    """The error for a data set of which something is missing."""
    needs = f" It needs {', '.join(needed)}, with images." if needed else ""
    return DataError(
        f"{place.card.name} under {place.root} looks half-copied: {what}.{needs} Copy it again."
    )


def list_names(folder: Path) -> list[str]:
    """Sorted names of the image files directly in `folder`.

    Other files (Thumbs.db, .mat, .txt) and hidden ones (`._0001.jpg`, left by macOS) are passed
    over. Raises DataError if the folder can not be read.
    """
    with readable(folder), os.scandir(folder) as entries:
        return sorted(
            e.name
            for e in entries
            if not e.name.startswith(".")
            and os.path.splitext(e.name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 (hot loop)
            and e.is_file()
        )


def require_folders(place: Place, needed: Iterable[str]) -> None:
    """Raise DataError naming every needed sub-folder that is missing or holds no image."""
    needed = tuple(needed)
    wrong = []
    for sub in needed:
        if not is_dir(place.root / sub):
            wrong.append(f"{sub} is missing")
        elif not list_names(place.root / sub):
            wrong.append(f"{sub} holds no image")
    if wrong:
        raise half_copied(place, "; ".join(wrong), needed)


def read_images(place: Place, sub: str, parse: Parse) -> list[Image]:
    """The images of a sub-folder ("" for the folder itself), without junk, sorted by name.

    Raises DataError if it can not be read or names the first files that `parse` does not know.
    """
    prefix = f"{place.folder}/{sub}" if sub else place.folder
    images, strange = [], []
    for name in list_names(place.root / sub):
        parsed = parse(name)
        if parsed is None:
            strange.append(name)
        elif parsed[0] != JUNK_PID:
            images.append(Image(f"{prefix}/{name}", *parsed))
    if strange:
        raise strange_names(place, place.root / sub, strange)
    return images


def strange_names(place: Place, where: Path, names: list[str]) -> DataError:
    """The error for files whose names say no identity."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return DataError(
        f"{where}: {len(names)} file name(s) not in {place.card.name}'s convention: "
        f"{', '.join(names[:3])}{more}. Move them away, or check that this is the right data set."
    )
