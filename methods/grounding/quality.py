"""How near boxes, and the masks made of them, are to the truth; before and after calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from methods.grounding.calibration import Calibration, calibrate
from methods.grounding.simulated import KINDS, simulate
from methods.grounding.voting import Boxes, Masks, Rule, vote

GRID = (16, 8)
"""Patches of a person image, rows and columns, as MUVA's encoder has them (section 4.2)."""


@dataclass(frozen=True)
class Quality:
    """Means of intersection over union with the truth, 0..1, over the parts that can be seen.

    A part that can be seen and was not found counts as 0. iou: over all parts; parts: of each one,
    in the order of `PARTS`; both of boxes. mask_iou, mask_parts: of the masks voted from them.
    None where there is nothing to see. hidden: how many parts can't be seen; found: how many of
    those have a box all the same.
    """

    iou: float | None
    parts: tuple[float | None, ...]
    mask_iou: float | None
    mask_parts: tuple[float | None, ...]
    hidden: int
    found: int


@dataclass(frozen=True)
class Comparison:
    """An expert with errors in a share (`rate`) of parts, its boxes raw and calibrated.

    replaced: of each part, the share of images in which calibration replaced the box.
    """

    rate: float
    raw: Quality
    calibrated: Quality
    replaced: tuple[float, ...]

    @property
    def gain(self) -> float:
        """What calibration adds to the mean IoU of boxes."""
        return (self.calibrated.iou or 0.0) - (self.raw.iou or 0.0)


def box_iou(boxes: Boxes, true: Boxes) -> np.ndarray:
    """Intersection over union of boxes [..., 4]: [...]; 0 where one is missing or both empty."""
    one, two = boxes.astype(np.float64), true.astype(np.float64)
    low, high = np.maximum(one[..., :2], two[..., :2]), np.minimum(one[..., 2:], two[..., 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    areas = sum((b[..., 2:] - b[..., :2]).prod(-1) for b in (one, two))
    either = np.asarray(areas - both)
    return np.nan_to_num(np.divide(both, either, out=np.zeros(both.shape), where=either > 0))


def mask_iou(masks: Masks, true: Masks) -> np.ndarray:
    """Intersection over union of masks [..., h, w]: [...]; 0 where both are empty."""
    both, either = (masks & true).sum((-2, -1)), (masks | true).sum((-2, -1))
    return np.asarray(both / np.maximum(either, 1))


def measure(
    boxes: Boxes, true: Boxes, grid: tuple[int, int] = GRID, rule: Rule = "half"
) -> Quality:
    """How near boxes [N, R, 4] are to the true ones; masks are voted on `grid` by `rule`."""
    seen = np.asarray(~np.isnan(true).any(-1))
    of_boxes = box_iou(boxes, true)
    of_masks = mask_iou(vote(boxes, grid, rule), vote(true, grid, rule))
    return Quality(
        *_means(of_boxes, seen),
        *_means(of_masks, seen),
        hidden=int((~seen).sum()),
        found=int((~seen & ~np.isnan(boxes).any(-1)).sum()),
    )


def _means(values: np.ndarray, seen: Masks) -> tuple[float | None, tuple[float | None, ...]]:
    """Of values [N, R]: the mean over what is seen, and of each part."""
    parts = zip(values.T, seen.T, strict=True)
    every = tuple(float(mine[here].mean()) if here.any() else None for mine, here in parts)
    return float(values[seen].mean()) if seen.any() else None, every


def compare(
    true: Boxes,
    rates: Sequence[float],
    seed: int,
    settings: Calibration | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    identities: Sequence[int] | np.ndarray[Any, Any] | None = None,
    grid: tuple[int, int] = GRID,
) -> list[Comparison]:
    """True boxes [N, R, 4] of one data set, spoilt at each of `rates` (0..1) and calibrated.

    `identities` [N] as for `calibrate`. Raises what `simulate` and `calibrate` do.
    """
    out = []
    for rate in rates:
        given = simulate(true, rate, seed, kinds)
        better = calibrate(given, settings, identities)
        share = tuple(float(one) for one in better.replaced.mean(0))
        raw, calibrated = measure(given, true, grid), measure(better.boxes, true, grid)
        out.append(Comparison(rate, raw, calibrated, share))
    return out
