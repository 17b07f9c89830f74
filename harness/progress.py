"""What the engine tells whoever watches: one small interface, so that it needs no terminal."""

from __future__ import annotations


class Progress:
    """Told of work done, in images passed through the model; this one keeps quiet.

    The unit is one image through a forward pass; a training step on an image counts
    `TRAINING_PASS` of them, so that an estimate holds over stages and evaluations.
    """

    def advance(self, units: float, doing: str) -> None:
        """`units` more are done; `doing` says in words what is going on."""

    def say(self, text: str) -> None:
        """A line that must stay visible: a warning, a finished run."""


TRAINING_PASS = 3.0
"""A training step costs about three forward passes."""
EVALUATION_PASS = 1.0
