"""How high the boxes of each part are, before and after calibration (MUVA's figure 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from results.box_drawing import LABEL, SMALL
from results.figures import COLUMN, plain
from results.sheet import SIDE, Sheet, depth, heading_depth, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RAW, CALIBRATED = "#0072B2", "#D55E00"
"""Blue and red, as in the paper; Okabe and Ito's, so that colour-blind readers see two colours."""
BINS = 50
HIGH = 0.78
"""Inches of a histogram."""


@dataclass(frozen=True)
class Heights:
    """Of one part: heights [n] of the boxes that were found, as fractions of the image's height.

    `raw` as the expert gave them, `calibrated` without those that nobody trusts; counts are of
    images.
    """

    part: str
    raw: np.ndarray
    calibrated: np.ndarray
    replaced: int
    missing: int
    discarded: int

    def sentence(self) -> str:
        """Numbers that the histogram does not show."""
        raw, calibrated = median(self.raw), median(self.calibrated)
        boxes = "1 box" if len(self.raw) == 1 else f"{len(self.raw)} boxes"
        said = [f"{boxes}, {self.replaced} replaced"]
        said += [f"{self.discarded} discarded"] if self.discarded else []
        said += [f"{self.missing} not found"]
        if raw is not None:
            said += [f"median {raw:.3f} raw"]
            said += [f"{calibrated:.3f} calibrated"] if calibrated is not None else []
        return f"{', '.join(said)}."


def median(heights: np.ndarray) -> float | None:
    """None of none."""
    return float(np.median(heights)) if len(heights) else None


def height_figure(parts: Sequence[Heights], title: str, said: Sequence[str] = ()) -> Figure:
    """A histogram a part: raw heights filled, calibrated ones over them as a line."""
    sentences = [wrapped(one.sentence(), COLUMN - 2 * SIDE - 0.3, SMALL) for one in parts]
    above = heading_depth(title, said, COLUMN) + 0.04
    key = 0.16
    each = [0.14 + depth(lines, SMALL) + 0.03 + HIGH + 0.17 for lines in sentences]
    height = above + key + sum(each) + 0.16
    with plain():
        sheet = Sheet.new(COLUMN, height)
        top = sheet.heading(title, said) + 0.04
        _key(sheet, top)
        top += key
        for one, lines, deep in zip(parts, sentences, each, strict=True):
            sheet.text(SIDE + 0.3, top, [one.part], LABEL, weight="bold")
            sheet.text(SIDE + 0.3, top + 0.13, lines, SMALL)
            down = 0.14 + depth(lines, SMALL) + 0.03
            axes = sheet.axes(SIDE + 0.3, top + down, COLUMN - 2 * SIDE - 0.35, HIGH)
            _histogram(axes, one)
            top += deep
        middle = SIDE + 0.3 + (COLUMN - 2 * SIDE - 0.35) / 2
        sheet.text(middle, top, ["height of box / height of image"], LABEL, ha="center")
    return sheet.figure


def _histogram(axes: Axes, heights: Heights) -> None:
    from matplotlib.ticker import MaxNLocator

    edges = np.linspace(0, 1, BINS + 1)
    # a height of 1 plus a rounding belongs to the last bin
    before = np.histogram(np.clip(heights.raw, 0, 1), edges)[0]
    after = np.histogram(np.clip(heights.calibrated, 0, 1), edges)[0]
    axes.stairs(
        before, edges, fill=True, facecolor="#9fc9e6", edgecolor=RAW, hatch="//////", linewidth=0.4
    )
    axes.stairs(after, edges, color=CALIBRATED, linewidth=0.9)
    for values, colour, style in (
        (heights.raw, RAW, "dotted"), (heights.calibrated, CALIBRATED, "dashed"),
    ):  # fmt: skip
        at = median(values)
        if at is not None:
            axes.axvline(at, color=colour, linestyle=style, linewidth=0.8)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, max(1, before.max(), after.max()) * 1.08)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.tick_params(labelsize=SMALL, width=0.3, length=2, pad=1.5)
    if not len(heights.raw):
        axes.text(
            0.5, 0.5, "no box was found", transform=axes.transAxes, fontsize=LABEL, ha="center",
            va="center", style="italic",
        )  # fmt: skip


def _key(sheet: Sheet, top: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor="#9fc9e6", edgecolor=RAW, hatch="//////", linewidth=0.4, label="raw"),
        Line2D([], [], color=RAW, linestyle="dotted", linewidth=0.8, label="median"),
        Line2D([], [], color=CALIBRATED, linewidth=0.9, label="calibrated"),
        Line2D([], [], color=CALIBRATED, linestyle="dashed", linewidth=0.8, label="median"),
    ]
    sheet.key(handles, SIDE + 0.3, top, 4)
