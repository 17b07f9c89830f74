"""The file that part labels are kept in.

It is safetensors: `boxes` [N, R, 4] float32 or `masks` [N, R, h, w] uint8; with boxes, where
somebody has calibrated them, `calibrated` [N, R, 4] float32; and `discarded` [N, R] uint8. Its
metadata `about` is a JSON object: `format` and `version`, `parts` and `images` as JSON lists,
`made` saying how, `exact`, the voting `rule`, and calibration's `settings` as a JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from methods.grounding.calibration import Calibration
from methods.interface import PARTS
from protocols.errors import DataError

FORMAT = "part-labels"
VERSION = "2"
READ = ("1", "2")
"""Versions that can be read; the first knew boxes or masks only."""
TENSORS = {
    "boxes": np.float32,
    "masks": np.uint8,
    "calibrated": np.float32,
    "discarded": np.uint8,
}
"""What a file may hold, and as what."""


def write_fields(path: Path, labels: Mapping[str, Any]) -> None:
    """Save the fields of part labels; the caller sees to it that the file appears whole."""
    values = {
        name: np.ascontiguousarray(labels[name], dtype=kind)
        for name, kind in TENSORS.items()
        if labels[name] is not None
    }
    about = {
        "format": FORMAT,
        "version": VERSION,
        "parts": json.dumps(PARTS),
        "images": json.dumps(labels["images"]),
        "made": labels["made"],
        "exact": json.dumps(labels["exact"]),
        "rule": labels["rule"],
        "settings": json.dumps(dict(labels["settings"]), sort_keys=True),
    }
    # under one key: safetensors writes several in any order, and equal labels are to be equal files
    save_file(values, path, {"about": json.dumps(about, sort_keys=True)})


def read_fields(path: Path) -> dict[str, Any]:
    """The fields of the part labels in a file.

    Raises DataError for other contents, OSError and SafetensorError for other files.
    """
    with safe_open(path, framework="numpy") as file:
        about = _about(file.metadata() or {})
        values = {name: _tensor(file, name) for name in file.keys()}  # noqa: SIM118
    return _parse(about, values)


def _tensor(file: Any, name: str) -> np.ndarray[Any, Any]:
    try:
        value: np.ndarray[Any, Any] = file.get_tensor(name)
    except (TypeError, AttributeError) as error:
        # numpy has no name for the types of some models' weights
        kind = file.get_slice(name).get_dtype()
        raise DataError(f"{name} is {kind}; expected boxes float32 or masks uint8.") from error
    return value


def _parse(about: dict[str, str], values: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    if about.get("format") != FORMAT:
        raise DataError(f"not a file of part labels (no metadata format={FORMAT}).")
    if about.get("version") not in READ:
        raise DataError(
            f"written as version {about.get('version')} of part labels; this is version "
            f"{VERSION}. Make the file again with `harness ground`."
        )
    parts, images = _names(about, "parts"), _names(about, "images")
    if parts != PARTS:
        raise DataError(f"its parts are {', '.join(parts)}; expected {', '.join(PARTS)}.")
    if not values.keys() <= TENSORS.keys() or len({"boxes", "masks"} & values.keys()) != 1:
        held = ", ".join(sorted(values)) or "none"
        raise DataError(
            "expected boxes or masks, and perhaps calibrated boxes and what is discarded; it "
            f"holds {held}."
        )
    for name in ("masks", "discarded"):
        if name in values:
            if values[name].dtype != np.uint8 or (values[name] > 1).any():
                raise DataError(f"{name} are {values[name].dtype}; expected uint8, 0 or 1.")
            values[name] = values[name].astype(bool)
    return {
        "images": images,
        "made": about.get("made", ""),
        "exact": about.get("exact") == "true",
        "rule": about.get("rule", "half"),
        "settings": _settings(about),
        **values,
    }


def _about(metadata: dict[str, str]) -> dict[str, str]:
    """What is said of the labels: below `about`; the first version had each under its own key."""
    try:
        about = json.loads(metadata["about"]) if "about" in metadata else metadata
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict) or not all(isinstance(text, str) for text in about.values()):
        raise DataError("its metadata about is no JSON object of texts.")
    return about


def _settings(about: dict[str, str]) -> dict[str, Any]:
    """What calibration was done with. Raises DataError for what it does not know."""
    try:
        settings = json.loads(about.get("settings", "{}"))
        Calibration(**settings)
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError("its metadata settings are no settings of a calibration.") from error
    return dict(settings)


def _names(about: dict[str, str], key: str) -> tuple[str, ...]:
    try:
        names = json.loads(about.get(key, ""))
    except (ValueError, RecursionError):  # the latter of brackets in brackets in brackets
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"its metadata {key} is no JSON list of names.")
    return tuple(names)
