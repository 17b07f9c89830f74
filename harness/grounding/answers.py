"""The raw answers of an expert about a data set's images, as they are kept on the disk.

    <KEY>-<EXPERT>-<TAG>.answers/
        1-of-2.000001.jsonl    what one start of the first of two shards was answered
        .1-of-2.lease/         which process works on that shard (harness.lease)

The first line of a file says who was asked and how (`Head`), every other one is of one image
(`Line`). Each start writes a file of its own, so no two processes ever write into one. What is
asked together is written together: `more` says how many lines of its batch follow. A batch that is
not there to its last line was being written when its process ended, and does not count, so that it
is asked again as it was and gets the same answers.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from harness.files import full_disk_named
from harness.lease import Lease, hold
from methods.grounding.expert import Answer, ScoredBox, Verdict
from methods.interface import PARTS
from protocols.errors import DataError

SUFFIX = ".jsonl"
Corners = tuple[float, float, float, float]
T = TypeVar("T", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Head(_Strict):
    """Who was asked, how, and by what means."""

    format: Literal["grounding answers"] = "grounding answers"
    version: Literal[1] = 1
    expert: str
    model: str
    revision: str
    wording: dict[str, str]
    precision: str
    device: str


class Said(_Strict):
    """An `Answer` on the disk: boxes are xmin, ymin, xmax, ymax, score; the best first."""

    raw: str
    boxes: tuple[tuple[float, float, float, float, float | None], ...] = ()
    problem: str = ""

    @field_validator("boxes")
    @classmethod
    def _are_boxes(cls, boxes: tuple[Any, ...]) -> tuple[Any, ...]:
        if not all(_is_box(ScoredBox(*box)) for box in boxes):
            raise ValueError("a box without an inside in the image")
        return boxes

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """An answer; one with a box that can be none has a problem instead."""
        for box in answer.boxes:
            if not _is_box(box):
                score = "" if box.score is None else f", score {box.score:g}"
                odd = ", ".join(f"{value:g}" for value in box.corners) + score
                return cls(raw=_text(answer.raw), problem=f"no box: {odd}")
        boxes = tuple((*box.corners, box.score) for box in answer.boxes)
        return cls(raw=_text(answer.raw), boxes=boxes, problem=answer.problem)

    @property
    def best(self) -> ScoredBox | None:
        """The box of the part: the first one."""
        return ScoredBox(*self.boxes[0]) if self.boxes else None


class Check(_Strict):
    """A `Verdict` on the disk, and the box it is about."""

    box: Corners
    raw: str
    right: bool | None = None

    @classmethod
    def of(cls, box: ScoredBox, verdict: Verdict) -> Self:
        """What was said of a box."""
        return cls(box=box.corners, raw=_text(verdict.raw), right=verdict.right)


class Line(_Strict):
    """What was said of one image, known by its path below the data root and its SHA-256.

    `answers` of the parts, `person` of people, `checks` of boxes: as many as were asked for
    together. `damaged` says why a file is no image. `seconds`: its share of the time it took.
    """

    image: str
    content: str
    size: tuple[int, int] | None = None
    answers: dict[str, Said] | None = None
    person: Said | None = None
    checks: dict[str, Check] | None = None
    damaged: str | None = None
    seconds: float = 0.0
    more: int = 0

    @field_validator("answers", "checks")
    @classmethod
    def _are_of_parts(cls, said: dict[str, Any] | None) -> dict[str, Any] | None:
        for part in said or {}:
            if part not in PARTS:
                raise ValueError(f"{part!r} is none of {', '.join(PARTS)}")
        return said


@dataclass
class Known:
    """All that is known of one image as it is now."""

    size: tuple[int, int] | None = None
    answers: dict[str, Said] = field(default_factory=dict)
    person: Said | None = None
    checks: dict[str, Check] = field(default_factory=dict)
    damaged: str = ""
    seconds: float = 0.0

    def take(self, line: Line) -> None:
        """Add a line; what is known already stays, so that one order of files means one result."""
        self.seconds += line.seconds
        if line.answers is not None and not self.answers:
            self.answers, self.size, self.damaged = line.answers, line.size, ""
        if line.damaged is not None and not self.answers:
            self.damaged = line.damaged
        self.person = self.person or line.person
        for part, check in (line.checks or {}).items():
            # one about another box is of answers that are not used
            said = self.answers.get(part)
            if said and said.best and said.best.corners == check.box:
                self.checks.setdefault(part, check)


class Answers:
    """The answers in a folder, which need not be there yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.heads: list[Head] = []

    def read(self, contents: Mapping[str, str]) -> dict[str, Known]:
        """What is known of images, given as path -> SHA-256; nothing is of other contents.

        Raises DataError naming file and line of what is not readable, but for a batch at the end
        of a file that was never finished.
        """
        known = {image: Known() for image in contents}
        self.heads = []
        files = sorted(self.folder.glob(f"*{SUFFIX}"))
        lines = [line for file in files for line in self._lines(file)]
        # answers first: a later start may have checked the boxes that an earlier one was given
        for line in sorted(lines, key=lambda line: line.answers is None):
            if contents.get(line.image) == line.content:
                known[line.image].take(line)
        return known

    def _lines(self, file: Path) -> list[Line]:
        try:
            *whole, _torn = file.read_bytes().split(b"\n")
        except OSError as error:
            raise DataError(f"{file} can not be read: {error.strerror or error}.") from error
        if not whole:
            return []
        self.heads.append(_parsed(Head, whole[0], file, 1))
        lines = [_parsed(Line, text, file, n) for n, text in enumerate(whole[1:], 2)]
        while lines and lines[-1].more:
            lines.pop()
        return lines

    @contextlib.contextmanager
    def writing(
        self, head: Head, shard: str, waiting: Callable[[str], None] | None = None
    ) -> Iterator[Writer]:
        """Be the one process that works on a shard; `waiting` is told who does, if another."""
        with hold(self.folder / f".{shard}.lease", waiting) as lease:
            writer = Writer(self.folder / f"{shard}.{lease.path.name}{SUFFIX}", head, lease)
            try:
                yield writer
            finally:
                writer.close()


