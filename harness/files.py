"""Files that appear whole or not at all, and a lock that its holder's death releases."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from protocols.errors import ReIDError

_UMASK = os.umask(0o077)
os.umask(_UMASK)
"""Temporary files are their maker's alone; a record is for whoever the user lets read it."""


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a temporary file beside `path`, flush it to disk, then rename it there.

    A kill at any moment leaves the old file or the new one, never a part. A full disk raises
    ReIDError and leaves the old file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        with full_disk_named(path):
            write(temporary)
            temporary.chmod(0o666 & ~_UMASK)
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hex; a file that has not changed is read once a process."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@cache
def _digest(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_writable(folder: Path, option: str = "--out") -> None:
    """Make `folder` if it is not there.

    Raises ReIDError if nothing can be written in it, with the option that gives another.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ReIDError(
            f"Nothing can be written to {folder} ({error.strerror or error}). "
            f"Give another folder with {option}."
        ) from error


def require_place(file: Path, option: str = "-o") -> None:
    """Raise ReIDError unless a file can be put where `option` says: in a folder, over no other.

    What is written is renamed to its place, so a link or a device, as /dev/stdout, would be gone.
    """
    above = next((one for one in file.parents if one.exists()), file)
    if file.is_dir():
        problem = "it is a folder; expected the name of a file."
    elif file.is_symlink() or (file.exists() and not file.is_file()):
        problem = "it is a link or a device; expected the name of a file."
    elif not above.is_dir():
        problem = f"{above} is a file, not a folder."
    else:
        return
    raise ReIDError(f"{option} {file}: {problem}")


def write_text(path: Path, text: str) -> None:
    """`text` into `path`, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """`content` into `path`, whole or not at all."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomic(path, write)


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON into `path`, whole or not at all. Refuses NaN."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


FULL = ("No space left", "os error 28", "unexpected pos", "PytorchStreamWriter failed")


@contextlib.contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turn "no space left" into a message that says where and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(path) from error
        raise
    except Exception as error:
        # safetensors and torch have errors of their own for it
        if any(words in str(error) for words in FULL):
            raise _disk_full(path) from error
        raise


def _disk_full(path: Path) -> ReIDError:
    return ReIDError(
        f"The disk is full: {path} could not be written. What was finished is kept. "
        "Free some space (or give --out on another disk) and start the same command again."
    )


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A temporary directory that takes the place of `path` when the block ends well.

    A kill at any moment leaves the old one or the new one whole; between two renames both, beside
    `path` as `.NAME-*.old` and `.NAME-*.tmp`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp"))
    try:
        with full_disk_named(path):
            yield temporary
            temporary.chmod(0o777 & ~_UMASK)
            for file in temporary.iterdir():
                _flush(file)
            before = temporary.with_suffix(".old")
            if path.exists():
                path.rename(before)
            temporary.rename(path)
            _flush(path.parent)
            shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on `path`; the system releases it when the process dies.

    `waiting` is called once with who holds it, if somebody does.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise ReIDError(f"{path} can't be written ({error.strerror or error}).") from error
    with full_disk_named(path), file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if waiting:
                file.seek(0)
                waiting(file.read().strip() or "another process")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        file.flush()
        yield
