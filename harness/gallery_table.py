"""Ranked galleries of a run's queries: on the screen, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.galleries import Gallery, below_common
from harness.record import RunRecord
from protocols.types import Image

CLOSE = 1e-6
"""An AP that differs by more than this from the recorded one is of another order."""


@dataclass(frozen=True)
class Found:
    """The galleries of one run, and the AP that its record has of each; None for no match."""

    run: RunRecord
    galleries: Sequence[Gallery]
    recorded: Sequence[float | None]

    @property
    def unlike(self) -> list[float]:
        """How far each AP is from the recorded one, where it is another."""
        pairs = zip(self.galleries, self.recorded, strict=True)
        apart = [abs((one.ap or 0.0) - (recorded or 0.0)) for one, recorded in pairs]
        return [difference for difference in apart if difference > CLOSE]


@dataclass(frozen=True)
class ShownRanking:
    """One target: which queries, what one run or two have found, and the figure's files."""

    target: str
    data: str
    order: str
    found: Sequence[Found]
    without_match: int
    files: tuple[Path, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON shows it; AP is a fraction in 0..1, ranks count from 1."""
        return {
            "target": self.target,
            "data": self.data,
            "order": self.order,
            "queries_without_match": self.without_match,
            "runs": [_run(one) for one in self.found],
            "files": [str(path) for path in self.files],
        }


def print_ranking(shown: ShownRanking, console: Console) -> None:
    """A line for each query and run, with a sign for each image that the figure shows."""
    for one in shown.found:
        spec = one.run.spec
        title = f"{spec.method} {spec.fold_name} on {shown.target}, seed {spec.seed}"
        grid = Table(box=box.SIMPLE_HEAD, title=escape(title), title_justify="left")
        grid.add_column("query", overflow="fold")
        for name in ("pid", "camid", "AP (%)", "first hit", "first images"):
            grid.add_column(name, justify="right", no_wrap=True)
        for name, gallery in zip(below_common(one.galleries), one.galleries, strict=True):
            ap = "-" if gallery.ap is None else f"{100 * gallery.ap:.1f}"
            hit = "-" if gallery.first_hit is None else f"{gallery.first_hit} of {gallery.kept}"
            query = gallery.query
            signs = "".join("+" if right else "." for right in gallery.right)
            grid.add_row(escape(name), str(query.pid), str(query.camid), ap, hit, signs)
        console.print(grid)
    console.print("  +: right, .: wrong, best first.", highlight=False)


def _run(found: Found) -> dict[str, Any]:
    spec = found.run.spec
    return {
        "run": found.run.run_id,
        "method": spec.method,
        "fold": spec.fold_name,
        "seed": spec.seed,
        "as_recorded": not found.unlike,
        "queries": [
            {
                "probe": one.probe,
                **_image(one.query),
                "ap": one.ap,
                "recorded_ap": recorded,
                "first_hit": one.first_hit,
                "matches": one.matches,
                "ranked": one.kept,
                "gallery": [
                    {**_image(image), "right": right}
                    for image, right in zip(one.shown, one.right, strict=True)
                ],
            }
            for one, recorded in zip(found.galleries, found.recorded, strict=True)
        ],
    }


def _image(image: Image) -> dict[str, Any]:
    return image._asdict()
