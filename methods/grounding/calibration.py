"""Boxes out of the ordinary are replaced by windows (MUVA, section 3.2.3, Fig. 5).

The paper: boxes "extremely large or small", by "statistical characteristics of bounding boxes",
"are rectified with stripe-like windows that focus on the top, middle or bottom areas of the entire
image", "for each part" by itself. It gives no numbers, not the width of a window either, and its
released code has none of it. Here, of one part in one data set:

Usual. Four values of a box are looked at: the logarithms of its height and width (half the usual
size is as odd as twice) and its centre from left to right and from top to bottom. Of each, sorted,
the shortest interval that holds 40 % of the boxes is where they crowd: its middle is the usual
value, its length, in units of a normal distribution's, the spread (`FEW`: somewhat more for few
boxes). As long as wrong boxes are of many kinds, the crowd is of right ones even where half of all
are wrong; a median or a median deviation would count each of the wrong ones in. Boxes that no part
can have (`whole`) are left out.

Extreme. A box is extreme if it is a whole body's, or if one of the four values is further from the
usual one than `deviations` times the spread, which is at least `floor`. Three things are never
extreme, however alike the other boxes are. A box less than `large` times as large as usual. One
more than `small` times as large: what an obstacle leaves of a part is a right box, and looks as
one does that has split the part. And a centre between the usual top and bottom, for the same
reason. Then again with what has passed, up to `ROUNDS` times: what is usual shows better without
the worst.

Window. From the median top to the median bottom of the boxes that have passed, or where `windows`
says; as wide as `width` says.

What it can't mend: parts that nobody found (but see `missing`); pieces of a part that could be what
an obstacle leaves; boxes that have grown little; somebody else's part where, in that data set, the
part may be anywhere. It does harm, if few boxes are wrong, where people differ so much in place and
size that the usual window is far from most of them; and of a few dozen images one that is rightly
unusual weighs much. `harness show calibration` measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from methods.grounding.voting import Boxes, Masks
from protocols.errors import DataError, ReIDError, UnknownName

SMALLEST = 1e-3
"""A box without any height is as extreme as one of a thousandth of the image."""
CROWD = 0.4
"""The share of boxes whose shortest interval says what is usual."""
NORMAL = 1.0488
"""Length of the shortest interval with 40 % of a normal distribution, in standard deviations."""
FEW = 14
"""Of n values the shortest interval is too short by chance: by a factor of about 1 + FEW / n."""
ROUNDS = 3

Fraction = Annotated[float, Field(ge=0, le=1)]


class Calibration(BaseModel):
    """What counts as extreme, and what takes its place; the module says how it is judged.

    deviations: how many spreads from the usual value are too many.
    floor: the least spread, of a centre as a fraction of the image, of a side's logarithm.
    large, small: multiples of the usual side; what lies between them is never extreme.
    whole: a box higher than this, of the image, is a whole body's; None: no box is by that alone.
    centres: whether boxes of usual size can be extreme for where they are.
    windows: for each part (top, bottom), fractions of the image's height; None: the usual ones.
    width: of a window. "usual": the median left and right; "image": the image's.
    missing: a part that was not found stays so ("keep"), or gets the window.
    consistent: a box is extreme, too, if it is far from those of the same identity: its four
    values are compared with the medians of that identity's boxes, by the spread of such differences
    in the data set. Of the stand-ins that changes little, and costs where few boxes are wrong: an
    identity's boxes differ nearly as much as everybody's. images: boxes of an identity that must
    have passed for that.
    least: boxes of a part that must pass; with fewer, there is nothing to go by and all stay.

    The paper's "stripe-like" can be read as `width="image"`. The default is the other one, by
    measurement: of the stand-ins' boxes, with a simulated expert's errors in a fifth of them,
    windows across the image gain less than half of what windows of the usual width do, since
    heads are a quarter of the image wide.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    deviations: float = Field(default=3.3, gt=0)
    floor: float = Field(default=0.06, gt=0)
    large: float = Field(default=2.0, ge=1)
    small: float = Field(default=0.15, ge=0, le=1)
    whole: float | None = Field(default=0.8, gt=0, le=1)
    centres: bool = True
    windows: tuple[tuple[Fraction, Fraction], ...] | None = None
    width: Literal["image", "usual"] = "usual"
    missing: Literal["keep", "window"] = "keep"
    consistent: bool = False
    images: int = Field(default=4, ge=3)
    least: int = Field(default=10, ge=1)

    @model_validator(mode="after")
    def _windows_in_order(self) -> Self:
        for top, bottom in self.windows or ():
            if top >= bottom:
                raise ValueError(f"windows: the top {top:g} is not above the bottom {bottom:g}")
        return self

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Calibration:
        """The defaults but for `values`.

        Raises UnknownName for a key that is not there, ReIDError for a value that does not fit,
        naming the key and what was expected.
        """
        for key in values:
            if key not in cls.model_fields:
                hint = f"The settings: {', '.join(cls.model_fields)}."
                raise UnknownName("setting of calibration", key, cls.model_fields, hint)
        try:
            return cls(**values)
        except ValidationError as error:
            raise ReIDError("\n".join(map(_problem, error.errors()))) from None


