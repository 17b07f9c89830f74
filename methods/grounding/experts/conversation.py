"""What experts that answer in words share: asking, and reading answers in their documented forms.

    CogVLM              [[x0,y0,x1,y1]]                             thousandths, three digits
    Qwen2-VL            <|box_start|>(x0,y0),(x1,y1)<|box_end|>     thousandths
    Qwen2.5-VL          [{"bbox_2d": [x0, y0, x1, y1], ...}]        pixels of what the model saw
    Qwen3-VL            the same                                    thousandths

Readers take an answer as a whole or not at all. Words around the boxes, a number too many, a box
turned inside out, an end that never came: none of it is mended, the answer has a `problem`.

A thousandth N is the fraction N / 1000 of the width or height (CogVLM's authors: "the proportion
of the width or height * 1000"). So CogVLM, whose largest number is 999, never quite reaches the
right and lower border.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import ImageDraw
from PIL.Image import Image

from methods.grounding.expert import Answer, Expert, ScoredBox, Verdict

THOUSANDTHS = (1000, 1000)
"""What coordinates count to where they are relative: width, height."""
GREEN = (0, 255, 0)
"""The colour of the box in a second question (`Wording.check` names it)."""
VERDICT_TOKENS = 16
"""More than enough for the word that a verdict starts with."""

Boxes = list[ScoredBox]

_COG_BOX = r"[0-9]{3}(?:, ?[0-9]{3}){3}"
_COG = re.compile(rf"\[\[{_COG_BOX}(?:; ?{_COG_BOX})*\]\]")
_QWEN2_BOX = (
    r"<\|box_start\|>\(([0-9]{1,4}),([0-9]{1,4})\),\(([0-9]{1,4}),([0-9]{1,4})\)<\|box_end\|>"
)
_QWEN2_NAME = r"<\|object_ref_start\|>[^<]*<\|object_ref_end\|>"
_QWEN2 = re.compile(rf"(?:(?:{_QWEN2_NAME})?{_QWEN2_BOX}\s*)+")
_FENCE = re.compile(r"```json\s*\n(.*)\n\s*```", re.DOTALL)
_VERDICT = re.compile(r"\s*(yes|no)(?![\w'-])", re.IGNORECASE)


class Unreadable(Exception):
    """An answer that is not of its documented form; says in what way."""


@dataclass(frozen=True)
class Said:
    """What a model said. `finished`: it came to its end within the tokens it was given.

    `seen` is the width and height in pixels of the image as the model got it.
    """

    text: str
    finished: bool
    seen: tuple[int, int]


class Talker(Expert):
    """An expert that is asked in words and answers in words."""

    answer_tokens = 256
    """Longest answer with boxes; one box takes about twenty tokens."""

    @abstractmethod
    def ask(self, images: Sequence[Image], questions: Sequence[str], tokens: int) -> list[Said]:
        """What the model says to each pair of image and question, in at most `tokens` tokens."""

    @abstractmethod
    def read(self, said: Said) -> Boxes:
        """The boxes of an answer in the model's documented form; raises Unreadable."""

    def question(self, phrase: str) -> str:
        """How the place of `phrase` is asked for: `wording.prompt`."""
        return self.wording.prompt.replace("{part}", phrase)

    def locate(self, images: Sequence[Image], phrases: Sequence[str]) -> list[Answer]:
        """The answer for every pair of an RGB image and a phrase, in order."""
        questions = [self.question(phrase) for phrase in phrases]
        said = self.ask(images, questions, self.answer_tokens)
        return [answer(one, self.read, self.answer_tokens) for one in said]

    def judge(
        self, images: Sequence[Image], boxes: Sequence[ScoredBox], phrases: Sequence[str]
    ) -> list[Verdict]:
        """Yes or no to `wording.check`, with the box drawn in green on the image."""
        drawn = [with_box(image, box) for image, box in zip(images, boxes, strict=True)]
        questions = [self.wording.check.replace("{part}", phrase) for phrase in phrases]
        return [verdict(one.text) for one in self.ask(drawn, questions, VERDICT_TOKENS)]


def answer(said: Said, read: Callable[[Said], Boxes], tokens: int) -> Answer:
    """What was said with its boxes, or with the problem of reading them."""
    if not said.finished:
        return Answer(said.text, problem=f"the answer goes on after {tokens} tokens")
    try:
        return Answer(said.text, tuple(read(said)))
    except Unreadable as problem:
        return Answer(said.text, problem=str(problem))


