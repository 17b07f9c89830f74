"""QMUL i-LIDS: `0001001.jpg`, the first four digits are the identity.

No camera is known: queries are given camera 0 and gallery images camera 1, so that nothing is
ever removed as seen by the same camera. Which people are test, and which of their images is the
query and which the one gallery image: `protocols/splits/ilids.json`.
"""

from __future__ import annotations

import re

from protocols.datasets.card import Count, DatasetCard
from protocols.datasets.dataset import Dataset, make_split, numbered_probe
from protocols.datasets.folders import Place, half_copied, read_images
from protocols.splits import load
from protocols.types import Image

CARDS = (
    DatasetCard(
        key="iLIDS",
        name="QMUL i-LIDS",
        citation="Zheng et al., Associating Groups of People, BMVC 2009",
        year=2009,
        terms="Academic research only, as its owners ask.",
        folders=(
            "QMUL-iLIDS/i-LIDS_Pedestrian/Persons",
            "iLIDS/Persons",
            "ilids/i-LIDS_Pedestrian/Persons",
            "iLIDS/i-LIDS_Pedestrian/Persons",
        ),
        counts={"persons": Count(476, 119)},
        can_be_source=False,
        probe_splits=10,
    ),
)

_NAME = re.compile(r"(\d{4})\d+\.")


def parse_name(name: str) -> tuple[int, int] | None:
    """`0001001.jpg` -> (1, 0)."""
    match = _NAME.match(name)
    return (int(match[1]), 0) if match else None


def read(place: Place) -> Dataset:
    """The ten probe splits. Raises DataError if there are no images."""
    persons = make_split(place.card.key, "persons", read_images(place, "", parse_name))
    if not persons.images:
        raise half_copied(place, "it holds no image")
    people: dict[int, list[Image]] = {}
    for image in persons.images:  # sorted by path: the committed draws count on it
        people.setdefault(image.pid, []).append(image)
    pids = sorted(people)
    probes = []
    for number, split in enumerate(load("ilids"), 1):
        query, gallery = [], []
        for position, a, b in split:
            images = people[pids[position]] if position < len(pids) else []
            if len(images) > 1:
                query.append(images[a % len(images)]._replace(camid=0))
                others = [i for i in images if i.path != query[-1].path]
                gallery.append(others[b % len(others)]._replace(camid=1))
        probes.append(numbered_probe(place.card.key, number, query, gallery))
    return Dataset(
        place.card, place.data_root, place.root, (persons,), tuple(probes), notes=place.notes
    )
