"""Anyone's own data set, from a CSV: `DATA/NAME.csv` or `DATA/NAME/dataset.csv`.

    path,pid,camid,split
    images/0007_hall.jpg,7,0,train

`path` is relative to the CSV. `split` is train, query or gallery. `pid` -1 is junk and dropped, 0
a distractor and kept in the gallery only. `camid` counts from 0; left empty, the image has no
camera, and nothing is ever removed for having the same one. NAME is the key in protocols.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from protocols.catalog import OTHER_GROUPS, OWN_GROUPS, UNIONS
from protocols.datasets.card import DatasetCard
from protocols.datasets.closed_set import closed_set
from protocols.datasets.dataset import Dataset
from protocols.datasets.folders import IMAGE_SUFFIXES, Place, readable, require_data_root
from protocols.errors import DataError, nearest
from protocols.types import JUNK_PID, Image

COLUMNS = ("path", "pid", "camid", "split")
SPLITS = ("train", "query", "gallery")
NO_CAMERA = -1

_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class _Row:
    """One line of the CSV: `path` is relative to the data root."""

    where: str
    path: str
    pid: int
    camid: int
    split: str


def find_csvs(data_root: Path, taken: Iterable[str]) -> dict[str, Path]:
    """Key -> CSV of every custom data set under the root, sorted by key.

    Files whose name could not stand in a protocol (letters, digits, `_`, `.`, `-`) are passed
    over. Raises DataError for a name in `taken` (built-in keys), a group's name, or two CSVs of
    one name.
    """
    require_data_root(data_root)
    found: dict[str, Path] = {}
    reserved = {k.lower(): k for k in (*taken, *OWN_GROUPS, *OTHER_GROUPS, *UNIONS)}
    with readable(data_root), os.scandir(data_root) as entries:
        children = sorted(data_root / e.name for e in entries if not e.name.startswith("."))
    for child in children:
        path = child if child.suffix == ".csv" else child / "dataset.csv"
        key = child.stem if child.suffix == ".csv" else child.name
        # isfile: a folder we may not enter is passed over, it need not be one of ours.
        if not _KEY.fullmatch(key) or not os.path.isfile(path):  # noqa: PTH113
            continue
        if key.lower() in reserved:
            raise DataError(f"{path}: the name {key!r} is built in; rename it.")
        if key in found:
            raise DataError(f"{key!r} is defined twice, by {found[key]} and {path}; keep one.")
        found[key] = path
    return dict(sorted(found.items()))


def read(key: str, path: Path, data_root: Path) -> Dataset:
    """The data set a CSV describes. Raises DataError naming file and line of what is wrong."""
    rows = _read_rows(path, data_root)
    _refuse_leaks(path, rows)
    people = [row for row in rows if row.pid != JUNK_PID]
    has = {row.split for row in people}
    if not has:
        raise DataError(f"{path}: no image is left; expected rows after the header.")
    if len(has & {"query", "gallery"}) == 1:
        lacking = "gallery" if "query" in has else "query"
        raise DataError(f"{path}: no {lacking} images; a test needs both query and gallery.")
    folder = path.parent.relative_to(data_root).as_posix()
    card = DatasetCard(
        key=key,
        name=key,
        citation="",
        year=0,
        terms="Yours to know.",
        folders=(folder,),
        can_be_source="train" in has,
        can_be_target="query" in has,
    )
    # Image has no word for "no camera": queries and gallery get two ids that nobody else has.
    unused = max((row.camid for row in people), default=NO_CAMERA) + 1
    nobody = {"train": unused, "query": unused, "gallery": unused + 1}
    train, query, gallery = (
        [
            Image(r.path, r.pid, nobody[split] if r.camid == NO_CAMERA else r.camid)
            for r in people
            if r.split == split
        ]
        for split in SPLITS
    )
    without = sum(row.camid == NO_CAMERA for row in people)
    notes = [f"{without} images without a camera: never removed as same-camera"] if without else []
    both = {image.pid for image in train} & {image.pid for image in query}
    if both:
        notes.append(f"{len(both)} identities are in its training set and among its queries")
    return closed_set(Place(card, data_root, folder), train, query, gallery, notes=tuple(notes))


def _read_rows(path: Path, data_root: Path) -> list[_Row]:
    try:
        with readable(path), path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(path, reader.fieldnames or ())
            return [_read_row(row, f"{path}:{reader.line_num}", path, data_root) for row in reader]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; save the CSV as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a CSV line ({error}).") from error


def _check_header(path: Path, header: Iterable[str]) -> None:
    header = list(header)
    expected = ",".join(COLUMNS)
    for column in header:
        if column not in COLUMNS:
            near = nearest(column, COLUMNS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise DataError(f"{path}:1: unknown column {column!r}.{hint} Expected: {expected}.")
    wrong = [c for c in COLUMNS if header.count(c) != 1]
    if wrong:
        raise DataError(f"{path}:1: column {wrong[0]!r} must be there once. Expected: {expected}.")


def _read_row(row: dict[str, str], where: str, path: Path, data_root: Path) -> _Row:
    if None in row or None in row.values():
        raise DataError(f"{where}: expected {len(COLUMNS)} values, as the header has.")
    split = row["split"].strip()
    if split not in SPLITS:
        raise DataError(f"{where}: split is {split!r}; expected train, query or gallery.")
    pid = _whole(row["pid"], "pid", JUNK_PID, where)
    camid = _whole(row["camid"], "camid", 0, where) if row["camid"].strip() else NO_CAMERA
    return _Row(where, _image_path(row["path"].strip(), where, path, data_root), pid, camid, split)


def _whole(text: str, column: str, least: int, where: str) -> int:
    """A whole number of at least `least`."""
    if not re.fullmatch(r"\s*-?[0-9]+\s*", text) or int(text) < least:
        raise DataError(f"{where}: {column} is {text!r}; expected a whole number from {least} up.")
    return int(text)


def _image_path(text: str, where: str, path: Path, data_root: Path) -> str:
    """The image's path relative to the data root, of a file that is there."""
    if not text or PurePosixPath(text).is_absolute():
        raise DataError(f"{where}: path is {text!r}; expected a path relative to {path.parent}.")
    relative = os.path.relpath(path.parent / text, data_root).replace(os.sep, "/")
    if relative.startswith("../"):
        raise DataError(f"{where}: {text!r} lies outside the data root {data_root}.")
    if PurePosixPath(relative).suffix.lower() not in IMAGE_SUFFIXES:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"{where}: {text!r} is not named as an image ({kinds}).")
    if not (data_root / relative).is_file():
        raise DataError(f"{where}: there is no file {data_root / relative}.")
    return relative


def _refuse_leaks(path: Path, rows: list[_Row]) -> None:
    """A file stands once in a split, and never both in train and in the test splits.

    In query and gallery it may: some data sets look for their queries in all images.
    """
    seen: dict[str, dict[str, str]] = {}
    for row in rows:
        earlier = seen.setdefault(row.path, {})
        for split, where in earlier.items():
            if split == row.split or "train" in (split, row.split):
                line = where.rsplit(":", 1)[1]
                raise DataError(
                    f"{row.where}: {row.path} is in {row.split} here and in {split} on line {line}."
                )
        earlier[row.split] = row.where
