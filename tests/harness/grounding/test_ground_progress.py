"""What is seen of a walk while it goes on, where there is a terminal and where there is none."""

import io
import re

import pytest
from rich.console import Console

from harness import speed
from harness.commands.grounding import progress as ground_progress
from harness.commands.grounding.progress import GroundProgress


@pytest.fixture
def clock(monkeypatch):
    """Time as a test has it: `clock[0]` is now."""
    now = [100.0]

    class Clock:
        monotonic = staticmethod(lambda: now[0])

    for module in (speed, ground_progress):
        monkeypatch.setattr(module, "time", Clock)
    return now


def walk(console, clock, batches, left=100, seconds=2.0):
    with GroundProgress(console, "MA") as progress:
        progress.begin("parts", 100, left)
        clock[0] += 60  # an expert is loaded
        for _ in range(batches):
            clock[0] += seconds
            progress.advance(10, seconds)
    return console.file.getvalue()


def plain():
    return Console(file=io.StringIO(), width=200)


def test_the_pace_is_told_as_soon_as_it_is_known(clock):
    printed = walk(plain(), clock, 3)
    assert printed.endswith("Measured here: 5 images/s, about 14 s for the 70 images left.\n")
    assert "Measured" not in walk(plain(), clock, 2)


def test_without_a_terminal_a_line_comes_now_and_then(clock):
    lines = walk(plain(), clock, 10).splitlines()
    assert lines[0] == "MA, parts: 10 of 100  5 images/s"  # a minute after it began
    assert lines[1].startswith("Measured here")
    assert lines[2:] == ["MA, parts: 80 of 100  5 images/s, about 4 s left"]


def test_what_was_done_before_is_told_and_no_part_of_the_pace(clock):
    lines = walk(plain(), clock, 3, left=40).splitlines()
    assert lines[0] == "MA, parts: goes on; 60 of 100 are done."
    assert lines[-1] == "Measured here: 5 images/s, about 2 s for the 10 images left."


def test_in_a_terminal_there_is_a_bar(clock):
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with GroundProgress(console, "MA") as progress:
        progress.begin("double check", 100, 40)
        clock[0] += 2
        progress.advance(10, 2.0)
    printed = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert re.search(r"MA, double check \S+ 70/100  5 images/s", printed), printed
