"""Put stand-in data sets on disk, once, in a way that no interruption leaves half of one.

A data set is drawn in a temporary folder beside its final one and renamed when complete, so a
folder that exists is whole. Two processes may make the same one: the bytes are equal, the first
wins.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from protocols.cache import cache_folder
from protocols.errors import DataError, UnknownName
from protocols.standin import DEFAULT_KEYS, SEED, STANDIN_FILE, VERSION
from protocols.standin.captions import caption, part_captions
from protocols.standin.domains import DOMAINS
from protocols.standin.layouts import LAYOUTS, Layout, Shot
from protocols.standin.render import render, stream

STALE_SECONDS = 3600.0  # a temporary folder this old was left by a process that was killed

WORDS = 7  # the stream for the wording of captions


def data_root(
    cache: Path | None = None, keys: Sequence[str] = DEFAULT_KEYS, *, seed: int = SEED
) -> Path:
    """Make the stand-in data sets `keys`, or find them made, and return their data root.

    The root lies in `cache` (default: `cache_folder()`) under a name that holds version and seed.
    Raises UnknownName for a key that has no stand-in, DataError when nothing can be written there.
    """
    for key in keys:
        if key not in LAYOUTS:
            raise UnknownName("stand-in data set", key, LAYOUTS)
    root = (cache or cache_folder()) / f"standin-v{VERSION}-s{seed}"
    try:
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        _remove_stale(root)
        about = {"what": "rendered people, no photographs", "version": VERSION, "seed": seed}
        _write_once(root / STANDIN_FILE, json.dumps(about, indent=1, sort_keys=True) + "\n")
        for key in keys:
            if not _is_whole(root, key):
                # one process at a time: what another is about to finish must not be removed
                with _locked(root.with_name(f".{root.name}.lock")):
                    _make(root, key, seed)
    except OSError as error:
        raise DataError(
            f"Cannot write the stand-in data to {root}: {error.strerror or error}. "
            "It takes about 30 MB; set HARNESS_CACHE to a folder with room that you may write to."
        ) from error
    return root


def truth(root: Path, key: str) -> dict[str, dict[str, Any]]:
    """What is true of each picture of a stand-in: path under `root` -> its annotation.

    `boxes`: part (`head`, `upper body`, `legs`) -> visible pixels [x0, y0, x1, y1], hidden parts
    missing; `caption`: a sentence on the picture; `parts`: part -> a sentence on it.
    Raises DataError where that stand-in has not been made.
    """
    try:
        return json.loads((root / "annotations" / f"{key}.json").read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{root} holds no stand-in {key}: make it with protocols.standin.data_root."
        ) from error


def _make(root: Path, key: str, seed: int) -> None:
    layout = LAYOUTS[key](seed)
    if _is_whole(root, key):
        return
    # what a cleaner of caches or a full disk has left is no data set
    shutil.rmtree(root / layout.folder, ignore_errors=True)
    (root / "annotations" / f"{key}.json").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".making-{key}-", dir=root) as name:
        scratch = Path(name)
        for folder in sorted({Path(s.path).parent for s in layout.shots}):
            (scratch / folder).mkdir(parents=True, exist_ok=True)
        notes = _draw_all(layout, key, seed, scratch)
        for path, text in layout.texts.items():
            (scratch / path).write_text(text, "utf-8")
        sizes = {
            str(path.relative_to(scratch)): path.stat().st_size
            for path in sorted((scratch / layout.folder).rglob("*"))
            if path.is_file()
        }
        _write_once(root / "annotations" / f"{key}.json", _compact(notes))
        _sizes_file(root, key).unlink(missing_ok=True)
        _write_once(_sizes_file(root, key), _compact(sizes))
        try:
            (scratch / layout.folder).rename(root / layout.folder)
        except OSError:
            if not (root / layout.folder).is_dir():  # else another process was first
                raise


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system releases when this process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sizes_file(root: Path, key: str) -> Path:
    return root / "annotations" / f"{key}.sizes.json"


def _is_whole(root: Path, key: str) -> bool:
    """Whether every file that was made is there, with its size, and its annotations are."""
    try:
        sizes = json.loads(_sizes_file(root, key).read_text("utf-8"))
        return (root / "annotations" / f"{key}.json").is_file() and all(
            (root / path).stat().st_size == size for path, size in sizes.items()
        )
    except (OSError, ValueError):
        return False


def _draw_all(layout: Layout, key: str, seed: int, scratch: Path) -> dict[str, dict[str, Any]]:
    """Draw all shots, on two processes where that is safe; returns annotations sorted by path.

    The helper process takes every other shot and has no pipe or lock in common with this one, so
    neither can hang if the other is killed. What it did not finish is drawn here.
    """
    mine, theirs = list(layout.shots), []
    helper, done = None, scratch / "helper.json"
    if _may_fork():
        mine, theirs = mine[::2], mine[1::2]
        helper = multiprocessing.get_context("fork").Process(
            target=_draw_to, args=(theirs, key, seed, scratch, done), daemon=True
        )
        helper.start()
    try:
        notes = _draw(mine, key, seed, scratch)
        if helper is not None:
            helper.join()
    finally:
        if helper is not None and helper.is_alive():  # interrupted: let go of the folder
            helper.terminate()
            helper.join()
    if helper is not None and helper.exitcode == 0:
        notes |= json.loads(done.read_text("utf-8"))
    else:  # what stopped the helper, if anything, shows itself here as an error of this process
        notes |= _draw(theirs, key, seed, scratch)
    return dict(sorted(notes.items()))


def _may_fork() -> bool:
    """Whether a forked helper is possible, useful and safe (no other thread holds a lock)."""
    return (
        "fork" in multiprocessing.get_all_start_methods()
        and (os.cpu_count() or 1) > 1
        and threading.active_count() == 1
        and not multiprocessing.current_process().daemon
    )


def _draw_to(shots: list[Shot], key: str, seed: int, scratch: Path, done: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    done.write_text(_compact(_draw(shots, key, seed, scratch)), "utf-8")


def _draw(shots: Iterable[Shot], key: str, seed: int, scratch: Path) -> dict[str, dict[str, Any]]:
    domain = DOMAINS[key]
    notes: dict[str, dict[str, Any]] = {}
    for shot in shots:
        drawn = render(domain, shot.pid, shot.camid, shot.number, seed=seed, spoilt=shot.spoilt)
        words = stream(seed, domain.number, WORDS, shot.pid, shot.camid, shot.number)
        low, high = domain.quality
        quality = int(low + words.integers(high - low + 1))
        drawn.picture.save(scratch / shot.path, **_options(shot.path, quality))
        notes[shot.path] = {
            "boxes": drawn.boxes,
            "caption": caption(drawn.person, drawn.view, words),
            "parts": part_captions(drawn.person),
        }
    return notes


def _options(path: str, quality: int) -> dict[str, Any]:
    """How Pillow is to write a file of this kind; a fast setting for PNG."""
    if path.endswith(".jpg"):
        return {"quality": quality}
    return {"compress_level": 1} if path.endswith(".png") else {}


def _compact(notes: Mapping[str, Any]) -> str:
    return json.dumps(notes, sort_keys=True, separators=(",", ":"))


def _write_once(path: Path, text: str) -> None:
    """Write `path` as a whole or not at all; nothing is done where it exists."""
    if path.exists():
        return
    partial = path.with_name(f".making-{path.name}-{os.getpid()}")
    partial.write_text(text, "utf-8")
    partial.replace(path)


def _remove_stale(root: Path) -> None:
    """Remove what killed processes left behind; what is young may still be worked on."""
    for left in sorted([*root.glob(".making-*"), *root.glob("*/.making-*")]):
        try:
            if time.time() - left.stat().st_mtime < STALE_SECONDS:
                continue
        except FileNotFoundError:  # its owner has just finished
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
