"""`harness ground`: part labels of training images, from an expert's answers to a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.catalog import DataCatalog
from harness.files import require_writable, write_atomic
from harness.part_labels import OWN, ground_file, ground_folder, image_size
from methods.grounding.annotations import read_csv
from methods.grounding.calibration import calibrate
from methods.grounding.labels import PartLabels
from methods.grounding.pickled import read_masks
from methods.interface import PARTS
from protocols.datasets.folders import require_data_root
from protocols.errors import DataError, ReIDError, UnknownName
from protocols.types import SourceImages

MOST = 1024
"""Rows or columns of patches; more is a slip of the keyboard."""


@dataclass(frozen=True)
class GroundRequest:
    """The options of `harness ground`, as typed."""

    data: Path
    datasets: tuple[str, ...]
    expert: str
    source: Path | None
    grid: str
    images: str
    out: Path


def ground_command(request: GroundRequest, console: Console) -> None:
    """Label the images of every data set and say what came out.

    Raises ReIDError for an unknown expert, for answers that can't be read or do not fit.
    """
    expert = _expert(request)
    if request.images not in ("train", "all"):
        raise UnknownName("--images", request.images, ["train", "all"])
    which: SourceImages = "all" if request.images == "all" else "train"
    if not request.datasets:
        raise ReIDError("--datasets: expected a comma list of data sets, such as MA,MS.")
    require_data_root(request.data)
    require_writable(request.out)
    catalog = DataCatalog(request.data, say=lambda text: console.print(escape(text)))
    keys = dict.fromkeys(request.datasets)
    paths = {key: [image.path for image in catalog.source(key, which).images] for key in keys}
    # before what is lacking: a name with a slip in it is both
    left = expert.left(paths)
    if left:
        console.print(escape(left), style="yellow", highlight=False, soft_wrap=True)
    # all of them before any: what one lacks is known before files appear
    done = {key: _labels(expert, key, paths[key]) for key in keys}
    for key, labels in done.items():
        path = ground_file(request.out, key, catalog.source_fingerprint(key, which))
        write_atomic(path, labels.write)
        _tell(key, labels, path, console)
    console.print(f"\n{_use(request, catalog)}", highlight=False, soft_wrap=True)


def _use(request: GroundRequest, catalog: DataCatalog) -> str:
    """How a training gets what was made."""
    folder = ground_folder(request.out)
    if catalog.kind == "stand-in":
        return f"Stand-ins have true boxes, used unless you --set part_labels={folder}."
    return (
        f"`harness run` with --data {request.data} and --out {request.out} uses them; with another "
        f"--out, --set part_labels={folder}."
    )


def _nothing(paths: Mapping[str, Sequence[str]]) -> str:
    return ""


@dataclass(frozen=True)
class Expert:
    """Answers. `label`: paths of a data set's images below the data root -> their labels.

    `left`: those paths of every data set -> what to say of answers about none of them.
    """

    label: Callable[[Sequence[str]], PartLabels]
    left: Callable[[Mapping[str, Sequence[str]]], str] = _nothing


def _labels(expert: Expert, key: str, paths: Sequence[str]) -> PartLabels:
    try:
        return expert.label(paths)
    except ReIDError as error:
        raise DataError(f"{key}: {error}") from error


def _expert(request: GroundRequest) -> Expert:
    """The expert that was asked for, its answers read."""
    makers: dict[str, Callable[[GroundRequest], Expert]] = {
        "annotations": _annotations,
        "masks": _masks,
        "stripes": _stripes,
    }
    if request.expert not in makers:
        raise UnknownName("--expert", request.expert, makers)
    if (request.source is None) != (request.expert == "stripes"):
        raise ReIDError(
            f"--expert {request.expert} "
            + ("reads no file; leave --from out." if request.source else "needs --from FILE.")
        )
    return makers[request.expert](request)


def _stripes(request: GroundRequest) -> Expert:
    return Expert(PartLabels.stripes)


def _masks(request: GroundRequest) -> Expert:
    return _selecting(read_masks(_file(request), parse_grid(request.grid)), request)


def _annotations(request: GroundRequest) -> Expert:
    file = _file(request)
    if file.suffix == OWN:
        return _selecting(PartLabels.read(file), request)
    boxes = read_csv(file)

    def size(path: str) -> tuple[int, int]:
        return image_size(request.data / path)

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

    return Expert(lambda paths: boxes.labels(paths, size), left)


def _selecting(labels: PartLabels, request: GroundRequest) -> Expert:
    def label(paths: Sequence[str]) -> PartLabels:
        try:
            return labels.select(paths)
        except DataError as error:
            raise DataError(f"{request.source}: {error}") from error

    return Expert(label)


def _file(request: GroundRequest) -> Path:
    assert request.source is not None
    if not request.source.is_file():
        raise DataError(f"--from {request.source}: there is no such file.")
    return request.source


def parse_grid(text: str) -> tuple[int, int]:
    """`16x8` to (16, 8). Raises ReIDError for anything else, and for more than MOST x MOST."""
    match = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})", text.strip().lower())
    rows, columns = map(int, match.groups()) if match else (0, 0)
    if not (1 <= rows <= MOST and 1 <= columns <= MOST):
        raise ReIDError(
            f"--grid {text!r}: expected rows x columns of patches, such as 16x8, at most "
            f"{MOST}x{MOST}."
        )
    return rows, columns


def _tell(key: str, labels: PartLabels, path: Path, console: Console) -> None:
    """What was found, what is missing, what calibration would replace."""
    missing = labels.missing.sum(0)
    replaced = calibrate(labels.boxes).replaced.sum(0) if labels.boxes is not None else None
    kind = "boxes"
    if labels.masks is not None:
        kind = "masks on {}x{} patches".format(*labels.masks.shape[2:])
    console.print(f"\n[bold]{escape(key)}[/bold]: {len(labels.images)} images, {kind}")
    grid = Table(box=box.SIMPLE_HEAD)
    for name in ("part", "found", "missing", "calibration replaces"):
        grid.add_column(name, justify="left" if name == "part" else "right")
    for i, part in enumerate(PARTS):
        found = len(labels.images) - missing[i]
        odd = "-" if replaced is None else str(replaced[i])
        grid.add_row(part, str(found), str(missing[i]), odd)
    console.print(grid)
    console.print(f"  {escape(str(path))}", highlight=False, soft_wrap=True)
