"""QMUL GRID: `probe/0001_1_25004_107_32_106_221.jpeg`, 0000 are distractors.

Its owners publish ten splits, in features_and_partitions.mat: 125 training people each, the
other 125 are test.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from protocols.datasets.card import Count, DatasetCard
from protocols.datasets.dataset import Dataset, make_split, numbered_probe
from protocols.datasets.folders import Place, half_copied, read_images, require_folders
from protocols.errors import DataError
from protocols.types import DISTRACTOR_PID

CARDS = (
    DatasetCard(
        key="GRID",
        name="QMUL GRID",
        citation="Loy et al., Multi-Camera Activity Correlation Analysis, CVPR 2009",
        year=2009,
        terms="Academic research only, as its owners ask.",
        folders=("underground_reid", "GRID/underground_reid", "grid/underground_reid", "GRID"),
        counts={"probe": Count(250, 250), "gallery": Count(1025, 250)},
        cameras=8,
        can_be_source=False,
        probe_splits=10,
    ),
)

PARTITIONS = "features_and_partitions.mat"
_FOLDERS = ("probe", "gallery")
_TRAINING_PEOPLE = 125
_NAME = re.compile(r"(\d+)_(\d+)_")


def parse_name(name: str) -> tuple[int, int] | None:
    """`0001_1_25004_107_32_106_221.jpeg` -> (1, 0): the identity, then the camera from 1."""
    match = _NAME.match(name)
    return (int(match[1]), int(match[2]) - 1) if match else None


def read(place: Place) -> Dataset:
    """Query: test people's probe images. Gallery: their gallery images and all distractors.

    Raises DataError if a folder or the .mat is missing or is not what it should be.
    """
    require_folders(place, _FOLDERS)
    path = place.root / PARTITIONS
    if not path.is_file():
        raise half_copied(place, f"{PARTITIONS} is missing, which holds the official splits")
    key = place.card.key
    parts = tuple(make_split(key, sub, read_images(place, sub, parse_name)) for sub in _FOLDERS)
    probes = []
    for number, training in enumerate(read_partitions(path), 1):
        left_out = training | {DISTRACTOR_PID}
        probes.append(
            numbered_probe(
                key,
                number,
                (i for i in parts[0].images if i.pid not in left_out),
                (i for i in parts[1].images if i.pid not in training),
            )
        )
    return Dataset(place.card, place.data_root, place.root, parts, tuple(probes), notes=place.notes)


def read_partitions(path: Path) -> list[frozenset[int]]:
    """The training people of each of the ten official splits. Raises DataError."""
    from scipy.io import loadmat  # heavy, and only this data set needs it

    expected = f"expected trainIdxAll with 10 splits of {_TRAINING_PEOPLE} identities"
    try:
        entries = loadmat(str(path))["trainIdxAll"].ravel()
    except Exception as error:  # scipy raises many kinds for a file that is no .mat
        raise DataError(f"{path} can not be read ({error}); {expected}.") from error
    splits = [_training_people(entry) for entry in entries]
    found = [split for split in splits if split]
    if len(found) != 10 or len(splits) != 10:
        raise DataError(f"{path}: {len(found)} of {len(splits)} splits understood; {expected}.")
    return found


def _training_people(entry: Any) -> frozenset[int]:
    """The identities in one entry of trainIdxAll, empty if it is not understood.

    MATLAB's cells and structs come as arrays in arrays; inside is a record of several lists of
    which the third holds the training identities (as every published reader takes it). Where
    there are fewer, the only list of the right length is taken.
    """
    import numpy as np

    while isinstance(entry, np.ndarray) and entry.size == 1 and entry.dtype.kind in "OV":
        entry = entry.ravel()[0]
    if not isinstance(entry, np.void):
        return _people(entry)
    lists = [_people(field) for field in entry.item()]
    if len(lists) > 2 and lists[2]:
        return lists[2]
    found = {people for people in lists if people}
    return found.pop() if len(found) == 1 else frozenset()


def _people(values: Any) -> frozenset[int]:
    """The values as identities, empty unless they are 125 different positive whole numbers."""
    import numpy as np

    values = np.asarray(values).ravel()
    if values.size != _TRAINING_PEOPLE or values.dtype.kind not in "iuf":
        return frozenset()
    people = frozenset(int(v) for v in values if v == int(v) and v > 0)
    return people if len(people) == _TRAINING_PEOPLE else frozenset()
