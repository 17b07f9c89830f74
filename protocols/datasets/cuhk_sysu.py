"""CUHK-SYSU's cropped people, `p1_s123_...jpg`; a source only, without camera ids."""

from __future__ import annotations

import re

from protocols.datasets.card import Count, DatasetCard
from protocols.datasets.dataset import Dataset, make_split
from protocols.datasets.folders import Place, half_copied, read_images
from protocols.types import JUNK_PID

CARDS = (
    DatasetCard(
        key="CS",
        name="CUHK-SYSU",
        citation="Xiao et al., Joint Detection and Identification Feature Learning, CVPR 2017",
        year=2017,
        terms="Academic research only, as its owners ask.",
        folders=(
            "cuhk_sysu/cropped_images",
            "CUHK-SYSU/cropped_image",
            "CUHK-SYSU/cropped_images",
            "cuhk_sysu/cropped_image",
        ),
        counts={"train": Count(34574, 11934)},
        can_be_target=False,
    ),
)

_NAME = re.compile(r"p(-?\d+)_s\d+")


def parse_name(name: str) -> tuple[int, int] | None:
    """`p7_s123_1.jpg` -> (8, 0): person 0 would be taken for a distractor, so all move up by one.

    There are no cameras: every image has camera 0.
    """
    match = _NAME.match(name)
    if not match:
        return None
    return (JUNK_PID if int(match[1]) == JUNK_PID else int(match[1]) + 1, 0)


def read(place: Place) -> Dataset:
    """All images are the training set. Raises DataError if there are none."""
    images = read_images(place, "", parse_name)
    if not images:
        raise half_copied(place, "it holds no image")
    train = make_split(place.card.key, "train", images)
    return Dataset(place.card, place.data_root, place.root, (train,), notes=place.notes)
