"""Part labels: where head, upper body and legs are in some images.

Either boxes, from which masks for any patch grid are made, or masks on one grid.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from methods.grounding import calibration
from methods.grounding.label_checks import check_boxes, check_discarded, check_masks
from methods.grounding.label_file import read_fields, write_fields
from methods.grounding.voting import RULES, Boxes, Masks, Rule, vote
from methods.interface import PARTS
from protocols.errors import DataError, ReIDError, UnknownName

SHOWN = 3


@dataclass(frozen=True, eq=False)
class PartLabels:
    """The parts, in the order of `PARTS`, of some images.

    images: paths below the data root with forward slashes, or bare file names, each once.
    boxes: [N, R, 4] float32; xmin, ymin, xmax, ymax as fractions 0..1 of the image's width and
    height; four NaN for a part that was not found. masks: [N, R, h, w] bool, all False for a part
    that was not found. One of the two is None. made: in words, how the labels came about.
    exact: the boxes are known to be true, so there is nothing to calibrate.
    calibrated: [N, R, 4], what calibration with `settings` made of the boxes of all these images;
    None where nobody has calibrated them. discarded: [N, R] bool, the parts of which nobody knows
    where they are: they have no mask, and no loss looks at it. rule: how boxes become masks.
    Raises DataError for anything else.
    """

    images: tuple[str, ...]
    boxes: Boxes | None = None
    masks: Masks | None = None
    made: str = ""
    exact: bool = False
    calibrated: Boxes | None = None
    discarded: Masks | None = None
    rule: Rule = "half"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        twice = [name for name, n in Counter(self.images).items() if n > 1]
        if twice:
            raise DataError(f"{len(twice)} images are named twice, {twice[0]} for example.")
        if (self.boxes is None) == (self.masks is None):
            raise DataError("Part labels are either boxes or masks.")
        if self.boxes is not None:
            check_boxes(self.images, self.boxes)
        else:
            check_masks(self.images, self._masks)
        if self.calibrated is not None:
            if self.boxes is None:
                raise DataError("masks have no calibrated boxes.")
            check_boxes(self.images, self.calibrated)
        if self.discarded is not None:
            check_discarded(self.images, self.discarded)
        if self.rule not in RULES:
            raise UnknownName("voting rule", self.rule, RULES)

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

    @property
    def replaced(self) -> Masks | None:
        """[N, R]: which boxes calibration has moved, or made where none was; None without any."""
        if self.boxes is None or self.calibrated is None:
            return None
        holes = np.isnan(self.boxes) & np.isnan(self.calibrated)
        return np.asarray(~((self.boxes == self.calibrated) | holes).all(-1))

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

        def of(values: Any) -> Any:
            return None if values is None else values[taken]

        return replace(
            self,
            images=tuple(paths),
            boxes=of(self.boxes),
            masks=of(self.masks),
            calibrated=of(self.calibrated),
            discarded=of(self.discarded),
        )

    def known_for(self, paths: Sequence[str]) -> Masks | None:
        """[N, R]: the parts that were not discarded; None where none was.

        Raises DataError if images have no labels.
        """
        discarded = self.select(paths).discarded
        return None if discarded is None or not discarded.any() else ~discarded

    def masks_for(
        self,
        paths: Sequence[str],
        grid: tuple[int, int],
        calibrate: bool = True,
        *,
        settings: calibration.Calibration | None = None,
        rule: Rule | None = None,
    ) -> Masks:
        """Patch masks [N, R, h, w] of these images, in this order, on a `grid` of (h, w) patches.

        With `calibrate`, calibrated boxes are taken; where there are none, boxes that are extreme
        among those of `paths` (so give the images of one data set) are replaced first. Exact boxes
        and masks are taken as they are, discarded ones are empty masks. `settings` and `rule`
        are the labels' own unless given. Raises DataError if images have no labels or the masks
        are on another grid.
        """
        mine = self.select(paths)
        masks = mine._on(grid, calibrate, settings, rule or self.rule)
        if mine.discarded is not None and mine.discarded.any():
            masks = masks & ~mine.discarded[..., None, None]
        return masks

    def _on(
        self,
        grid: tuple[int, int],
        calibrate: bool,
        settings: calibration.Calibration | None,
        rule: Rule,
    ) -> Masks:
        mine = self
        if mine.boxes is not None:
            boxes = mine.boxes
            if calibrate and not self.exact:
                if settings is None and mine.calibrated is not None:
                    boxes = mine.calibrated
                else:
                    settings = settings or calibration.Calibration(**self.settings)
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
        write_fields(path, {each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def read(cls, path: Path) -> PartLabels:
        """The labels in a file. Raises DataError naming the file and what is wrong with it."""
        try:
            return cls(**read_fields(path))
        except OSError as error:
            raise DataError(f"{path} can not be read: {error.strerror or error}.") from error
        except SafetensorError as error:
            raise DataError(
                f"{path} is no part-label file ({error}). `harness ground` makes them."
            ) from error
        except ReIDError as error:
            raise DataError(f"{path}: {error}") from error


def _by(grid: Sequence[int]) -> str:
    return "x".join(str(n) for n in grid)
