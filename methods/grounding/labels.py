"""Part labels: where head, upper body and legs are in some images, and the file they are kept in.

Either boxes, from which masks for any patch grid are made, or masks on one grid.

The file is safetensors: one tensor, `boxes` [N, R, 4] float32 or `masks` [N, R, h, w] uint8, and
metadata: `format` and `version`, `parts` and `images` as JSON lists, `made` saying how.
"""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from methods.grounding import calibration
from methods.grounding.voting import Boxes, Masks, Rule, vote
from methods.interface import PARTS
from protocols.errors import DataError, ReIDError

FORMAT = "part-labels"
VERSION = "1"
SHOWN = 3


@dataclass(frozen=True, eq=False)
class PartLabels:
    """The parts, in the order of `PARTS`, of some images.

    images: paths below the data root with forward slashes, or bare file names, each once.
    boxes: [N, R, 4] float32; xmin, ymin, xmax, ymax as fractions 0..1 of the image's width and
    height; four NaN for a part that was not found. masks: [N, R, h, w] bool, all False for a part
    that was not found. One of the two is None. made: in words, how the labels came about.
    exact: the boxes are known to be true, so there is nothing to calibrate.
    Raises DataError for anything else.
    """

    images: tuple[str, ...]
    boxes: Boxes | None = None
    masks: Masks | None = None
    made: str = ""
    exact: bool = False

    def __post_init__(self) -> None:
        twice = [name for name, n in Counter(self.images).items() if n > 1]
        if twice:
            raise DataError(f"{len(twice)} images are named twice, {twice[0]} for example.")
        if self.boxes is not None and self.masks is None:
            _check_boxes(self.images, self.boxes)
        elif self.masks is not None and self.boxes is None:
            _check_masks(self.images, self.masks)
        else:
            raise DataError("Part labels are either boxes or masks.")

    @classmethod
    def stripes(cls, images: Sequence[str]) -> PartLabels:
        """Equal horizontal bands from top to bottom in place of the parts, the same everywhere."""
        count = len(PARTS)
        bands = np.array([(0, i / count, 1, (i + 1) / count) for i in range(count)], np.float32)
        boxes = np.tile(bands, (len(images), 1, 1))
        return cls(tuple(images), boxes=boxes, made="equal horizontal stripes", exact=True)

    @property
    def missing(self) -> Masks:
        """[N, R]: which parts were not found."""
        if self.boxes is not None:
            return np.asarray(np.isnan(self.boxes).any(-1))
        return np.asarray(~self._masks.any((-2, -1)))

    @cached_property
    def _by_path(self) -> dict[str, int]:
        return {path: row for row, path in enumerate(self.images)}

    @cached_property
    def _by_name(self) -> dict[str, int]:
        """Row of every image whose file name no other has."""
        names = [posixpath.basename(path) for path in self.images]
        times = Counter(names)
        return {name: row for row, name in enumerate(names) if times[name] == 1}

    @property
    def _masks(self) -> Masks:
        assert self.masks is not None
        return self.masks

    def find(self, paths: Sequence[str]) -> list[int | None]:
        """The row of each image, None for one without labels.

        By path, else by file name, if no other image here or in `paths` has that file name.
        """
        asked = Counter(posixpath.basename(path) for path in paths)
        found = []
        for path in paths:
            row, name = self._by_path.get(path), posixpath.basename(path)
            if row is None and asked[name] == 1:
                row = self._by_name.get(name)
            found.append(row)
        return found

    def select(self, paths: Sequence[str]) -> PartLabels:
        """The labels of these images, in this order and under these names.

        Raises DataError, naming the first of them, if some have none.
        """
        rows = self.find(paths)
        without = [path for path, row in zip(paths, rows, strict=True) if row is None]
        if without:
            more = f" and {len(without) - SHOWN} more" if len(without) > SHOWN else ""
            raise DataError(
                f"{len(without)} of {len(paths)} images have no part labels: "
                f"{', '.join(without[:SHOWN])}{more}. Labels are found by the path below the data "
                "root or by a file name that only one image has. Make them for these images too; "
                "in a CSV for `harness ground`, an image in which no part was found has one line "
                "with empty coordinates."
            )
        taken = np.array(rows, dtype=np.intp)
        if self.boxes is not None:
            return replace(self, images=tuple(paths), boxes=self.boxes[taken])
        return replace(self, images=tuple(paths), masks=self._masks[taken])

    def masks_for(
        self,
        paths: Sequence[str],
        grid: tuple[int, int],
        calibrate: bool = True,
        *,
        settings: calibration.Calibration | None = None,
        rule: Rule = "half",
    ) -> Masks:
        """Patch masks [N, R, h, w] of these images, in this order, on a `grid` of (h, w) patches.

        With `calibrate`, boxes that are extreme among those of `paths` (so give the images of one
        data set) are replaced first; exact boxes and masks are taken as they are.
        Raises DataError if images have no labels or the masks are on another grid.
        """
        mine = self.select(paths)
        if mine.boxes is not None:
            boxes = mine.boxes
            if calibrate and not self.exact:
                boxes = calibration.calibrate(boxes, settings).boxes
            return vote(boxes, grid, rule)
        there = mine._masks.shape[2:]
        if there != tuple(grid):
            raise DataError(
                f"The part masks are on {_by(there)} patches and the model has {_by(grid)} "
                "(rows x columns). Masks are made for one grid: use a model with that grid, or "
                "labels that are boxes, which serve any."
            )
        return mine._masks

    def write(self, path: Path) -> None:
        """Save to `path`; the caller sees to it that the file appears whole."""
        values: dict[str, np.ndarray[Any, Any]] = (
            {"boxes": np.ascontiguousarray(self.boxes)}
            if self.boxes is not None
            else {"masks": np.ascontiguousarray(self._masks, dtype=np.uint8)}
        )
        about = {
            "format": FORMAT,
            "version": VERSION,
            "parts": json.dumps(PARTS),
            "images": json.dumps(self.images),
            "made": self.made,
        }
        save_file(values, path, about)

    @classmethod
    def read(cls, path: Path) -> PartLabels:
        """The labels in a file. Raises DataError naming the file and what is wrong with it."""
        try:
            with safe_open(path, framework="numpy") as file:
                about = file.metadata() or {}
                values = {name: _tensor(file, name) for name in file.keys()}  # noqa: SIM118
            return _parse(about, values)
        except OSError as error:
            raise DataError(f"{path} can not be read: {error.strerror or error}.") from error
        except SafetensorError as error:
            raise DataError(
                f"{path} is no part-label file ({error}). `harness ground` makes them."
            ) from error
        except ReIDError as error:
            raise DataError(f"{path}: {error}") from error


