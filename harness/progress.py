"""What the engine tells whoever watches: one small interface, so that it needs no terminal."""

from __future__ import annotations


class Progress:
    """Told of work done, in images passed through the model; this one keeps quiet.

    The unit is one image through a forward pass; a training step on an image counts
    `TRAINING_PASS` of them, so that an estimate holds over stages and evaluations.
    """

    def advance(self, units: float, doing: str) -> None:
        """`units` more are done; `doing` says in words what is going on.

        Words that begin with `GOING_ON` are of work that an earlier process has done.
        """

    def step(self, *, stage: str, epoch: int, epochs: int, loss: float | None, images: int) -> None:
        """One optimiser step of epoch `epoch` (from 1) of `epochs` on `images` images.

        `loss` is the sum of its losses, None where it is not known without waiting for it.
        """

    def say(self, text: str) -> None:
        """A line that must stay visible: a warning, a finished run."""


TRAINING_PASS = 3.0
"""A training step costs about three forward passes."""
EVALUATION_PASS = 1.0
GOING_ON = "going on"
TESTING = "testing on"
"""How the words begin while a target's images are encoded."""


def duration(seconds: float) -> str:
    """Seconds in words a person reads: `40 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
