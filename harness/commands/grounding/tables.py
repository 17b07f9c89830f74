"""What `harness ground` says of the labels it made."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.grounding.outcome import Grounded
from harness.screen import many, say

SHOWN = 5


def tell(key: str, grounded: Grounded, console: Console) -> None:
    """Per part: found, missing, unparsable if any, calibrated, discarded if any; and of images."""
    labels, parts = grounded.labels, grounded.parts
    kind = "boxes"
    if labels.masks is not None:
        kind = "masks on {}x{} patches".format(*labels.masks.shape[2:])
    console.print(f"\n[bold]{escape(key)}[/bold]: {len(labels.images)} images, {kind}")
    unparsable = any(part.unparsable for part in parts.values())
    discarded = any(part.discarded for part in parts.values())
    grid = Table(box=box.SIMPLE_HEAD)
    for name in (
        "part",
        "found",
        "missing",
        *(["unparsable"] if unparsable else []),
        "calibration replaces",
        *(["discarded"] if discarded else []),
    ):
        grid.add_column(name, justify="left" if name == "part" else "right")
    for part, counts in parts.items():
        # masks have no boxes that could be extreme
        replaced = "-" if labels.boxes is None else str(counts.replaced)
        grid.add_row(
            part,
            str(counts.found),
            str(counts.missing),
            *([str(counts.unparsable)] if unparsable else []),
            replaced,
            *([str(counts.discarded)] if discarded else []),
        )
    console.print(grid)
    for text in _notes(grounded):
        say(console, f"  {text}")


def _notes(grounded: Grounded) -> list[str]:
    notes = []
    if grounded.damaged:
        count = many(len(grounded.damaged), "damaged image")
        notes.append(f"{count}, left out: {_named(grounded.damaged)}. Tried again next time.")
    if grounded.crowded:
        count = many(len(grounded.crowded), "image")
        notes.append(f"{count} with several people, discarded: {_named(grounded.crowded)}.")
    if grounded.unread:
        notes.append(f"{many(grounded.unread, 'second look')} said neither yes nor no.")
    if any(part.discarded for part in grounded.parts.values()):
        notes.append("Discarded parts have no mask, and no mask loss looks at them.")
    return notes


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(paths[:SHOWN]) + more
