"""The figures of one grounding: which images are on them, and where they are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.catalog import DataCatalog
from harness.decoding import decode
from harness.files import write_bytes
from harness.grounding.occlusion import CASES, occluded
from harness.grounding.record import figure_folder
from harness.grounding.table import Shown, images_of
from harness.masks import choose
from methods.interface import PARTS
from protocols.errors import DataError
from protocols.types import Image
from results.box_drawing import BoxPicture
from results.box_heights import Heights, height_figure
from results.figures import save
from results.grounding_figures import Cases, box_figure, occlusion_figure, vote_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_VOTES, MOST_CASES = 4, 3
"""Images in the figure of masks, and in each group of the one of occlusion."""
TITLES = {
    "slight": "slight occlusion",
    "severe": "severe occlusion",
    "people": "occlusion by other people",
}

VOTES = {
    "half": "A patch belongs to a part whose box covers at least half of it.",
    "centre": "A patch belongs to a part whose box covers its centre.",
    "overlap": "A patch belongs to a part whose box covers any of it.",
}
"""What the rules of `methods.grounding.voting` say."""

Say = Callable[..., object]
"""Says a line, in a style if one is given."""


@dataclass(frozen=True)
class How:
    """How many `images` are drawn, which (`seed`), on what grid, in what formats."""

    images: int
    seed: int
    grid: tuple[int, int]
    formats: tuple[str, ...]


class Drawing:
    """The figures of one label file."""

    def __init__(self, shown: Shown, catalog: DataCatalog, how: How, say: Say) -> None:
        self.shown, self.catalog, self.how, self.say = shown, catalog, how, say
        self.grounding = shown.grounding
        self.rows = {image.path: row for row, image in enumerate(self.grounding.images)}

    def everything(self) -> None:
        """All of them; of masks only the one of masks."""
        file = self.grounding.file
        chosen = self.choose(self.grounding.images, self.how.images)
        self.votes(chosen[:MOST_VOTES])
        if self.grounding.labels.boxes is None:
            self.say(
                f"{file.path.name} holds masks and no boxes: there is nothing else to be drawn."
            )
            return
        pictures = self.pictures(chosen)
        if pictures:
            title = f"Boxes of parts: {file.title}"
            self.keep("boxes", box_figure(pictures, PARTS, title, self.said()))
        self.heights()
        self.occlusion()

    def choose(self, images: Sequence[Image], count: int) -> list[Image]:
        """Some images, spread over people and cameras."""
        return choose(images, count, self.how.seed, self.grounding.file.key)

    def pictures(
        self, images: Sequence[Image], grid: tuple[int, int] | None = None
    ) -> list[BoxPicture]:
        """Images with their boxes, and masks on a `grid`; those that do not decode are told of."""
        masks = None
        if grid:
            masks = self.grounding.labels.masks_for([image.path for image in images], grid)
        found = []
        for i, image in enumerate(images):
            try:
                pixels = np.asarray(decode(self.catalog.root / image.path))
            except DataError as error:
                self.say(str(error), "yellow")
                continue
            row = self.rows[image.path]
            boxes, after = self.grounding.labels.boxes, self.grounding.calibrated
            found.append(
                BoxPicture(
                    Path(image.path).stem,
                    pixels,
                    None if boxes is None else boxes[row],
                    None if after is None else after[row],
                    self.grounding.discarded[row],
                    None if masks is None else masks[i],
                )
            )
        return found

    def votes(self, images: Sequence[Image]) -> None:
        """Figure 6: from boxes to masks."""
        labels, grid = self.grounding.labels, self.how.grid
        if labels.masks is not None:
            grid = labels.masks.shape[2], labels.masks.shape[3]
        pictures = self.pictures(images, grid)
        if pictures:
            title = f"Masks of parts: {self.grounding.file.title}"
            said = [*self.said(), *([VOTES[labels.rule]] if labels.masks is None else [])]
            self.keep("masks", vote_figure(pictures, PARTS, grid, title, said))

    def heights(self) -> None:
        """Figure 5: heights before and after calibration."""
        counts = self.grounding.parts
        parts = []
        for row, part in enumerate(PARTS):
            mine, (raw, after) = counts[part], self.grounding.heights(row)
            missing = len(self.grounding.images) - len(raw)
            parts.append(Heights(part, raw, after, mine.replaced, missing, mine.discarded))
        title = f"Heights of boxes: {self.grounding.file.title}"
        self.keep("heights", height_figure(parts, title, self.said()))

    def occlusion(self) -> None:
        """Figure 8: people who are covered."""
        boxes, replaced = self.grounding.labels.boxes, self.grounding.replaced
        assert boxes is not None and replaced is not None
        cases = occluded(boxes, replaced, self.grounding.discarded, self.grounding.crowded)
        groups = []
        for name, rows in cases.items():
            images = [self.grounding.images[row] for row in np.flatnonzero(rows)]
            chosen = self.choose(images, min(MOST_CASES, self.how.images))
            rule = f"{len(images)} of {len(boxes)} images: {CASES[name]}"
            groups.append(Cases(TITLES[name], rule, tuple(self.pictures(chosen))))
        title = f"People who are covered: {self.grounding.file.title}"
        self.keep("occlusion", occlusion_figure(groups, PARTS, title, self.said()))

    def said(self) -> list[str]:
        """What a reader of a figure must know."""
        record = self.grounding.file.record
        kind = "training " if self.shown.which == "train" else ""
        lines = [f"{images_of(self.grounding, kind)}."]
        if record and record.model:
            lines[0] += f" Model: {record.model}, {record.revision[:12]}."
        if self.shown.data == "stand-in":
            lines.append("Stand-in data: rendered people.")
        return lines

    def keep(self, name: str, figure: Figure) -> None:
        """Write a figure in every format."""
        folder = figure_folder(self.grounding.file.path)
        for kind in self.how.formats:
            path = folder / f"{name}.{kind}"
            write_bytes(path, save(figure, kind))
            self.shown.files.append(path)