class Writer:
    """Appends to a file of this process alone, made with the first batch."""

    def __init__(self, path: Path, head: Head, lease: Lease) -> None:
        self.path, self.head, self.lease = path, head, lease
        self._file: BinaryIO | None = None

    def add(self, lines: Sequence[Line]) -> None:
        """A batch: on the disk, whole, when this returns. Raises ReIDError for a full disk."""
        self.lease.check()
        last = len(lines) - 1
        texts = [line.model_copy(update={"more": last - i}) for i, line in enumerate(lines)]
        with full_disk_named(self.path):
            if self._file is None:
                self._file = self.path.open("xb")
                self._file.write(_bytes(self.head))
            self._file.write(b"".join(map(_bytes, texts)))
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """No more will come."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # what a full disk did not take was told of
                self._file.close()


def _is_box(box: ScoredBox) -> bool:
    """Whether it is of numbers, and has an inside within the image."""
    numbers = box.corners if box.score is None else (*box.corners, box.score)
    if not all(map(math.isfinite, numbers)):
        return False
    return max(box.xmin, 0) < min(box.xmax, 1) and max(box.ymin, 0) < min(box.ymax, 1)


def _text(said: str) -> str:
    """What a model said; half of a character, which UTF-8 can't hold, becomes a question mark."""
    return said.encode("utf-8", "replace").decode("utf-8")


def _bytes(value: BaseModel) -> bytes:
    values = value.model_dump(mode="json", exclude_none=True)
    return json.dumps(values, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _parsed(kind: type[T], text: bytes, file: Path, number: int) -> T:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        what = error.errors()[0]
        where, why = ".".join(map(str, what["loc"])), what["msg"].removeprefix("Value error, ")
        raise DataError(
            f"{file}:{number}: no answer as `harness ground` writes them ({where or 'line'}: "
            f"{why}). Remove {'the file' if number == 1 else 'that line'}: what it held is asked "
            "again."
        ) from error
