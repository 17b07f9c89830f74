"""An expert that says what a test has written for it.

Its images are of one colour, which is their number. A box tells which images were asked together.
"""

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from methods.grounding.expert import Answer, Expert, ScoredBox, Verdict, Wording

FULL = (0.1, 0.0, 0.9, 1.0)
BESIDE = (0.0, 0.1, 0.4, 0.9)
"""No more than half of it is in FULL."""


def make_data(root, count):
    """A data set `Mine` of `count` training images of 4 x 8 pixels, two an identity."""
    (root / "images").mkdir(parents=True)
    lines = ["path,pid,camid,split"]
    for number in range(count):
        Image.new("RGB", (4, 8), (number, 0, 0)).save(root / "images" / f"{number:03d}.png")
        lines.append(f"images/{number:03d}.png,{1 + number // 2},0,train")
    (root / "Mine.csv").write_text("\n".join(lines) + "\n")
    return root


def make_model(folder):
    """A folder that can pass for a model's."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@dataclass
class Script:
    """memory: pairs that fit at a time; mute: numbers of images about which it says nothing that
    can be read; lost: those in which it finds nothing; crowds: those with two people; wrong and
    unsure: those of whose boxes it says so when asked again. log: a file for the numbers that it
    is shown; dies_at: the call in which its process is killed; wait: seconds a call.
    """

    memory: int | None = None
    mute: list = field(default_factory=list)
    lost: list = field(default_factory=list)
    crowds: list = field(default_factory=list)
    wrong: list = field(default_factory=list)
    unsure: list = field(default_factory=list)
    log: str | None = None
    dies_at: int | None = None
    wait: float = 0.0


class Scripted(Expert):
    """Follows a script; `calls` are the numbers of the images of every call, `tried` its sizes."""

    name, model, revision = "grounding-dino", "scripted", "1"

    def __init__(self, script=None, wording=None):
        self.script, self.wording = script or Script(), wording or Wording()
        self.calls, self.tried = [], []

    def locate(self, images, phrases):
        numbers = self._shown(images)
        return [self._answer(n, p, sum(numbers)) for n, p in zip(numbers, phrases, strict=True)]

    def judge(self, images, boxes, phrases):
        numbers = self._shown(images)
        assert all(self._box(n, p) == box.corners[1] for n, box, p
                   in zip(numbers, boxes, phrases, strict=True))  # fmt: skip
        say = {**dict.fromkeys(self.script.wrong, False), **dict.fromkeys(self.script.unsure)}
        return [Verdict("hm", say.get(number, True)) for number in numbers]

    def _shown(self, images):
        self.tried.append(len(images))
        if self.script.memory and len(images) > self.script.memory:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        numbers = [image.getpixel((0, 0))[0] for image in images]
        self.calls.append(numbers)
        time.sleep(self.script.wait)
        if len(self.calls) == self.script.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.script.log:
            with Path(self.script.log).open("a") as file:
                file.write("".join(f"{number}\n" for number in numbers))
        return numbers

    def _box(self, number, phrase):
        return (number + 1) * self.wording.phrases.index(phrase) / 1000

    def _answer(self, number, phrase, together):
        if phrase == self.wording.person:
            boxes = (ScoredBox(*FULL), ScoredBox(*BESIDE))[: 1 + (number in self.script.crowds)]
            return Answer("people", boxes)
        if number in self.script.mute:
            return Answer("As an AI, I see \ud800", problem="no box in it")
        if number in self.script.lost:
            return Answer("none")
        top = self._box(number, phrase)
        box = ScoredBox(together % 97 / 1000, top, 0.9, top + 0.3, 0.7)
        return Answer(f"{phrase} of {number}", (box, ScoredBox(0, 0, 1, 1, 0.1)))
