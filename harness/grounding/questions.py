"""What `harness ground` asks an expert about an image: where its parts are, and two doubts.

A question becomes pairs of an image and a phrase; pairs of many images are asked together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL.Image import Image

from harness.grounding.answers import Check, Known, Line, Said
from methods.grounding.expert import Answer, Expert, ScoredBox, Verdict, Wording
from methods.grounding.quality import box_iou
from methods.interface import PARTS

CROWD = 0.3
"""A second box is another person if it has this share of the area of the largest one ..."""
SAME = 0.5
"""... and overlaps it by no more than this intersection over union."""


@dataclass(frozen=True)
class Pair:
    """One thing to ask of one image: a `phrase`, which may be of a `part`, and of its `box`."""

    image: Image
    phrase: str
    part: str = ""
    box: ScoredBox | None = None


class Question(ABC):
    """`doing` says in words what is being asked."""

    doing: str

    def __init__(self, wording: Wording) -> None:
        self.phrases = dict(zip(PARTS, wording.phrases, strict=True))
        self.person = wording.person

    @abstractmethod
    def lacks(self, known: Known) -> bool:
        """Whether it has to be asked of an image yet."""

    @abstractmethod
    def pairs(self, image: Image, known: Known) -> list[Pair]:
        """What is asked of an image."""

    def ask(self, expert: Expert, pairs: Sequence[Pair]) -> Sequence[Answer | Verdict]:
        """The expert's replies, in order."""
        return expert.locate([pair.image for pair in pairs], [pair.phrase for pair in pairs])

    @abstractmethod
    def line(self, line: Line, pairs: Sequence[Pair], replies: Sequence[Answer | Verdict]) -> Line:
        """`line` with the replies about its image."""


class Parts(Question):
    """Where is each part?"""

    doing = "parts"

    def lacks(self, known: Known) -> bool:
        return not known.answers

    def pairs(self, image: Image, known: Known) -> list[Pair]:
        return [Pair(image, phrase, part) for part, phrase in self.phrases.items()]

    def line(self, line: Line, pairs: Sequence[Pair], replies: Sequence[Answer | Verdict]) -> Line:
        said = {pair.part: _said(reply) for pair, reply in zip(pairs, replies, strict=True)}
        return line.model_copy(update={"answers": said, "size": pairs[0].image.size})


class People(Question):
    """Who is there?"""

    doing = "single person"

    def lacks(self, known: Known) -> bool:
        return not known.damaged and known.person is None

    def pairs(self, image: Image, known: Known) -> list[Pair]:
        return [Pair(image, self.person)]

    def line(self, line: Line, pairs: Sequence[Pair], replies: Sequence[Answer | Verdict]) -> Line:
        return line.model_copy(update={"person": _said(replies[0])})


class Checks(Question):
    """Is that really the part? Of the box of every part that was found."""

    doing = "double check"

    def lacks(self, known: Known) -> bool:
        return any(said.best and part not in known.checks for part, said in known.answers.items())

    def pairs(self, image: Image, known: Known) -> list[Pair]:
        found = {part: said.best for part, said in known.answers.items()}
        return [Pair(image, self.phrases[part], part, box) for part, box in found.items() if box]

    def ask(self, expert: Expert, pairs: Sequence[Pair]) -> Sequence[Answer | Verdict]:
        boxes = [pair.box for pair in pairs if pair.box]
        phrases = [pair.phrase for pair in pairs]
        return expert.judge([pair.image for pair in pairs], boxes, phrases)

    def line(self, line: Line, pairs: Sequence[Pair], replies: Sequence[Answer | Verdict]) -> Line:
        checks = {}
        for pair, reply in zip(pairs, replies, strict=True):
            assert pair.box is not None and isinstance(reply, Verdict)
            checks[pair.part] = Check.of(pair.box, reply)
        return line.model_copy(update={"checks": checks})


def crowded(person: Said) -> bool:
    """Whether an image shows a second person of some size beside the largest one."""
    boxes = [box for box in (ScoredBox(*box) for box in person.boxes) if box.area > 0]
    if not boxes:
        return False
    largest, *others = sorted(boxes, key=lambda box: box.area, reverse=True)
    sizable = [box for box in others if box.area >= CROWD * largest.area]
    apart = box_iou(_corners(sizable), _corners([largest])) <= SAME
    return bool(apart.any())


def _corners(boxes: Sequence[ScoredBox]) -> np.ndarray:
    return np.array([box.corners for box in boxes], dtype=np.float64).reshape(-1, 4)


def _said(reply: Answer | Verdict) -> Said:
    assert isinstance(reply, Answer)
    return Said.of(reply)
