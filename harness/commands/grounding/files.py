"""Experts of `harness ground` that are no models: their answers are files, or known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.catalog import DataCatalog
from harness.commands.grounding.settings import GroundRequest, parse_calibration, parse_grid, rule
from harness.grounding.outcome import Grounded, calibrated, count, identities
from harness.grounding.record import OWN
from harness.part_labels import image_size, standin_labels
from methods.grounding.annotations import read_csv
from methods.grounding.labels import PartLabels
from methods.grounding.pickled import read_masks
from methods.grounding.simulated import simulate
from protocols.errors import DataError, ReIDError
from protocols.types import Image

RATE = 0.1
"""Share of the boxes that `simulated` gets wrong, unless --error-rate says another."""

Label = Callable[[str, Sequence[str]], PartLabels]
"""A data set and paths of its images below the data root -> their labels."""


def _nothing(paths: Mapping[str, Sequence[str]]) -> str:
    return ""


@dataclass(frozen=True)
class FileExpert:
    """`left`: the paths of every data set -> what to say of answers about none of them.

    `options` are for the record.
    """

    label: Label
    left: Callable[[Mapping[str, Sequence[str]]], str] = _nothing
    options: Mapping[str, Any] | None = None

    def ground(self, key: str, images: Sequence[Image], request: GroundRequest) -> Grounded:
        """The labels of a data set's images, calibrated where there is something to calibrate."""
        try:
            labels = self.label(key, [image.path for image in images])
        except ReIDError as error:
            raise DataError(f"{key}: {error}") from error
        if request.cover:
            labels = replace(labels, rule=rule(request))
        if labels.exact and request.calibration:
            raise ReIDError(
                f"--calibration: the boxes of {key} are known to be true, so there is nothing to "
                "calibrate; leave it out."
            )
        if labels.boxes is None or labels.exact:
            return Grounded(labels, count(labels))
        if labels.calibrated is not None and not request.calibration:
            # as the file that was read has it
            return Grounded(labels, count(labels, labels.replaced))
        labels, replaced = calibrated(labels, parse_calibration(request), identities(images))
        return Grounded(labels, count(labels, replaced))


def open_file_expert(request: GroundRequest, catalog: DataCatalog) -> FileExpert:
    """The expert that was asked for, its answers read. Raises ReIDError where it has none."""
    if request.expert == "stripes":
        return FileExpert(lambda key, paths: PartLabels.stripes(paths))
    if request.expert == "simulated":
        return _simulated(request, catalog)
    if request.source is None:
        if request.expert == "annotations" and catalog.kind == "stand-in":
            return FileExpert(lambda key, paths: _true(catalog, key, paths))
        raise ReIDError(f"--expert {request.expert} needs --from FILE.")
    if not request.source.is_file():
        raise DataError(f"--from {request.source}: there is no such file.")
    if request.expert == "masks":
        return _selecting(read_masks(request.source, parse_grid(request.grid)), request.source)
    if request.source.suffix == OWN:
        return _selecting(PartLabels.read(request.source), request.source)
    return _annotations(request.source, request, catalog.root)


def _true(catalog: DataCatalog, key: str, paths: Sequence[str]) -> PartLabels:
    labels = standin_labels(catalog.root, key, paths)
    if labels is None:
        raise DataError(f"{catalog.root} does not say where parts are in its images of {key}.")
    return labels


def _simulated(request: GroundRequest, catalog: DataCatalog) -> FileExpert:
    rate = RATE if request.error_rate is None else request.error_rate
    seed = request.seed or 0
    if catalog.kind != "stand-in":
        raise ReIDError(
            f"--expert simulated changes true boxes, which only stand-ins have; {catalog.root} "
            "holds others. Leave --data out."
        )

    def label(key: str, paths: Sequence[str]) -> PartLabels:
        true = _true(catalog, key, paths)
        assert true.boxes is not None
        made = f"true boxes with an expert's errors (rate {rate:g}, seed {seed})"
        return PartLabels(true.images, simulate(true.boxes, rate, seed), made=made)

    return FileExpert(label, options={"error_rate": rate, "seed": seed})


def _selecting(labels: PartLabels, source: Path) -> FileExpert:
    def label(key: str, paths: Sequence[str]) -> PartLabels:
        try:
            return labels.select(paths)
        except DataError as error:
            raise DataError(f"{source}: {error}") from error

    return FileExpert(label)


def _annotations(file: Path, request: GroundRequest, root: Path) -> FileExpert:
    boxes = read_csv(file)

    def size(path: str) -> tuple[int, int]:
        return image_size(root / path)

    def left(paths: Mapping[str, Sequence[str]]) -> str:
        lines = boxes.unused(list(paths.values()))
        if not lines:
            return ""
        where, image = lines[0]
        several = "1 line is" if len(lines) == 1 else f"{len(lines)} lines are"
        images = "images" if request.images == "all" else "training images"
        return (
            f"{file}: {several} of no image among the {images} of {', '.join(paths)} and left out; "
            f"the first is {where}, {image}."
        )

    return FileExpert(lambda key, paths: boxes.labels(paths, size), left)
