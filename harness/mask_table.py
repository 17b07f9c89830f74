"""Overlaps of part masks with true boxes: as a table, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from harness.masks import Overlap
from harness.record import RunRecord
from methods.interface import PARTS
from protocols.registry import row_name

NOTES = (
    "Mean IoU on the patch grid, last layer's masks (probability above 0.5), over the images of "
    "query and gallery that show the part; stand-in data (rendered people).",
    "hidden: n of m parts that are not in their image, and so in no mean, get an empty mask.",
)


@dataclass(frozen=True)
class Shown:
    """One run on one target: what was drawn, and how well masks and true boxes agree."""

    run: RunRecord
    target: str
    data: str
    files: tuple[Path, ...]
    overlap: Overlap | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON shows it; `iou` and what follows are null where no true boxes are known."""
        spec, overlap = self.run.spec, self.overlap
        parts = overlap.parts if overlap else {}
        return {
            "run": self.run.run_id,
            "method": spec.method,
            "fold": spec.fold_name,
            "seed": spec.seed,
            "target": self.target,
            "data": self.data,
            "images": overlap.images if overlap else None,
            "iou": overlap.iou() if overlap else None,
            "per_layer": [overlap.iou(i) for i in range(overlap.layers)] if overlap else None,
            "hidden": {k: one.hidden for k, one in parts.items()} or None,
            "hidden_and_empty": {k: one.empty for k, one in parts.items()} or None,
            "files": [str(path) for path in self.files],
        }


def print_table(shown: Sequence[Shown], console: Console) -> None:
    """Mean IoU per run, target and part, where true boxes are known.

    Rows have a mean where all are of the same parts: else it would compare what is not alike.
    """
    measured = [(one, one.overlap) for one in shown if one.overlap]
    if not measured:
        return
    parts = [part for part in PARTS if any(part in o.parts for _, o in measured)]
    grid = Table(box=box.SIMPLE_HEAD, title="Part masks against true boxes", title_justify="left")
    grid.add_column("run", no_wrap=True)
    grid.add_column("", overflow="fold")
    for name in (*parts, "mean", "hidden"):
        grid.add_column(name, justify="right", no_wrap=True)
    for one, overlap in measured:
        spec, iou = one.run.spec, overlap.iou()
        row = row_name(tuple(spec.sources), spec.source_images, one.target)
        hidden = sum(part.hidden for part in overlap.parts.values())
        empty = sum(part.empty for part in overlap.parts.values())
        grid.add_row(
            one.run.run_id,
            escape(f"{spec.method} {row} seed {spec.seed}"),
            *(_number(iou.get(part)) for part in (*parts, "mean")),
            f"{empty}/{hidden}",
        )
    if len(measured) > 1 and len({frozenset(overlap.parts) for _, overlap in measured}) == 1:
        ious = [overlap.iou() for _, overlap in measured]
        means = [_mean([iou.get(part) for iou in ious]) for part in (*parts, "mean")]
        grid.add_section()
        grid.add_row("mean", f"{len(measured)} rows", *map(_number, means), "")
    console.print(grid)
    for note in NOTES:
        console.print(Padding(note, (0, 0, 0, 2), expand=False), highlight=False)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
