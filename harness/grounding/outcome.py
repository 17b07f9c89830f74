"""From what an expert said of a data set's images to part labels, counts and the two files.

Nobody trusts (`discarded`): every part of an image that is damaged or shows several people; a part
whose answer could not be read, as nobody knows then whether there is one; a box that the expert
itself did not find right when asked again. A part that the expert did not find is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.files import write_atomic
from harness.grounding.answers import Known
from harness.grounding.questions import crowded
from harness.grounding.record import GroundRecord, PartCounts, record_file
from methods.grounding.calibration import Calibration, calibrate
from methods.grounding.expert import ScoredBox
from methods.grounding.labels import PartLabels
from methods.grounding.voting import Masks, Rule
from methods.interface import PARTS
from protocols.errors import DataError
from protocols.types import DISTRACTOR_PID, JUNK_PID, Image


@dataclass(frozen=True)
class Grounded:
    """Labels and how they came about; `unread` second looks said neither yes nor no."""

    labels: PartLabels
    parts: dict[str, PartCounts]
    damaged: tuple[str, ...] = ()
    crowded: tuple[str, ...] = ()
    unread: int = 0
    seconds: float = 0.0


def from_answers(
    images: Sequence[Image],
    known: Mapping[str, Known],
    *,
    made: str,
    calibration: Calibration,
    rule: Rule,
    double_check: bool = False,
    single_person: bool = False,
) -> Grounded:
    """The labels that the answers about some images of one data set make."""
    mine = [known[image.path] for image in images]
    boxes = np.full((len(images), len(PARTS), 4), np.nan, dtype=np.float32)
    discarded = np.zeros((len(images), len(PARTS)), dtype=bool)
    unparsable = np.zeros_like(discarded)
    crowds, unread = [], 0
    for row, (image, one) in enumerate(zip(images, mine, strict=True)):
        crowd = bool(single_person and one.person and crowded(one.person))
        if crowd:
            crowds.append(image.path)
        discarded[row] = crowd or not one.answers
        for part, name in enumerate(PARTS):
            said, check = one.answers.get(name), one.checks.get(name)
            if said and said.best:
                boxes[row, part] = _inside(said.best)
                if double_check and check:
                    discarded[row, part] |= check.right is False
                    unread += check.right is None
            elif said and said.problem:
                unparsable[row, part] = discarded[row, part] = True
    labels = PartLabels(
        tuple(image.path for image in images), boxes, made=made, discarded=discarded, rule=rule
    )
    labels, replaced = calibrated(labels, calibration, identities(images))
    return Grounded(
        labels,
        count(labels, replaced, unparsable, sum(not one.answers for one in mine)),
        damaged=tuple(i.path for i, one in zip(images, mine, strict=True) if not one.answers),
        crowded=tuple(crowds),
        unread=unread,
        seconds=sum(one.seconds for one in mine),
    )


def identities(images: Sequence[Image]) -> list[int]:
    """Whose each image is; -1 for nobody's."""
    return [JUNK_PID if image.pid == DISTRACTOR_PID else image.pid for image in images]


def _inside(box: ScoredBox) -> np.ndarray:
    return np.clip(np.array(box.corners, dtype=np.float32), 0, 1)


def calibrated(
    labels: PartLabels, settings: Calibration, whose: Sequence[int]
) -> tuple[PartLabels, Masks]:
    """The labels with calibrated boxes, and which were replaced [N, R].

    What was discarded has no say in what is usual, and is left as it is.
    """
    assert labels.boxes is not None
    trusted, nobody = labels.boxes.copy(), labels.discarded
    if nobody is not None:
        trusted[nobody] = np.nan
    found = calibrate(trusted, settings, identities=whose)
    boxes, replaced = found.boxes, found.replaced
    if nobody is not None:
        boxes, replaced = boxes.copy(), replaced & ~nobody
        boxes[nobody] = labels.boxes[nobody]
    kept = settings.model_dump(mode="json")
    return replace(labels, calibrated=boxes, settings=kept), replaced


def count(
    labels: PartLabels,
    replaced: Masks | None = None,
    unparsable: Masks | None = None,
    damaged: int = 0,
) -> dict[str, PartCounts]:
    """What became of each part; found, missing, unparsable and damaged are all images together."""
    none = np.zeros((len(labels.images), len(PARTS)), dtype=bool)
    replaced = none if replaced is None else replaced
    unparsable = none if unparsable is None else unparsable
    discarded = none if labels.discarded is None else labels.discarded
    missing = labels.missing.sum(0) - unparsable.sum(0) - damaged
    return {
        part: PartCounts(
            found=int((~labels.missing[:, row]).sum()),
            missing=int(missing[row]),
            unparsable=int(unparsable[:, row].sum()),
            replaced=int(replaced[:, row].sum()),
            discarded=int(discarded[:, row].sum()),
        )
        for row, part in enumerate(PARTS)
    }


def keep(labels: PartLabels, record: GroundRecord, path: Path) -> bool:
    """Write labels and record, each whole; returns False if that is what was there already."""
    if path.is_file() and _same(path, labels) and _recorded(path, record):
        return False
    write_atomic(path, labels.write)
    record.write(record_file(path))
    return True


def _same(path: Path, labels: PartLabels) -> bool:
    """Whether a file holds these labels; its bytes do not tell, as it has no order of its own."""
    try:
        there = PartLabels.read(path)
    except DataError:
        return False
    pairs = ((getattr(labels, one.name), getattr(there, one.name)) for one in fields(labels))
    return all(_equal(mine, theirs) for mine, theirs in pairs)


def _equal(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, np.ndarray) and isinstance(theirs, np.ndarray):
        return np.array_equal(mine, theirs, equal_nan=mine.dtype.kind == "f")
    return bool(mine == theirs)


def _recorded(path: Path, record: GroundRecord) -> bool:
    try:
        there = GroundRecord.read(record_file(path))
    except DataError:
        return False
    return there.model_copy(update={"created_at": record.created_at}) == record
