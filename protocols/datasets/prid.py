"""PRID 2011, single shot: `cam_a/person_0001.png`, `cam_b/person_0001.png`.

People 1-200 were seen by both cameras. Above 200 the two cameras number different people; only
cam_b's are used, as distractors. Splits: `protocols/splits/prid.json`.
"""

from __future__ import annotations

import re

from protocols.datasets.card import Count, DatasetCard
from protocols.datasets.dataset import Dataset, make_split, numbered_probe
from protocols.datasets.folders import Place, is_dir, read_images, require_folders
from protocols.splits import load

CARDS = (
    DatasetCard(
        key="PRID",
        name="PRID 2011 (single shot)",
        citation="Hirzer et al., Person Re-Identification by Descriptive Classification, SCIA 2011",
        year=2011,
        terms="Academic research only, as its owners ask.",
        folders=("prid_2011", "PRID", "prid2011/prid_2011", "prid2011"),
        counts={"cam_a": Count(385, 385), "cam_b": Count(749, 749)},
        cameras=2,
        can_be_source=False,
        probe_splits=10,
    ),
)

_LAST_SHARED = 200
_NAME = re.compile(r"person_(\d+)\.")


def read(place: Place) -> Dataset:
    """Query: the split's 100 people in cam_a. Gallery: cam_b without the other 100 shared people.

    Raises DataError if a camera is missing.
    """
    under = "single_shot/" if is_dir(place.root / "single_shot") else ""
    folders = {camera: f"{under}{camera}" for camera in ("cam_a", "cam_b")}
    require_folders(place, folders.values())
    key, parts = place.card.key, []
    for camid, (camera, sub) in enumerate(folders.items()):

        def parse(name: str, camid: int = camid) -> tuple[int, int] | None:
            match = _NAME.match(name)
            return (int(match[1]), camid) if match else None

        parts.append(make_split(key, camera, read_images(place, sub, parse)))
    cam_a, cam_b = parts
    in_both = set(cam_a.pids) & set(cam_b.pids) & set(range(1, _LAST_SHARED + 1))
    probes = []
    for number, people in enumerate(load("prid"), 1):
        test = in_both & set(people)
        probes.append(
            numbered_probe(
                key,
                number,
                (i for i in cam_a.images if i.pid in test),
                (i for i in cam_b.images if i.pid in test or i.pid > _LAST_SHARED),
            )
        )
    return Dataset(
        place.card, place.data_root, place.root, tuple(parts), tuple(probes), notes=place.notes
    )