@dataclass(frozen=True)
class Calibrated:
    """boxes: [N, R, 4], some replaced; replaced: [N, R] bool, which; filled gaps among them."""

    boxes: Boxes
    replaced: Masks


def calibrate(
    boxes: Boxes,
    settings: Calibration | None = None,
    identities: Sequence[int] | np.ndarray[Any, Any] | None = None,
) -> Calibrated:
    """The boxes [N, R, 4] (fractions, NaN where missing) of one data set, extreme ones replaced.

    `identities` [N], whole numbers, are needed by `consistent`; below 0 stands for nobody. The
    order of the images does not matter. Raises DataError where shapes or windows do not fit,
    ReIDError for `consistent` without identities.
    """
    settings = settings or Calibration()
    whose = None if identities is None else np.asarray(identities)
    _check(boxes, settings, whose)
    boxes, replaced = boxes.copy(), np.zeros(boxes.shape[:2], dtype=bool)
    for part in range(boxes.shape[1]):
        found = ~np.isnan(boxes[:, part]).any(-1)
        mine = boxes[found, part].astype(np.float64)
        extreme = _judge(mine, settings)
        if settings.consistent and whose is not None:
            extreme |= _inconsistent(mine, ~extreme, whose[found], settings)
        if (~extreme).sum() < settings.least:
            continue
        replaced[found, part] = extreme
        if settings.missing == "window":
            replaced[~found, part] = True
        boxes[replaced[:, part], part] = _window(mine[~extreme], part, settings)
    return Calibrated(boxes, replaced)


def _judge(boxes: np.ndarray, settings: Calibration) -> Masks:
    """Which of the boxes [n, 4] of one part are extreme; all, if too few are left to judge by."""
    whole = boxes[:, 3] - boxes[:, 1] > (settings.whole or 1)
    values, extreme = _values(boxes), whole
    for _ in range(ROUNDS):
        passed = ~extreme
        if passed.sum() < settings.least:
            return np.ones(len(boxes), dtype=bool)
        usual, spread = np.array([crowd(column) for column in values[passed].T]).T
        top, bottom = np.median(boxes[passed, 1::2], 0)
        between = (values[:, 3] > top) & (values[:, 3] < bottom)
        before, extreme = extreme, whole | _far(values - usual, spread, between, settings)
        if np.array_equal(before, extreme):
            break
    return extreme


def _far(away: np.ndarray, spread: np.ndarray, between: Masks, settings: Calibration) -> Masks:
    """Which of some boxes are too far `away` [n, 4] from the usual values, of a `spread` [4].

    between: [n], whose centre lies between the usual top and bottom.
    """
    reach = settings.deviations * np.maximum(spread, settings.floor)
    up = np.maximum(reach[:2], np.log(settings.large))
    down = np.maximum(reach[:2], -np.log(max(settings.small, SMALLEST)))
    far = ((away[:, :2] > up) | (away[:, :2] < -down)).any(1)
    if settings.centres:
        far |= abs(away[:, 2]) > reach[2]
        far |= (abs(away[:, 3]) > reach[3]) & ~between
    return np.asarray(far)


