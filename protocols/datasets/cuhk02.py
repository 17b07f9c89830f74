"""CUHK02: five pairs of cameras, `P1/cam1/001_1_1.png` ...; a source only."""

from __future__ import annotations

import re

from protocols.datasets.card import Count, DatasetCard
from protocols.datasets.dataset import Dataset, make_split
from protocols.datasets.folders import Place, read_images, require_folders
from protocols.types import Image

CARDS = (
    DatasetCard(
        key="C2",
        name="CUHK02",
        citation="Li and Wang, Locally Aligned Feature Transforms across Views, CVPR 2013",
        year=2013,
        terms="Academic research only, as its owners ask.",
        folders=("cuhk02/Dataset", "cuhk02", "CUHK02/Dataset", "CUHK02"),
        counts={"train": Count(7264, 1816)},
        cameras=10,
        can_be_target=False,
    ),
)

_PAIRS = range(1, 6)
_PER_PAIR = 10_000
"""Every pair numbers its people from 1 and they are different people: 20 017 is P2's 17."""

_NAME = re.compile(r"(\d+)_")


def read(place: Place) -> Dataset:
    """All images are the training set. Raises DataError if one of the ten folders is missing."""
    needed = {(pair, cam): f"P{pair}/cam{cam}" for pair in _PAIRS for cam in (1, 2)}
    require_folders(place, needed.values())
    images: list[Image] = []
    for (pair, cam), sub in needed.items():

        def parse(name: str, pair: int = pair, cam: int = cam) -> tuple[int, int] | None:
            match = _NAME.match(name)
            return (pair * _PER_PAIR + int(match[1]), 2 * (pair - 1) + cam - 1) if match else None

        images += read_images(place, sub, parse)
    train = make_split(place.card.key, "train", images)
    return Dataset(place.card, place.data_root, place.root, (train,), notes=place.notes)
