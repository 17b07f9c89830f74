"""What there is to show of groundings: the label files below a folder, and their numbers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.grounding.answers import Answers
from harness.grounding.outcome import calibrated, count, from_answers, identities
from harness.grounding.questions import crowded
from harness.grounding.record import (
    OWN,
    GroundRecord,
    PartCounts,
    answers_folder,
    ground_folder,
    record_file,
)
from harness.part_labels import standin_labels
from methods.grounding.calibration import Calibration
from methods.grounding.labels import PartLabels
from methods.grounding.quality import Quality, measure
from methods.grounding.voting import Boxes, Masks
from methods.interface import PARTS
from protocols.errors import DataError
from protocols.types import Image

NAME = re.compile(
    rf"(?P<key>.+)-(?P<fingerprint>[0-9a-f]{{16}})(-(?P<expert>[a-z0-9-]+?))?"
    rf"(-(?P<tag>[0-9a-f]{{8}}))?\{OWN}"
)


@dataclass(frozen=True)
class LabelFile:
    """A label file by its name, and its record, if there is one that can be read.

    `answers`: the folder of the answers that it is made of. `unfinished`: there are only those yet,
    and `path` is where their labels would be.
    """

    path: Path
    key: str
    fingerprint: str
    expert: str
    tag: str
    record: GroundRecord | None
    answers: Path
    unfinished: bool = False
    problem: str = ""

    @property
    def title(self) -> str:
        """Who labelled what."""
        name = f"{self.expert} on {self.key}" if self.expert else self.key
        return f"{name}, so far" if self.unfinished else name


def label_files(out: Path) -> list[LabelFile]:
    """Every label file of `harness ground` below `out`, sorted by data set and expert."""
    found = []
    for path in sorted(ground_folder(out).glob(f"*{OWN}")):
        match = NAME.fullmatch(path.name)
        if match is None:
            continue
        record, problem = None, ""
        try:
            if record_file(path).exists():
                record = GroundRecord.read(record_file(path))
        except DataError as error:
            problem = str(error)
        expert = record.expert if record else match["expert"] or ""
        key, mark, tag = match["key"], match["fingerprint"], match["tag"] or ""
        answers = answers_folder(out, key, expert, tag)
        found.append(LabelFile(path, key, mark, expert, tag, record, answers, problem=problem))
    found += _unfinished(out, {file.answers for file in found})
    return sorted(found, key=lambda file: (file.key, file.expert, file.path.name))


def _unfinished(out: Path, used: Collection[Path]) -> Iterator[LabelFile]:
    """Groundings of which there are answers only."""
    for folder in sorted(ground_folder(out).glob("*.answers")):
        if folder in used:
            continue
        answers = Answers(folder)
        try:
            answers.read({})
        except DataError:
            continue  # `harness ground` names it
        for head in answers.heads[:1]:
            match = re.fullmatch(rf"(.+)-{re.escape(head.expert)}-([0-9a-f]{{8}})", folder.stem)
            if match:
                path = folder.with_suffix(OWN)
                yield LabelFile(
                    path, match[1], "", head.expert, match[2], None, folder, unfinished=True
                )


@dataclass(frozen=True, eq=False)
class Grounding:
    """The labels of a file with the images they are of.

    calibrated: [N, R, 4], replaced: [N, R], which of them are not as the expert gave them; both
    None where masks are all that is known. discarded: [N, R]. crowded: [N], the images that show
    several people, None where that is not known. parts: the counts, as recorded or as they are.
    """

    file: LabelFile
    labels: PartLabels
    images: tuple[Image, ...]
    calibrated: Boxes | None
    replaced: Masks | None
    discarded: Masks
    crowded: Masks | None
    parts: dict[str, PartCounts]

    @classmethod
    def read(
        cls, file: LabelFile, images: Sequence[Image], contents: Mapping[str, str]
    ) -> Grounding:
        """The labels of `images`, calibrated here if they have not been.

        contents: path -> SHA-256 of the images. Raises DataError for a file that can't be read or
        lacks some of the images.
        """
        if not file.unfinished:
            crowds = _crowds(file, images, contents)
            return cls._of(file, PartLabels.read(file.path), images, crowds)
        known = Answers(file.answers).read(contents)
        asked = [image for image in images if known[image.path].answers]
        if not asked:
            raise DataError("nothing has been asked about these images yet.")
        settings = Calibration()
        made = from_answers(asked, known, made="", calibration=settings, rule="half")
        return cls._of(file, made.labels, asked, None, made.parts)

    @classmethod
    def _of(
        cls,
        file: LabelFile,
        labels: PartLabels,
        images: Sequence[Image],
        crowds: Masks | None,
        parts: dict[str, PartCounts] | None = None,
    ) -> Grounding:
        labels = labels.select([image.path for image in images])
        if labels.boxes is not None and labels.calibrated is None:
            if labels.exact:
                labels = replace(labels, calibrated=labels.boxes)
            else:
                settings = Calibration(**labels.settings)
                labels, _ = calibrated(labels, settings, identities(images))
        replaced = labels.replaced
        none = np.zeros((len(images), len(PARTS)), dtype=bool)
        discarded = none if labels.discarded is None else labels.discarded
        if file.record is not None:
            parts = file.record.parts
        return cls(
            file,
            labels,
            tuple(images),
            labels.calibrated,
            replaced,
            discarded,
            crowds,
            parts or count(labels, replaced),
        )

    def heights(self, part: int) -> tuple[np.ndarray, np.ndarray]:
        """Heights of a part's boxes: as given [n]; calibrated, but for discarded ones [m]."""
        if self.labels.boxes is None or self.calibrated is None:
            return np.zeros(0), np.zeros(0)
        raw, after = (_height(boxes[:, part]) for boxes in (self.labels.boxes, self.calibrated))
        after = after[~self.discarded[:, part]]
        return raw[~np.isnan(raw)], after[~np.isnan(after)]

    def quality(self, root: Path) -> tuple[Quality, Quality] | None:
        """How near boxes are to the truth, raw and calibrated; None where it is not known."""
        if self.labels.boxes is None or self.calibrated is None:
            return None
        true = standin_labels(root, self.file.key, self.labels.images)
        if true is None or true.boxes is None:
            return None
        return measure(self.labels.boxes, true.boxes), measure(self.calibrated, true.boxes)

    def summary(self) -> dict[str, dict[str, Any]]:
        """Part -> counts and median heights; as JSON shows them."""
        rows = {}
        for row, part in enumerate(PARTS):
            raw, after = self.heights(row)
            rows[part] = {
                **self.parts[part].model_dump(),
                "median_height": _median(raw),
                "median_height_calibrated": _median(after),
            }
        return rows


def _crowds(file: LabelFile, images: Sequence[Image], contents: Mapping[str, str]) -> Masks | None:
    if not (file.record and file.record.crowded):
        return None
    try:
        known = Answers(file.answers).read(contents)
    except DataError:
        return None  # labels can do without the answers that they were made of
    people = [known[image.path].person for image in images]
    return np.array([bool(one and crowded(one)) for one in people])


def _height(boxes: Boxes) -> np.ndarray:
    return np.asarray(boxes[:, 3] - boxes[:, 1])


def _median(values: np.ndarray) -> float | None:
    return round(float(np.median(values)), 4) if len(values) else None
