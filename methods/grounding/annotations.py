"""Boxes that people or detectors have drawn, from a CSV.

    image,part,xmin,ymin,xmax,ymax
    0002_c1s1_000451_03.jpg,head,21,2,43,30

`image` is a path below the data root, or a file name; coordinates are pixels from the top left
corner. A part without a line was not found; so was one whose four coordinates are empty, which is
how a line can say that nothing at all was found in an image. Lines may name an image either way.
"""

from __future__ import annotations

import csv
import posixpath
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from methods.grounding.labels import PartLabels
from methods.grounding.voting import Boxes
from methods.interface import PARTS
from protocols.datasets.folders import readable
from protocols.errors import DataError, nearest

COLUMNS = ("image", "part", "xmin", "ymin", "xmax", "ymax")
SPELLINGS = {**{part: row for row, part in enumerate(PARTS)}, "upper body": 1, "upper_body": 1}
"""What a part may be called -> its row in `PARTS`."""
SHOWN = 60
"""Characters of a wrong value in a message: an open quote swallows the rest of a file."""

Pixels = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Line:
    where: str
    number: int
    box: Pixels | None


ImageLines = Mapping[int, _Line]
"""Row in `PARTS` -> line, of one image."""


@dataclass(frozen=True)
class Annotations:
    """The lines of a CSV: image, as it is named there -> its lines."""

    path: Path
    lines: Mapping[str, ImageLines]

    def labels(self, paths: Sequence[str], size: Callable[[str], tuple[int, int]]) -> PartLabels:
        """The boxes of these images below the data root; `size` tells their width and height.

        Raises DataError for images without a line, for a second line of a part and for a box that
        leaves its image.
        """
        joined = self._joined(paths)
        known = self._known(joined)
        try:
            chosen = known.select(paths)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from error
        assert chosen.boxes is not None
        for row, (path, there) in enumerate(zip(paths, known.find(paths), strict=True)):
            assert there is not None
            chosen.boxes[row] = _fractions(joined[known.images[there]], path, size(path))
        return PartLabels(chosen.images, boxes=chosen.boxes, made=chosen.made)

    def unused(self, datasets: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
        """Lines of images that none of the `datasets` (paths below the root) has.

        Returns (file:line, image as it is named there), in the order of the file.
        """
        left = set(self.lines)
        for paths in datasets:
            joined = self._joined(paths)
            known = self._known(joined)
            left -= self.lines.keys() - joined.keys()  # joined to the lines under a path
            left -= {known.images[row] for row in known.find(paths) if row is not None}
        # names are in the order of their first lines; those of one image may lie anywhere
        lines = [(line, name) for name in left for line in self.lines[name].values()]
        return [(line.where, name) for line, name in sorted(lines, key=lambda one: one[0].number)]

    def _known(self, lines: Mapping[str, ImageLines]) -> PartLabels:
        """Which images there are, with empty boxes."""
        boxes = np.full((len(lines), len(PARTS), 4), np.nan, dtype=np.float32)
        return PartLabels(tuple(lines), boxes=boxes, made=f"annotations, {self.path.name}")

    def _joined(self, paths: Sequence[str]) -> dict[str, ImageLines]:
        """`lines`, those under the bare name of one of `paths` put to those under the path."""
        joined = dict(self.lines)
        names = Counter(posixpath.basename(path) for path in paths)
        for path in paths:
            name = posixpath.basename(path)
            if name == path or names[name] > 1 or path not in joined or name not in joined:
                continue
            whole, bare = joined[path], joined.pop(name)
            for part in sorted(whole.keys() & bare.keys()):
                raise DataError(
                    f"{bare[part].where}: a second {PARTS[part]} of {path}, which is called "
                    f"{name} here; the first is {whole[part].where}."
                )
            joined[path] = {**whole, **bare}
        return joined


def read_csv(path: Path) -> Annotations:
    """The boxes in a CSV. Raises DataError naming file and line of what is wrong."""
    lines: dict[str, dict[int, _Line]] = {}
    try:
        with readable(path), path.open(encoding="utf-8-sig", newline="") as file:
            records = _records(path, file)
            _, header = next(records, (0, []))
            if tuple(header) != COLUMNS:
                raise DataError(f"{path}:1: expected the header {','.join(COLUMNS)}.")
            for number, values in records:
                _add(lines, values, f"{path}:{number}", number)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text; save the CSV as UTF-8.") from error
    if not lines:
        raise DataError(f"{path}: no lines after the header.")
    _refuse_ambiguous(lines)
    return Annotations(path, lines)


def _refuse_ambiguous(lines: Mapping[str, ImageLines]) -> None:
    """Raise DataError for lines under a file name where several paths end in it."""
    paths: dict[str, list[str]] = {}
    for image in lines:
        if "/" in image:
            paths.setdefault(posixpath.basename(image), []).append(image)
    for name, several in paths.items():
        if len(several) > 1 and name in lines:
            first = next(iter(lines[name].values()))
            raise DataError(
                f"{first.where}: {name} may be {' or '.join(several[:2])}; name the image by its "
                "path below the data root."
            )


def _records(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """(number of the line where it begins, values) of every record that is not blank."""
    reader = csv.reader(file, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f'{path}: not CSV from line {number} on ({error}). Is a quote (") not closed?'
            ) from error
        if values is None:
            return
        if values:
            yield number, values


def _add(
    lines: dict[str, dict[int, _Line]], values: Sequence[str], where: str, number: int
) -> None:
    if len(values) != len(COLUMNS):
        raise DataError(f"{where}: expected {len(COLUMNS)} values, as the header has.")
    image, part, *box = (value.strip() for value in values)
    image, part = image.replace("\\", "/"), part.lower()
    if not image:
        raise DataError(f"{where}: expected the path or the file name of an image first.")
    if part not in SPELLINGS:
        near = nearest(part, PARTS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise DataError(f"{where}: part is {part[:SHOWN]!r}; expected {', '.join(PARTS)}.{hint}")
    mine = lines.setdefault(image, {})
    there = mine.get(SPELLINGS[part])
    if there:
        raise DataError(f"{where}: a second {part} of {image}; the first is {there.where}.")
    mine[SPELLINGS[part]] = _Line(where, number, _box(box, where))


def _box(texts: Sequence[str], where: str) -> Pixels | None:
    if not any(texts):
        return None
    try:
        x0, y0, x1, y1 = (_number(text) for text in texts)
        good = 0 <= x0 < x1 and 0 <= y0 < y1
    except ValueError:
        good = False
    if not good:
        raise DataError(
            f"{where}: the box is {','.join(texts)}; expected xmin,ymin,xmax,ymax in pixels, "
            "0 <= xmin < xmax and 0 <= ymin < ymax, or four empty values for a part not found."
        )
    return x0, y0, x1, y1


def _number(text: str) -> float:
    if "_" in text:  # Python reads 1_8 as 18
        raise ValueError(text)
    return float(text)


def _fractions(lines: ImageLines, path: str, size: tuple[int, int]) -> Boxes:
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