def cut(tokens: Sequence[int], ends: Iterable[int]) -> tuple[list[int], bool]:
    """The tokens before the first of `ends`, and whether one came."""
    known = set(ends)
    for place, token in enumerate(tokens):
        if token in known:
            return list(tokens[:place]), True
    return list(tokens), False


def cogvlm_boxes(text: str) -> Boxes:
    """`[[x0,y0,x1,y1;x0,y0,x1,y1]]`: three-digit thousandths, a blank after a comma or none.

    Raises Unreadable for anything else.
    """
    text = text.strip()
    if not _COG.fullmatch(text):
        raise Unreadable("not of the form [[x0,y0,x1,y1]] with three digits each, and nothing else")
    groups = [re.findall("[0-9]+", box) for box in text.split(";")]
    return [_box([int(number) for number in group], THOUSANDTHS) for group in groups]


def qwen2_boxes(text: str) -> Boxes:
    """`<|box_start|>(x0,y0),(x1,y1)<|box_end|>`, with the object's name before it or not.

    Thousandths. Raises Unreadable for anything else.
    """
    text = text.strip()
    if not _QWEN2.fullmatch(text):
        raise Unreadable(
            "not of the form <|object_ref_start|>name<|object_ref_end|>"
            "<|box_start|>(x0,y0),(x1,y1)<|box_end|>, and nothing else"
        )
    groups = re.findall(_QWEN2_BOX, text)
    return [_box([int(number) for number in group], THOUSANDTHS) for group in groups]


def json_boxes(text: str, size: tuple[int, int]) -> Boxes:
    """`[{"bbox_2d": [x0, y0, x1, y1], "label": "name"}]`, maybe between ```json and ```.

    `size` is the width and height that coordinates count to. One object may stand without its
    list, and without a label; an empty list says that nothing was found. Raises Unreadable for
    anything else.
    """
    fenced = _FENCE.fullmatch(text.strip())
    try:
        found = json.loads(
            fenced[1] if fenced else text,
            object_pairs_hook=_once_each,
        )
    except (ValueError, RecursionError):
        raise Unreadable("not JSON, or not JSON alone") from None
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list):
        raise Unreadable('not a list of {"bbox_2d": [x0, y0, x1, y1], "label": ...}')
    return [_json_box(entry, size) for entry in found]


def verdict(text: str) -> Verdict:
    """Whether an answer starts with the word yes, or no; neither is None."""
    word = _VERDICT.match(text)
    return Verdict(text, word[1].lower() == "yes" if word else None)


def with_box(image: Image, box: ScoredBox) -> Image:
    """A copy of an image with a box drawn in green, at least two pixels thick."""
    drawn = image.convert("RGB")
    width, height = drawn.size
    left, top = (min(int(low * n), n - 1) for low, n in ((box.xmin, width), (box.ymin, height)))
    right = max(left, round(box.xmax * width) - 1)
    bottom = max(top, round(box.ymax * height) - 1)
    line = max(2, min(width, height) // 100)
    ImageDraw.Draw(drawn).rectangle((left, top, right, bottom), outline=GREEN, width=line)
    return drawn


def _box(corners: Sequence[float], size: tuple[int, int]) -> ScoredBox:
    """The box of four numbers that count to `size`; raises Unreadable."""
    for number, limit in zip(corners, (*size, *size), strict=True):
        if not 0 <= number <= limit:
            raise Unreadable(f"a coordinate is not within 0 and {limit}")
    xmin, ymin, xmax, ymax = (n / limit for n, limit in zip(corners, (*size, *size), strict=True))
    box = ScoredBox(xmin, ymin, xmax, ymax)
    if xmin >= xmax or ymin >= ymax or not box.area > 0:
        raise Unreadable("a box whose left is not left of its right, or top not above its bottom")
    return box


def _json_box(entry: Any, size: tuple[int, int]) -> ScoredBox:
    """The box of one object of a list; raises Unreadable."""
    if not isinstance(entry, dict) or "bbox_2d" not in entry or entry.keys() - {"bbox_2d", "label"}:
        raise Unreadable('not an object of "bbox_2d" and "label" alone')
    corners = entry["bbox_2d"]
    if not isinstance(entry.get("label", ""), str):
        raise Unreadable('"label" is not a text')
    # a truth value is an int to Python
    if not isinstance(corners, list) or [type(n) in (int, float) for n in corners] != [True] * 4:
        raise Unreadable('"bbox_2d" is not four numbers')
    return _box(corners, size)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's keys; JSON allows one twice, and which counts would be a guess."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a key twice")
    return entries
