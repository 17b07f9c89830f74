"""Boxes out of the ordinary are replaced by stripes (MUVA, section 3.2.3, Fig. 5).

The paper: boxes "extremely large or small", by "statistical characteristics of bounding boxes",
"are rectified with stripe-like windows that focus on the top, middle or bottom areas", "for each
part" by itself. It gives no numbers and its released code has none of it. Here:

Extreme. Let z be the logarithm of a height (and, apart, of a width) among the boxes of one part
in one data set. A box is extreme where |z - median| > `deviations` * s, s being the larger of
1.4826 * median |z - median| and `floor`. Logarithms, because half the usual size is as odd as
twice; medians, because the very boxes sought would move means; a floor, because people in one
data set can be so alike that ordinary ones would look odd. With the defaults a box is never
replaced for a side within 0.59 to 1.69 times the median.

Stripe. As wide as the image; from the median top to the median bottom of that part's boxes in
that data set, so that it lies where the part does; or where `windows` says.

A part that was not found stays so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from methods.grounding.voting import Boxes, Masks
from methods.interface import PARTS

# a box without any height is as extreme as one of a thousandth of the image
SMALLEST = 1e-3
# the standard deviation of a normal distribution in units of its median absolute deviation
NORMAL = 1.4826


@dataclass(frozen=True)
class Calibration:
    """What counts as extreme, and what takes its place.

    `deviations` and `floor` (of the logarithm of a side) are the module's; `windows`: for each
    part (top, bottom) as fractions of the image's height, None for the medians.
    """

    deviations: float = 3.5
    floor: float = 0.15
    windows: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True)
class Calibrated:
    """boxes: [N, R, 4], some replaced; replaced: [N, R] bool, which."""

    boxes: Boxes
    replaced: Masks


def calibrate(boxes: Boxes, settings: Calibration | None = None) -> Calibrated:
    """The boxes [N, R, 4] (fractions, NaN where missing) of one data set, extreme ones replaced."""
    settings = settings or Calibration()
    boxes, replaced = boxes.copy(), np.zeros(boxes.shape[:2], dtype=bool)
    for part in range(len(PARTS)):
        found = ~np.isnan(boxes[:, part, 0])
        if not found.any():
            continue
        mine = boxes[found, part]
        odd = _extreme(mine[:, 3] - mine[:, 1], settings) | _extreme(
            mine[:, 2] - mine[:, 0], settings
        )
        top, bottom = settings.windows[part] if settings.windows else np.median(mine[:, 1::2], 0)
        mine[odd] = (0, top, 1, bottom)
        boxes[found, part] = mine
        replaced[found, part] = odd
    return Calibrated(boxes, replaced)


def _extreme(sides: np.ndarray, settings: Calibration) -> Masks:
    """Which of some heights or widths are far from their median."""
    z = np.log(np.maximum(sides, SMALLEST, dtype=np.float64))
    away = np.abs(z - np.median(z))
    spread = max(NORMAL * float(np.median(away)), settings.floor)
    return away > settings.deviations * spread
