"""SHA-256 of image files, each read once and again only where its size or time of change differ."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from protocols.cache import cache_folder
from protocols.errors import DataError

Known = dict[str, tuple[int, int, str]]
"""Path below the root -> size in bytes, time of change in ns, SHA-256 in hex."""


MANY = 2000
"""So many files take a while to read, which is then said."""


class Contents:
    """The contents of the files below one data root.

    What was read is remembered in the user's cache folder (`remember`), so that a data set is
    read in full once, and its files only asked for size and time after that. `say` is told before
    many are read. `empty`: a file of 0 bytes is a file like any other.
    """

    def __init__(
        self,
        data_root: Path,
        remember: bool = True,
        say: Callable[[str], object] = lambda text: None,
        empty: bool = False,
    ) -> None:
        self.data_root = data_root
        self.say, self.empty = say, empty
        name = hashlib.sha256(str(data_root.absolute()).encode()).hexdigest()[:24]
        self.file = cache_folder() / "contents" / f"{name}.json" if remember else None
        self.known: Known = self._load()

    def digests(self, paths: Iterable[str]) -> dict[str, str]:
        """Path below the root -> SHA-256.

        Raises DataError for a file that is gone, or empty where that is not a file like any other.
        """
        found: dict[str, str] = {}
        changed: dict[str, tuple[int, int]] = {}
        for path in dict.fromkeys(paths):
            status = _status(self.data_root / path, self.empty)
            known = self.known.get(path)
            if known and tuple(known[:2]) == status:
                found[path] = known[2]
            else:
                changed[path] = status
        if len(changed) >= MANY:
            self.say(f"Reading {len(changed)} images below {self.data_root} for the first time.")
        if changed:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                files = (self.data_root / path for path in changed)
                for (path, status), digest in zip(
                    changed.items(), pool.map(_digest, files), strict=True
                ):
                    self.known[path] = (*status, digest)
                    found[path] = digest
            self._save()
        return found

    def _load(self) -> Known:
        if self.file is None:
            return {}
        try:
            known = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}  # never saved, or damaged: the files are read again
        return known if isinstance(known, dict) else {}

    def _save(self) -> None:
        if self.file is None:
            return
        # only a memory: where it can't be written, the files are read again next time
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.file.parent, suffix=".tmp")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self.known, file)
            Path(name).replace(self.file)


def _status(path: Path, empty: bool) -> tuple[int, int]:
    """Size and time of change of a file that must be there, and hold something unless `empty`."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(
            f"{path} was listed but can not be read ({error.strerror}). "
            "Copy it again, or see what is missing with `harness check`."
        ) from error
    if status.st_size == 0 and not empty:
        raise DataError(f"{path} is empty (0 bytes): the copy broke off. Copy it again.")
    return status.st_size, status.st_mtime_ns


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} can not be read ({error.strerror or error}).") from error
