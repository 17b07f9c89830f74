"""What the rest of the project passes around: images, splits, probe splits, protocols, folds.

Plain frozen data. Nothing here reads a disk; readers in `protocols.datasets` make these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

SourceImages = Literal["train", "all"]

JUNK_PID = -1
"""Junk (bad detections, Market-1501's -1): in no split, and ignored by evaluation wherever met."""
DISTRACTOR_PID = 0
"""Distractors (Market-1501's 0000, GRID's 0000): nobody's match, in galleries only."""


class Image(NamedTuple):
    """One image file. `path` is relative to the data root, with forward slashes."""

    path: str
    pid: int
    camid: int


@dataclass(frozen=True)
class Split:
    """Some images of one data set, sorted by path."""

    dataset: str
    name: str
    images: tuple[Image, ...]

    @property
    def pids(self) -> tuple[int, ...]:
        """The identities, sorted, each once; junk and distractors are nobody."""
        return tuple(sorted({i.pid for i in self.images} - {JUNK_PID, DISTRACTOR_PID}))


@dataclass(frozen=True)
class Probe:
    """One probe split: the queries and the gallery they are ranked against."""

    name: str
    query: Split
    gallery: Split


@dataclass(frozen=True)
class Protocol:
    """One row of a table: what is trained on, what is tested on.

    `table` is the paper's table the row belongs to (1, 2, 3, 4), None for rows it does not have.
    `overlap` says in words what is known to be shared by a source and the target.
    """

    name: str
    group: str
    sources: tuple[str, ...]
    target: str
    source_images: SourceImages = "train"
    table: int | None = None
    overlap: str = ""


@dataclass(frozen=True)
class Fold:
    """One training, and every target it is tested on.

    Rows that train on the same images share a fold: 16 rows of `all` are 8 folds.
    """

    sources: tuple[str, ...]
    source_images: SourceImages
    targets: tuple[str, ...]

    @property
    def name(self) -> str:
        """The sources as typed in a protocol: `MA`, `MA+D+C3`, `MA+C3+C2+CS[all]`."""
        return "+".join(self.sources) + ("[all]" if self.source_images == "all" else "")
