"""What a reader returns: one data set as found on disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from protocols.datasets.card import DatasetCard
from protocols.errors import DataError
from protocols.types import DISTRACTOR_PID, Image, Probe, Split


@dataclass(frozen=True)
class Dataset:
    """One data set under a data root. Everything is listed on opening; no image is decoded.

    `parts` are its images as they lie on disk (train, query, gallery; or cam_a, cam_b; ...),
    named as in the card's counts. `version` tells variants of one data set apart ("V1",
    "detected"), empty where there is only one. `notes` are oddities met, in words.
    """

    card: DatasetCard
    data_root: Path
    root: Path
    parts: tuple[Split, ...]
    probe_splits: tuple[Probe, ...] = ()
    version: str = ""
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The data set's key in protocols."""
        return self.card.key

    def train(self) -> Split:
        """The training images. Raises DataError for a data set without any."""
        for part in self.parts:
            if part.name == "train":
                return part
        raise DataError(f"{self.key} has no training images; it can not be a source.")

    def all(self) -> Split:
        """Train, query and gallery as one training split, for protocols that train on all.

        Each file once, no distractors: they are nobody. Raises DataError if there is no train.
        """
        self.train()
        people = {
            image.path: image
            for part in reversed(self.parts)  # a file in two parts is taken from the first
            for image in part.images
            if image.pid != DISTRACTOR_PID
        }
        return make_split(self.key, "all", people.values())

    def probes(self) -> tuple[Probe, ...]:
        """The query/gallery pairs a number is averaged over. Raises DataError if there are none."""
        if not self.probe_splits:
            raise DataError(f"{self.key} has no query and gallery; it can not be a target.")
        return self.probe_splits


def make_split(key: str, name: str, images: Iterable[Image]) -> Split:
    """A Split, sorted by path."""
    return Split(key, name, tuple(sorted(images)))


def numbered_probe(
    key: str, number: int, query: Iterable[Image], gallery: Iterable[Image]
) -> Probe:
    """Probe split `number`, from 1, of a data set that has several.

    Raises DataError if a side is empty.
    """
    name = f"split-{number:02d}"
    sides = (make_split(key, f"query/{name}", query), make_split(key, f"gallery/{name}", gallery))
    for side in sides:
        if not side.images:
            raise DataError(
                f"{key}: {side.name} is empty: none of its test identities are on disk. "
                "The data set is not complete; copy it again."
            )
    return Probe(name, *sides)
