"""What `harness ground` leaves beside a label file: what was asked of whom, counted and measured.

Below `<out>/part_labels`, for a data set KEY of a fingerprint and an expert with its tag:

    KEY-FINGERPRINT-EXPERT-TAG.safetensors     the labels (`methods.grounding.labels`)
    KEY-FINGERPRINT-EXPERT-TAG.json            this record
    KEY-FINGERPRINT-EXPERT-TAG.figures/        pictures of them
    KEY-EXPERT-TAG.answers/                    every raw answer, an image a line

Experts that are no models have no tag.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.files import write_text
from protocols.errors import DataError

OWN = ".safetensors"
"""Suffix of the project's own label files."""
VERSION = 1


class PartCounts(BaseModel):
    """Of one part: images in which a box was found, or nothing; answers that could not be read.

    `replaced` boxes were extreme; `discarded` ones nobody trusts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    found: int
    missing: int
    unparsable: int = 0
    replaced: int = 0
    discarded: int = 0


class GroundRecord(BaseModel):
    """One grounding of one data set's training images. Counts are of images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = VERSION
    labels: str  # name of the label file beside this one
    dataset: str
    images: str  # train or all
    fingerprint: str
    data: str  # real or stand-in
    expert: str
    model: str = ""
    revision: str = ""
    wording: dict[str, str] = {}
    options: dict[str, Any] = {}  # double_check, single_person, calibration settings, rule ...
    count: int
    damaged: int = 0
    crowded: int = 0  # images that show several people, if that was asked
    parts: dict[str, PartCounts]
    precision: str = ""
    device: str = ""
    seconds: float = 0.0  # spent asking, over all starts
    created_at: str  # UTC, ISO 8601

    @property
    def images_per_second(self) -> float | None:
        """None where nothing was asked."""
        return self.count / self.seconds if self.seconds else None

    def write(self, path: Path) -> None:
        """Save as JSON, whole or not at all."""
        write_text(path, json.dumps(self.model_dump(), indent=2, sort_keys=True) + "\n")

    @classmethod
    def read(cls, path: Path) -> GroundRecord:
        """Raises DataError naming the file and what is wrong with it."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path} can not be read: {error.strerror or error}.") from error
        except (ValidationError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path} is no record of a grounding; give the same `harness ground` again, which "
                "writes it anew from the answers."
            ) from error


def expert_tag(model: str, revision: str, wording: Mapping[str, str]) -> str:
    """8 hex digits that stand for a model and how it is asked; empty without a model."""
    if not model:
        return ""
    said = json.dumps([model, revision, dict(sorted(wording.items()))])
    return hashlib.sha256(said.encode()).hexdigest()[:8]


def ground_folder(out: Path) -> Path:
    """Where `harness ground` writes."""
    return out / "part_labels"


def ground_file(out: Path, key: str, fingerprint: str, expert: str, tag: str = "") -> Path:
    """The labels of a data set's images with this fingerprint, by an expert."""
    return ground_folder(out) / f"{'-'.join(filter(None, (key, fingerprint, expert, tag)))}{OWN}"


def record_file(labels: Path) -> Path:
    """The record of a label file."""
    return labels.with_suffix(".json")


def figure_folder(labels: Path) -> Path:
    """Where the pictures of a label file go."""
    return labels.with_suffix(".figures")


def answers_folder(out: Path, key: str, expert: str, tag: str) -> Path:
    """Where the raw answers about a data set's images are kept."""
    return ground_folder(out) / f"{key}-{expert}-{tag}.answers"
