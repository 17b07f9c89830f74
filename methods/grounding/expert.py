"""What an expert is: an image and a phrase in, boxes with scores out, nothing guessed.

    expert.locate([image], ["the head of the person"])  ->  [Answer(raw, boxes, problem)]

What it said is kept word for word beside what was understood of it. An answer in another form than
its documented one is not interpreted: it has a `problem` and no boxes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from PIL.Image import Image
from pydantic import BaseModel, ConfigDict, field_validator

from methods.interface import PARTS

COVERS = 0.5
"""A box is right if the expert, shown its inside alone, finds the part in this share of it."""


@dataclass(frozen=True)
class ScoredBox:
    """A box as fractions 0..1 of the image's width and height; `score` 0..1, None if not given."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float
    score: float | None = None

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """xmin, ymin, xmax, ymax."""
        return self.xmin, self.ymin, self.xmax, self.ymax

    @property
    def area(self) -> float:
        """Share of the image."""
        return (self.xmax - self.xmin) * (self.ymax - self.ymin)


@dataclass(frozen=True)
class Answer:
    """`raw`: what the expert said. `boxes`: the best first; none if it found nothing.

    `problem` says why `raw` could not be read; there are no boxes then.
    """

    raw: str
    boxes: tuple[ScoredBox, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Verdict:
    """Of a second question about a box: `right` is None where the answer could not be read."""

    raw: str
    right: bool | None


class Wording(BaseModel):
    """How experts are asked; the phrases and `prompt` are the paper's (section 3.2.3).

    `{part}` stands for the phrase. An expert that takes phrases only (a detector) ignores `prompt`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = (
        "Guide me to the location of {part} within the image by providing its bounding boxes"
    )
    head: str = "the head of the person"
    upper: str = "the upper body of the person"
    legs: str = "the legs of the person"
    person: str = "every person"
    check: str = "Does the green box in the image show {part}? Answer yes or no."

    @field_validator("prompt", "check")
    @classmethod
    def _names_the_part(cls, text: str) -> str:
        if "{part}" not in text:
            raise ValueError("expected {part} in it, where the phrase of each part goes")
        return text

    @field_validator(*PARTS, "person")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("expected a phrase")
        return text

    @property
    def phrases(self) -> tuple[str, ...]:
        """The phrase of every part, in the order of `PARTS`."""
        return tuple(getattr(self, part) for part in PARTS)


class Expert(ABC):
    """Something that finds what a phrase says in an image.

    name: as `--expert` has it; model: hub name or folder; revision: the commit of the hub, or a
    digest of the folder's files, so that the same name never stands for two models.
    """

    name: str
    model: str
    revision: str
    wording: Wording

    @abstractmethod
    def locate(self, images: Sequence[Image], phrases: Sequence[str]) -> list[Answer]:
        """The answer for every pair of an RGB image and a phrase, in order.

        Raises torch.OutOfMemoryError where so many at once are too much.
        """

    def judge(
        self, images: Sequence[Image], boxes: Sequence[ScoredBox], phrases: Sequence[str]
    ) -> list[Verdict]:
        """Whether each box holds what its phrase says, by the expert's own second look.

        Here by asking again of the inside of the box; experts that talk are asked outright.
        """
        insides = [inside(image, box) for image, box in zip(images, boxes, strict=True)]
        verdicts = []
        for answer in self.locate(insides, phrases):
            right = any(box.area >= COVERS for box in answer.boxes)
            verdicts.append(Verdict(answer.raw, None if answer.problem else right))
        return verdicts


def inside(image: Image, box: ScoredBox) -> Image:
    """The part of an image in a box, at least one pixel wide and high."""
    width, height = image.size
    left, top = int(box.xmin * width), int(box.ymin * height)
    left, top = min(left, width - 1), min(top, height - 1)
    right = max(left + 1, round(box.xmax * width))
    bottom = max(top + 1, round(box.ymax * height))
    return image.crop((left, top, right, bottom))