def crowd(values: np.ndarray) -> tuple[float, float]:
    """Where some values [n] crowd, n > 0: the usual value and the spread.

    Of several shortest intervals, which values of whole pixels often have, the one in the middle.
    """
    ordered = np.sort(values)
    count = max(1, int(np.ceil(CROWD * len(ordered))))
    lengths = ordered[count - 1 :] - ordered[: len(ordered) - count + 1]
    shortest = np.flatnonzero(lengths <= lengths.min() + 1e-9)
    start = shortest[len(shortest) // 2]
    low, high = ordered[start], ordered[start + count - 1]
    spread = (high - low) / NORMAL * (1 + FEW / len(ordered))
    return float(low + high) / 2, float(spread)


def _inconsistent(
    boxes: np.ndarray, passed: Masks, identities: np.ndarray[Any, Any], settings: Calibration
) -> Masks:
    """Which of the boxes [n, 4] that have `passed` are unlike the others of their identity."""
    out = np.zeros(len(boxes), dtype=bool)
    _, whose = np.unique(identities, return_inverse=True)
    enough = passed & (np.bincount(whose, passed)[whose] >= settings.images) & (identities >= 0)
    if not enough.any():
        return out
    away, whose = _values(boxes[enough]), whose[enough]
    away = np.stack([column - _medians(column, whose) for column in away.T], 1)
    spread = np.array([crowd(column)[1] for column in away.T])
    top, bottom = (_medians(edge, whose) for edge in boxes[enough, 1::2].T)
    centre = boxes[enough, 1::2].mean(1)
    out[enough] = _far(away, spread, (centre > top) & (centre < bottom), settings)
    return out


def _medians(values: np.ndarray, groups: np.ndarray[Any, Any]) -> np.ndarray:
    """Of each of `values` [n], the median of its group."""
    order = np.lexsort((values, groups))
    ordered = values[order]
    _, start, which, count = np.unique(
        groups[order], return_index=True, return_inverse=True, return_counts=True
    )
    medians = (ordered[start + (count - 1) // 2] + ordered[start + count // 2]) / 2
    out = np.empty(len(values))
    out[order] = medians[which]
    return out


def _values(boxes: np.ndarray) -> np.ndarray:
    """[n, 4]: logarithms of height and width, centre from left to right and top to bottom."""
    x0, y0, x1, y1 = boxes.T
    sides = np.log(np.maximum([y1 - y0, x1 - x0], SMALLEST))
    return np.stack([*sides, (x0 + x1) / 2, (y0 + y1) / 2], 1)


def _window(passed: np.ndarray, part: int, settings: Calibration) -> np.ndarray:
    """What replaces boxes of a part, of which those in `passed` [n, 4] are to be believed."""
    window = np.median(passed, 0)
    if settings.windows is not None:
        window[1::2] = settings.windows[part]
    if settings.width == "image":
        window[::2] = 0, 1
    return np.asarray(window)


def _check(boxes: Boxes, settings: Calibration, identities: np.ndarray[Any, Any] | None) -> None:
    if boxes.ndim != 3 or boxes.shape[2] != 4:
        raise DataError(f"boxes are {list(boxes.shape)}; expected [images, parts, 4].")
    if settings.windows is not None and len(settings.windows) != boxes.shape[1]:
        raise DataError(
            f"windows={settings.windows}: {len(settings.windows)} windows for {boxes.shape[1]} "
            "parts; expected one (top, bottom) for each."
        )
    if identities is not None and identities.shape != boxes.shape[:1]:
        raise DataError(f"{len(boxes)} images have {list(identities.shape)} identities.")
    if settings.consistent and identities is None:
        raise ReIDError(
            "consistent=true compares the boxes of an identity, and nobody has said whose they "
            "are: give identities, or leave it off."
        )


def _problem(error: Any) -> str:
    key, text = ".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, ")
    where = f"{key}={error['input']!r}: " if key else ""
    return f"Calibration: {where}{text[0].lower()}{text[1:]}."
