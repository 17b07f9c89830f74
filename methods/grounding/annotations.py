"""Boxes that people or detectors have drawn, from a CSV.

    image,part,xmin,ymin,xmax,ymax
    0002_c1s1_000451_03.jpg,head,21,2,43,30

`image` is a path below the data root, or a file name; coordinates are pixels from the top left
corner. A part without a line was not found; so was one whose four coordinates are empty, which is
how a line can say that nothing at all was found in an image.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from methods.grounding.labels import PartLabels
from methods.grounding.voting import Boxes
from methods.interface import PARTS
from protocols.datasets.folders import readable
from protocols.errors import DataError, nearest

COLUMNS = ("image", "part", "xmin", "ymin", "xmax", "ymax")
SPELLINGS = {**{part: row for row, part in enumerate(PARTS)}, "upper body": 1, "upper_body": 1}
"""What a part may be called -> its row in `PARTS`."""

Pixels = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Line:
    where: str
    box: Pixels | None


@dataclass(frozen=True)
class Annotations:
    """The lines of a CSV: image -> row in `PARTS` -> line."""

    path: Path
    lines: Mapping[str, Mapping[int, _Line]]

    def labels(self, paths: Sequence[str], size: Callable[[str], tuple[int, int]]) -> PartLabels:
        """The boxes of these images below the data root; `size` tells their width and height.

        Raises DataError for images without a line, and for a box that leaves its image.
        """
        boxes = np.full((len(self.lines), len(PARTS), 4), np.nan, dtype=np.float32)
        known = PartLabels(tuple(self.lines), boxes=boxes, made=f"annotations, {self.path.name}")
        try:
            chosen = known.select(paths)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error
        assert chosen.boxes is not None
        for row, (path, there) in enumerate(zip(paths, known.find(paths), strict=True)):
            assert there is not None
            lines = self.lines[known.images[there]]
            chosen.boxes[row] = _fractions(lines, path, size(path))
        return PartLabels(chosen.images, boxes=chosen.boxes, made=chosen.made)


def read_csv(path: Path) -> Annotations:
    """The boxes in a CSV. Raises DataError naming file and line of what is wrong."""
    lines: dict[str, dict[int, _Line]] = {}
    try:
        with readable(path), path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise DataError(f"{path}:1: expected the header {','.join(COLUMNS)}.")
            for row in reader:
                _add(lines, row, f"{path}:{reader.line_num}")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; save the CSV as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not a CSV line ({error}).") from error
    if not lines:
        raise DataError(f"{path}: no lines after the header.")
    return Annotations(path, lines)


def _add(lines: dict[str, dict[int, _Line]], row: Mapping[str, str], where: str) -> None:
    if None in row or None in row.values():
        raise DataError(f"{where}: expected {len(COLUMNS)} values, as the header has.")
    image, part = row["image"].strip().replace("\\", "/"), row["part"].strip().lower()
    if not image:
        raise DataError(f"{where}: expected the path or the file name of an image first.")
    if part not in SPELLINGS:
        near = nearest(part, PARTS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"{where}: part is {part!r}; expected {', '.join(PARTS)}.{hint}")
    mine = lines.setdefault(image, {})
    there = mine.get(SPELLINGS[part])
    if there:
        raise DataError(f"{where}: a second {part} of {image}; the first is {there.where}.")
    mine[SPELLINGS[part]] = _Line(where, _box([row[c].strip() for c in COLUMNS[2:]], where))


def _box(texts: Sequence[str], where: str) -> Pixels | None:
    if not any(texts):
        return None
    try:
        x0, y0, x1, y1 = (float(text) for text in texts)
        good = 0 <= x0 < x1 and 0 <= y0 < y1
    except ValueError:
        good = False
    if not good:
        raise DataError(
            f"{where}: the box is {','.join(texts)}; expected xmin,ymin,xmax,ymax in pixels, "
            "0 <= xmin < xmax and 0 <= ymin < ymax, or four empty values for a part not found."
        )
    return x0, y0, x1, y1


def _fractions(lines: Mapping[int, _Line], path: str, size: tuple[int, int]) -> Boxes:
    """The boxes [R, 4] of one image of `size` (width, height)."""
    width, height = size
    boxes = np.full((len(PARTS), 4), np.nan, dtype=np.float32)
    for part, line in lines.items():
        if line.box is None:
            continue
        _, _, right, bottom = line.box
        if right > width or bottom > height:
            raise DataError(
                f"{line.where}: the box ends at {right:g},{bottom:g}, outside of {path}, which "
                f"is {width} x {height} pixels."
            )
        boxes[part] = np.array(line.box) / (width, height, width, height)
    return boxes
