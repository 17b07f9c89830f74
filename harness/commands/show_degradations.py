"""`harness show degradations`: what images look like at each level of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from harness.commands.figure_files import require_file
from harness.decoding import decode
from harness.degradations import degrade
from harness.encode import find_images
from harness.files import write_bytes
from harness.screen import say
from protocols import standin
from protocols.datasets import open_dataset
from protocols.errors import UnknownName
from protocols.variants import KINDS, LEVELS, Degradation
from results.degradation_figure import DegradedPicture, degradation_figure
from results.figures import save
from results.tables import printable

TITLE = "Degradations"
STANDIN = "MA"
SAID = "Level 1 is the mildest. What is drawn depends on the kind and the file's name alone."
STANDIN_SAID = "The images are embedded stand-ins: rendered people."


@dataclass(frozen=True)
class DegradationsRequest:
    """The options of `harness show degradations`, as typed; no `kinds` for all."""

    images: Path | None
    kinds: tuple[str, ...]
    count: int
    file: Path


def degradations_command(request: DegradationsRequest, console: Console) -> int:
    """Draw the images and say where the figure lies; returns the exit status.

    Raises ReIDError for a kind that is not known, or images that can't be had.
    """
    for kind in request.kinds:
        if kind not in KINDS:
            raise UnknownName("kind", kind, KINDS)
    require_file(request.file, ())
    kinds = tuple(dict.fromkeys(request.kinds)) or KINDS
    root, names = _images(request.images)
    pictures = list(_pictures(root, _spread(names, request.count), kinds))
    said = [SAID] if request.images else [SAID, STANDIN_SAID]
    figure = degradation_figure(pictures, TITLE, said)
    write_bytes(request.file, save(figure, request.file.suffix[1:]))
    say(console, f"Figure:  {request.file}")
    return 0


def _images(folder: Path | None) -> tuple[Path, list[str]]:
    """A root and images below it: those of a folder, or a stand-in's queries."""
    if folder:
        return folder, list(find_images(folder).names)
    root = standin.data_root(keys=(STANDIN,))
    (probe, *_) = open_dataset(STANDIN, root).probes()
    return root, [image.path for image in probe.query.images]


def _spread(names: list[str], count: int) -> list[str]:
    """So many of the names, from the first on evenly."""
    count = min(count, len(names))
    return [names[i * len(names) // count] for i in range(count)]


def _pictures(root: Path, names: list[str], kinds: tuple[str, ...]) -> Iterator[DegradedPicture]:
    for name in names:
        image, file = decode(root / name), Path(name).name
        levels = {
            kind: [np.asarray(degrade(image, Degradation(kind, level), file)) for level in LEVELS]
            for kind in kinds
        }
        yield DegradedPicture(printable(name), np.asarray(image), levels)
