"""Data sets cut once into train, query and gallery; most of them in Market-1501's folders."""

from __future__ import annotations

import re
from collections.abc import Iterable

from protocols.datasets.dataset import Dataset, make_split
from protocols.datasets.folders import Parse, Place, read_images, require_folders
from protocols.types import DISTRACTOR_PID, Image, Probe

MARKET_FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}

_NAME = re.compile(r"(-?\d+)_c(\d+)")


def parse_market_name(name: str) -> tuple[int, int] | None:
    """`0002_c1s1_000451_03.jpg` -> (2, 0): the identity, then the camera from 1."""
    match = _NAME.match(name)
    return (int(match[1]), int(match[2]) - 1) if match else None


def read_market_folders(
    place: Place, version: str = "", parse: Parse = parse_market_name
) -> Dataset:
    """A data set in bounding_box_train, query and bounding_box_test.

    Raises DataError if one of the three is missing or empty, or a file name does not parse.
    """
    require_folders(place, MARKET_FOLDERS.values())
    images = {part: read_images(place, sub, parse) for part, sub in MARKET_FOLDERS.items()}
    return closed_set(place, images["train"], images["query"], images["gallery"], version)


def closed_set(
    place: Place,
    train: Iterable[Image],
    query: Iterable[Image],
    gallery: Iterable[Image],
    version: str = "",
    notes: tuple[str, ...] = (),
) -> Dataset:
    """The Dataset of one train, query and gallery; distractors stay in the gallery only."""
    key = place.card.key
    notes = (*place.notes, *notes)
    people = {}
    for name, images in (("train", list(train)), ("query", list(query))):
        people[name] = [i for i in images if i.pid != DISTRACTOR_PID]
        dropped = len(images) - len(people[name])
        if dropped:
            notes += (f"{dropped} distractors (identity 0) in {name} left out",)
    splits = [make_split(key, name, images) for name, images in people.items()]
    splits.append(make_split(key, "gallery", gallery))
    probes = (Probe("test", splits[1], splits[2]),) if splits[1].images else ()
    parts = tuple(s for s in splits if s.images)
    return Dataset(place.card, place.data_root, place.root, parts, probes, version, notes)