def _tensor(file: Any, name: str) -> np.ndarray[Any, Any]:
    try:
        value: np.ndarray[Any, Any] = file.get_tensor(name)
    except (TypeError, AttributeError) as error:
        # numpy has no name for the types of some models' weights
        kind = file.get_slice(name).get_dtype()
        raise DataError(f"{name} is {kind}; expected boxes float32 or masks uint8.") from error
    return value


def _parse(about: dict[str, str], values: dict[str, np.ndarray[Any, Any]]) -> PartLabels:
    if about.get("format") != FORMAT:
        raise DataError(f"not a file of part labels (no metadata format={FORMAT}).")
    if about.get("version") != VERSION:
        raise DataError(
            f"written as version {about.get('version')} of part labels; this is version "
            f"{VERSION}. Make the file again with `harness ground`."
        )
    parts, images = _names(about, "parts"), _names(about, "images")
    if parts != PARTS:
        raise DataError(f"its parts are {', '.join(parts)}; expected {', '.join(PARTS)}.")
    if set(values) not in ({"boxes"}, {"masks"}):
        held = ", ".join(sorted(values)) or "none"
        raise DataError(f"expected one tensor, boxes or masks; it holds {held}.")
    if "boxes" in values:
        return PartLabels(images, boxes=values["boxes"], made=about.get("made", ""))
    masks = values["masks"]
    if masks.dtype != np.uint8 or (masks > 1).any():
        raise DataError(f"masks are {masks.dtype}; expected uint8, 0 or 1.")
    return PartLabels(images, masks=masks.astype(bool), made=about.get("made", ""))


def _names(about: dict[str, str], key: str) -> tuple[str, ...]:
    try:
        names = json.loads(about.get(key, ""))
    except (ValueError, RecursionError):  # the latter of brackets in brackets in brackets
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"its metadata {key} is no JSON list of names.")
    return tuple(names)


def _check_boxes(images: Sequence[str], boxes: Boxes) -> None:
    shape = (len(images), len(PARTS), 4)
    if boxes.shape != shape or boxes.dtype != np.float32:
        here = f"{boxes.dtype} {list(boxes.shape)}"
        raise DataError(f"boxes are {here}; expected float32 {list(shape)}.")
    holes = np.isnan(boxes)
    low, high = boxes[..., :2], boxes[..., 2:]
    with np.errstate(invalid="ignore"):
        wrong = {
            "is NaN in part; all four values are, or none": holes.any(-1) & ~holes.all(-1),
            "is not within 0..1": ((boxes < 0) | (boxes > 1)).any(-1),
            "is out of order; expected xmin, ymin, xmax, ymax": (low > high).any(-1),
        }
    for what, where in wrong.items():
        if where.any():
            row, part = np.argwhere(where)[0]
            box = ", ".join(f"{value:g}" for value in boxes[row, part])
            raise DataError(f"the box of {PARTS[part]} in {images[row]} {what}: {box}.")


def _check_masks(images: Sequence[str], masks: Masks) -> None:
    good = masks.ndim == 4 and masks.shape[:2] == (len(images), len(PARTS))
    if not good or 0 in masks.shape[2:] or masks.dtype != np.bool_:
        raise DataError(
            f"masks are {masks.dtype} {list(masks.shape)}; expected "
            f"[{len(images)}, {len(PARTS)}, rows, columns]."
        )


def _by(grid: Sequence[int]) -> str:
    return "x".join(str(n) for n in grid)
