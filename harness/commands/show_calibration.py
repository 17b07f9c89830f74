"""`harness show calibration`: what calibration mends of simulated errors, where truth is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from harness.catalog import DataCatalog
from harness.commands.figure_files import require_file, require_formats
from harness.config import parse_overrides
from harness.files import write_bytes
from harness.grounding.record import ground_folder
from harness.part_labels import standin_labels
from harness.screen import say
from methods.grounding.calibration import Calibration
from methods.grounding.quality import Comparison, Quality, compare
from methods.grounding.simulated import ERRORS, KINDS
from methods.interface import PARTS
from protocols import standin
from protocols.errors import DataError, ReIDError, UnknownName
from results.calibration_figure import Curve, calibration_figure
from results.figures import save

STEM = "calibration"
WORSE = -5e-4
"""A gain below this shows in three digits."""
NOTES = (
    "Mean IoU with the true boxes, raw and after calibration, and of the masks voted from them on "
    "16 x 8 patches, over the training images of stand-ins (rendered people). A missing part "
    "counts as 0. hit: parts with an error. replaced: boxes.",
    "An expert with these errors is simulated; what a real one gets wrong is not known from this.",
)


@dataclass(frozen=True)
class CalibrationRequest:
    """The options of `harness show calibration`, as typed; no `formats` for the usual one."""

    datasets: tuple[str, ...]
    rates: str
    seed: int
    kinds: tuple[str, ...]
    overrides: tuple[str, ...]
    out: Path
    file: Path | None
    formats: tuple[str, ...]
    as_json: bool


@dataclass(frozen=True)
class Measured:
    """One data set at every rate."""

    key: str
    images: int
    comparisons: tuple[Comparison, ...]


def calibration_command(request: CalibrationRequest, console: Console, stderr: Console) -> int:
    """Measure and draw what is asked; returns the exit status 0.

    Raises ReIDError for options that do not fit, before anything is computed.
    """
    settings = Calibration.of(parse_overrides(request.overrides))
    rates, files = parse_rates(request.rates), _files(request)
    _require_known(request)
    keys = dict.fromkeys(request.datasets)
    measured = [_measure(key, rates, request, settings) for key in keys]
    figure = _figure(measured, request, settings)
    for path in files:
        write_bytes(path, save(figure, path.suffix[1:]))
    if request.as_json:
        console.print_json(json.dumps(to_dict(measured, request, settings, files), allow_nan=False))
    else:
        print_table(measured, console)
    for path in files:
        say(stderr if request.as_json else console, f"Figure:  {path}")
    return 0


def parse_rates(text: str) -> tuple[float, ...]:
    """Percentages as typed, `0,5,10`, to shares, each once and sorted. Raises ReIDError."""
    try:
        percents = sorted({float(part) for part in text.split(",") if part.strip()})
    except ValueError:
        percents = []
    if not percents or not all(0 <= percent <= 100 for percent in percents):
        raise ReIDError(f"--rates {text!r}: expected percentages from 0 to 100, such as 0,10,20.")
    return tuple(percent / 100 for percent in percents)


def _require_known(request: CalibrationRequest) -> None:
    for key in request.datasets:
        if key not in standin.KEYS:
            hint = "True boxes are known of stand-ins only."
            raise UnknownName("stand-in data set", key, standin.KEYS, hint)
    for kind in request.kinds:
        if kind not in ERRORS:
            raise UnknownName("kind of error", kind, KINDS, f"The kinds: {', '.join(KINDS)}.")
    for option, values in (("--datasets", request.datasets), ("--kinds", request.kinds)):
        if not values:
            raise ReIDError(f"{option}: expected a comma list of at least one.")
    if len(set(request.kinds)) < len(request.kinds):
        # a kind named twice would be hit twice as often, and no figure says so
        raise ReIDError(f"--kinds {','.join(request.kinds)}: expected each kind once.")


def _files(request: CalibrationRequest) -> list[Path]:
    """Where the figure goes. Raises ReIDError, naming the option, where it can't."""
    formats = require_formats(request.formats)
    if request.file is None:
        folder = ground_folder(request.out) / "figures"
        return [folder / f"{STEM}.{kind}" for kind in formats]
    require_file(request.file, request.formats)
    return [request.file]


