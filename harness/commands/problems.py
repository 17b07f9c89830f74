"""What could not be read or used, named after what was shown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from harness.screen import many, say
from results.tables import printable


def show_problems(stderr: Console, problems: Sequence[str], what: str = "record") -> None:
    """A line for each problem, under how many there are; nothing for none."""
    if problems:
        say(stderr, f"{many(len(problems), what)} left out or doubtful:", style="yellow")
    for problem in problems:
        say(stderr, f"- {printable(problem)}")
