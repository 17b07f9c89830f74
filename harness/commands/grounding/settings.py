"""The options of `harness ground`: as typed, which goes with which expert, and what they mean."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from pydantic import BaseModel, ValidationError

from harness.config import PRECISIONS, literal
from methods.grounding.calibration import Calibration, calibrate
from methods.grounding.voting import RULES, Rule
from methods.interface import PARTS
from protocols.errors import ReIDError, UnknownName

MOST = 1024
"""Rows or columns of patches; more is a slip of the keyboard."""
DEVICES = ("auto", "cpu", "cuda")
IMAGES = ("train", "all")
GRID = (16, 8)
FILE_EXPERTS = ("annotations", "masks", "stripes", "simulated")
"""Those that are no models."""
OWN = {
    "annotations": ("--from", "--calibration", "--cover"),
    "masks": ("--from", "--grid"),
    "stripes": ("--cover",),
    "simulated": ("--error-rate", "--seed", "--calibration", "--cover"),
}
"""Expert -> options that mean something for it, besides those that do for all."""
OF_MODELS = (
    "--model", "--revision", "--trust-remote-code", "--batch-size", "--limit", "--shard",
    "--loader-workers", "--device", "--precision", "--wording", "--calibration", "--cover",
    "--double-check", "--single-person",
)  # fmt: skip
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class GroundRequest:
    """The options of `harness ground`, as typed; None or empty for those that were not."""

    datasets: tuple[str, ...]
    expert: str
    data: Path | None = None
    source: Path | None = None
    model: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    grid: str | None = None
    images: str = "train"
    batch_size: int | None = None
    limit: int | None = None
    shard: str | None = None
    loader_workers: int | None = None
    device: str | None = None
    precision: str | None = None
    wording: tuple[str, ...] = ()
    calibration: tuple[str, ...] = ()
    cover: str | None = None
    double_check: bool = False
    single_person: bool = False
    error_rate: float | None = None
    seed: int | None = None
    export: Path | None = None
    out: Path = Path("runs")

    @property
    def typed(self) -> Iterator[str]:
        """The options that were given, of those that do not go with every expert."""
        values: Mapping[str, Any] = {
            "--from": self.source,
            "--model": self.model,
            "--revision": self.revision,
            "--trust-remote-code": self.trust_remote_code or None,
            "--grid": self.grid,
            "--batch-size": self.batch_size,
            "--limit": self.limit,
            "--shard": self.shard,
            "--loader-workers": self.loader_workers,
            "--device": self.device,
            "--precision": self.precision,
            "--wording": self.wording or None,
            "--calibration": self.calibration or None,
            "--cover": self.cover,
            "--double-check": self.double_check or None,
            "--single-person": self.single_person or None,
            "--error-rate": self.error_rate,
            "--seed": self.seed,
        }
        return (option for option, value in values.items() if value is not None)


def check(request: GroundRequest, models: Sequence[str]) -> None:
    """Raise ReIDError for options that are unknown, or make no sense for the expert or together."""
    if request.expert not in (*FILE_EXPERTS, *models):
        raise UnknownName("--expert", request.expert, [*FILE_EXPERTS, *models])
    _refuse_foreign(request, models)
    choices = {
        "--images": (request.images, IMAGES),
        "--cover": (request.cover, RULES),
        "--device": (request.device, DEVICES),
        "--precision": (request.precision, PRECISIONS),
    }
    for option, (value, known) in choices.items():
        if value is not None and value not in known:
            raise UnknownName(option, value, known)
    if not request.datasets:
        raise ReIDError("--datasets: expected a comma list of data sets, such as MA,MS.")
    if request.export and len(set(request.datasets)) > 1:
        raise ReIDError(
            f"--export {request.export}: one file holds the masks of one data set, and --datasets "
            f"names {len(set(request.datasets))}. Export them one by one; what is done is kept."
        )


def _refuse_foreign(request: GroundRequest, models: Sequence[str]) -> None:
    mine = (*OWN.get(request.expert, OF_MODELS), *(("--grid",) if request.export else ()))
    for option in request.typed:
        if option in mine:
            continue
        if option == "--from":
            raise ReIDError(f"--expert {request.expert} reads no file; leave --from out.")
        if option == "--grid":
            raise ReIDError("--grid is for --expert masks and for --export; leave it out.")
        those = [name for name, options in OWN.items() if option in options]
        those += models if option in OF_MODELS else []
        raise ReIDError(
            f"{option} means nothing to --expert {request.expert}; leave it out. It is for "
            f"{', '.join(those)}."
        )


def parse_grid(text: str | None) -> tuple[int, int]:
    """`16x8` to (16, 8). Raises ReIDError for anything else, and for more than MOST x MOST."""
    if text is None:
        return GRID
    match = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})", text.strip().lower())
    rows, columns = map(int, match.groups()) if match else (0, 0)
    if not (1 <= rows <= MOST and 1 <= columns <= MOST):
        raise ReIDError(
            f"--grid {text!r}: expected rows x columns of patches, such as 16x8, at most "
            f"{MOST}x{MOST}."
        )
    return rows, columns


def parse_settings(option: str, texts: Sequence[str], kind: type[M], *, words: bool = False) -> M:
    """`key=value` texts as the fields of `kind`; with `words` every value is taken as it is typed.

    Raises UnknownName for an unknown key, ReIDError for what is no pair or a value that is wrong.
    """
    values: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            example = next(iter(kind.model_fields))
            raise ReIDError(f"{option} {text!r}: expected key=value, such as {example}=...")
        if key not in kind.model_fields:
            raise UnknownName(f"key of {option}", key, kind.model_fields)
        values[key] = value if words else literal(value.strip())
    try:
        return kind(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        what = problem["msg"].removeprefix("Value error, ")
        where = f"{key}={problem['input']!r}: " if key else ""
        raise ReIDError(f"{option} {where}{what[0].lower()}{what[1:]}.") from None


def parse_calibration(request: GroundRequest) -> Calibration:
    """The settings that --calibration asks for. Raises ReIDError, before hours of asking."""
    settings = parse_settings("--calibration", request.calibration, Calibration)
    try:
        calibrate(np.empty((0, len(PARTS), 4), np.float32), settings, identities=[])
    except ReIDError as error:
        raise ReIDError(f"--calibration {error}") from error
    return settings


def rule(request: GroundRequest) -> Rule:
    """How boxes become masks; `check` has seen that there is such a rule."""
    return cast(Rule, request.cover or "half")


def without(options: Sequence[str]) -> list[str]:
    """What was typed, less some options that have a value."""
    words, skip = ["harness"], False
    for word in sys.argv[1:]:
        if not skip and word not in options and word.partition("=")[0] not in options:
            words.append(word)
        skip = word in options
    return words