def _measure(
    key: str, rates: Sequence[float], request: CalibrationRequest, settings: Calibration
) -> Measured:
    root = standin.data_root(keys=(key,))
    images = DataCatalog(root).source(key, "train").images
    labels = standin_labels(root, key, [image.path for image in images])
    if labels is None or labels.boxes is None:
        raise DataError(f"{root} has no true boxes for {key}: remove it, it is made anew.")
    found = compare(
        labels.boxes,
        rates,
        request.seed,
        settings,
        kinds=request.kinds,
        identities=[image.pid for image in images],
    )
    return Measured(key, len(images), tuple(found))


def to_dict(
    measured: Sequence[Measured],
    request: CalibrationRequest,
    settings: Calibration,
    files: Sequence[Path],
) -> dict[str, Any]:
    """Everything as JSON shows it; rates are shares, `worse` where calibration lowers the IoU."""
    return {
        "data": "stand-in",
        "seed": request.seed,
        "kinds": list(request.kinds),
        "settings": settings.model_dump(mode="json"),
        "datasets": [
            {
                "dataset": one.key,
                "images": one.images,
                "rates": [_rate(comparison) for comparison in one.comparisons],
            }
            for one in measured
        ],
        "files": [str(path) for path in files],
    }


def _rate(comparison: Comparison) -> dict[str, Any]:
    return {
        "rate": comparison.rate,
        "raw": _quality(comparison.raw),
        "calibrated": _quality(comparison.calibrated),
        "gain": comparison.gain,
        "worse": comparison.gain < WORSE,
        "replaced": dict(zip(PARTS, comparison.replaced, strict=True)),
    }


def _quality(quality: Quality) -> dict[str, Any]:
    values = asdict(quality)
    for name in ("parts", "mask_parts"):
        values[name] = dict(zip(PARTS, values[name], strict=True))
    return values


def print_table(measured: Sequence[Measured], console: Console) -> None:
    """A row for each data set and rate."""
    title = "Simulated errors, before and after calibration"
    grid = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    grid.add_column("data", no_wrap=True)
    names = ("hit", "raw", "after", "gain", "masks", "after", "replaced")
    for name in names:
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True)
    for one in measured:
        for i, here in enumerate(one.comparisons):
            worse = here.gain < WORSE
            grid.add_row(
                one.key if i == 0 else "",
                f"{100 * here.rate:g} %",
                _number(here.raw.iou),
                _number(here.calibrated.iou),
                f"{here.gain:+.3f}",
                _number(here.raw.mask_iou),
                _number(here.calibrated.mask_iou),
                f"{100 * float(np.mean(here.replaced)):.1f} %",
                "worse" if worse else "",
                style="yellow" if worse else "",
            )
        grid.add_section()
    console.print(grid)
    for note in NOTES:
        console.print(Padding(note, (0, 0, 0, 2), expand=False), highlight=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _figure(
    measured: Sequence[Measured], request: CalibrationRequest, settings: Calibration
) -> Any:
    curves = [
        Curve(
            one.key,
            [here.rate for here in one.comparisons],
            [here.raw.iou or 0.0 for here in one.comparisons],
            [here.calibrated.iou or 0.0 for here in one.comparisons],
        )
        for one in measured
    ]
    changed = settings.model_dump(mode="json", exclude_defaults=True)
    said = ["Stand-in data: rendered people, whose true boxes are known."]
    said += [f"Simulated errors: {', '.join(request.kinds)}; seed {request.seed}."]
    if changed:
        said += ["Calibration: " + ", ".join(f"{k}={json.dumps(v)}" for k, v in changed.items())]
    return calibration_figure(curves, "Part boxes before and after calibration", said)
