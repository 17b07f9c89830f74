"""What lies beside the runs when folders are joined: plans, reports of costs, part labels.

Files that other machines have written are taken as they are only if they are plain files.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path

from harness.files import file_digest, write_atomic, write_json
from harness.grounding.record import OWN, ground_folder, record_file
from harness.plans import FOLDER, PlanRecord, read
from protocols.errors import ReIDError

COSTS = "costs"
"""The folder of reports of `harness cost`."""


@dataclass
class MergedFiles:
    """Names of files that are new; in words, those that differ, and those that are left alone."""

    new: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def copy(source: Path, target: Path, sha256: str | None = None) -> None:
    """Copy a file, whole or not at all. Raises ReIDError if it can't be or is not `sha256`."""

    def write(temporary: Path) -> None:
        try:
            shutil.copyfile(source, temporary)
        except PermissionError as error:
            raise ReIDError(f"{source} can't be read ({error.strerror}).") from error
        if sha256 is not None and file_digest(temporary) != sha256:
            raise ReIDError(f"{source} is not the file that its record was written with.")

    write_atomic(target, write)


def irregular(folder: Path) -> str:
    """What in a run's folder is neither a file nor a folder, in words; nothing if all is well.

    A link could lead anywhere, and a pipe is never read to its end.
    """
    for path in (folder, folder / "targets", folder / "figures"):
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            return f"{path} is no folder; {folder} is left alone."
        try:
            names = sorted(path.iterdir()) if path.exists() else []
        except OSError as error:
            return f"{path} can't be read ({error.strerror}); {folder} is left alone."
        for one in names:
            if one.is_symlink() or not (one.is_dir() or one.is_file()):
                return f"{one} is neither a file nor a folder; {folder} is left alone."
    return ""


def merge_plans(folder: Path, out: Path, dry_run: bool) -> MergedFiles:
    """Add the plans of another folder; one that is in both lists the runs of both."""
    done = MergedFiles()
    for path in _files(folder / FOLDER, ".json", done):
        try:
            theirs = read(path)
            place = theirs.path(out)
            joined = _joined(read(place), theirs) if place.exists() else theirs
        except ReIDError as error:
            done.left.append(str(error))
            continue
        if place.exists() and joined == read(place):
            continue
        done.new.append(f"{FOLDER}/{path.name}")
        if not dry_run:
            write_json(place, asdict(joined))
    return done


def _joined(mine: PlanRecord, theirs: PlanRecord) -> PlanRecord:
    """The earlier of two plans with the same id, with the runs of both."""
    first, later = sorted(
        (mine, theirs), key=lambda p: (datetime.fromisoformat(p.created_at), p.command)
    )
    return replace(
        first,
        runs=tuple(dict.fromkeys((*first.runs, *later.runs))),
        settings={**later.settings, **first.settings},
    )


def merge_files(folder: Path, out: Path, dry_run: bool) -> MergedFiles:
    """Add reports of costs and part labels, these with their records; what is there stays.

    A report is a measurement, so another one of the same is no conflict. Labels that differ are.
    """
    done = MergedFiles()
    for report in _files(folder / COSTS, ".json", done):
        place = out / COSTS / report.name
        if not place.exists():
            _take([report], place.parent, done, dry_run)
        elif file_digest(place) != file_digest(report):
            done.left.append(f"{report} was measured at another time than {place}, which is kept.")
    for labels in _files(ground_folder(folder), OWN, done):
        place = ground_folder(out) / labels.name
        if not place.exists():
            record = [path for path in [record_file(labels)] if _plain(path)]
            _take([*record, labels], place.parent, done, dry_run)
        elif file_digest(place) != file_digest(labels):
            done.conflicts.append(f"{labels} is not as {place}, which is kept.")
    return done


def _take(files: Iterable[Path], place: Path, done: MergedFiles, dry_run: bool) -> None:
    for path in files:
        if not dry_run:
            copy(path, place / path.name)
        done.new.append(f"{place.name}/{path.name}")


def _files(folder: Path, suffix: str, done: MergedFiles) -> list[Path]:
    """The plain files with that suffix in a folder, which need not be there, sorted."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    found = [one for one in sorted(folder.glob(f"*{suffix}")) if one.name[0] != "."]
    done.left += [f"{one} is no plain file; it is left alone." for one in found if not _plain(one)]
    return [one for one in found if _plain(one)]


def _plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
