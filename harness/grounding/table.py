"""What `harness show grounding` shows of one label file: as a table, and as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from harness.grounding.shown import Grounding
from harness.screen import say
from methods.grounding.quality import Quality
from methods.interface import PARTS

COLUMNS = {
    "found": "found",
    "missing": "missing",
    "unparsable": "unpar-\nsable",
    "replaced": "re-\nplaced",
    "discarded": "dis-\ncarded",
}
"""Count -> its heading, so narrow that a row has room in 80 columns."""


@dataclass
class Shown:
    """One label file: what is in it, what was drawn of it, how near its boxes are to the truth."""

    grounding: Grounding
    which: str
    data: str
    files: list[Path] = field(default_factory=list)
    quality: tuple[Quality, Quality] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON shows it; `iou` is null where the truth is not known."""
        file, record = self.grounding.file, self.grounding.file.record
        iou = None
        if self.quality:
            raw, after = self.quality
            iou = {
                name: {**dict(zip(PARTS, one.parts, strict=True)), "mean": one.iou}
                for name, one in (("raw", raw), ("calibrated", after))
            }
        return {
            "dataset": file.key,
            "expert": file.expert,
            "model": record.model if record else "",
            "revision": record.revision if record else "",
            "labels": str(file.path),
            "images": len(self.grounding.images),
            "which": self.which,
            "data": self.data,
            "parts": self.grounding.summary(),
            "iou": iou,
            "files": [str(path) for path in self.files],
        }


def images_of(grounding: Grounding, kind: str = "") -> str:
    """How many images of a `kind` there are: `1 image`, `2 training images`."""
    count = len(grounding.images)
    return f"{count} {kind}{'image' if count == 1 else 'images'}"


def print_grounding(shown: Shown, console: Console) -> None:
    """The table of one label file, and its figures."""
    grounding = shown.grounding
    record, iou = grounding.file.record, shown.quality
    console.print(
        f"\n[bold]{escape(grounding.file.title)}[/bold]: {images_of(grounding)}"
        + (f", {escape(record.model)}" if record and record.model else ""),
        highlight=False,
    )
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), show_edge=False)
    grid.add_column("part", no_wrap=True)
    measured = ("height", "IoU") if iou else ("height",)
    names = [f"{name}\n{which}" for name in measured for which in ("raw", "calib.")]
    for name in (*COLUMNS.values(), *names):
        grid.add_column(name, justify="right", no_wrap=True)
    for i, (part, row) in enumerate(grounding.summary().items()):
        cells = [str(row[name]) for name in COLUMNS]
        cells += [_number(row["median_height"]), _number(row["median_height_calibrated"])]
        cells += [_number(one.parts[i]) for one in iou or ()]
        grid.add_row(part, *cells)
    if iou:
        grid.add_section()
        blank = [""] * (len(COLUMNS) + 2)
        grid.add_row("mean", *blank, *(_number(one.iou) for one in iou))
    console.print(grid)
    if grounding.labels.boxes is not None:
        notes = "height: the median, as a fraction of the image's."
        if iou:
            notes += " IoU: mean with the true boxes of the stand-ins, over what can be seen."
        console.print(Padding(notes, (0, 0, 0, 2), expand=False), highlight=False)
    for path in shown.files:
        say(console, f"Figure:  {path}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
