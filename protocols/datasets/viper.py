"""VIPeR: 632 people, one image in each of two cameras, `cam_a/000_45.bmp`.

`VIPeR` looks for cam_a's people in cam_b, `VIPeR-ba` the other way. The owners publish no
splits: 316 test people, 10 times, from `protocols/splits/viper.json`.
"""

from __future__ import annotations

import re

from protocols.datasets.card import Count, DatasetCard
from protocols.datasets.dataset import Dataset, make_split, numbered_probe
from protocols.datasets.folders import Place, half_copied, read_images, require_folders
from protocols.splits import load


def _card(key: str, name: str, variant_of: str = "") -> DatasetCard:
    return DatasetCard(
        key=key,
        name=name,
        citation="Gray et al., Evaluating Appearance Models for Recognition, PETS 2007",
        year=2007,
        terms="Academic research only, as its owners ask.",
        folders=("VIPeR", "viper/VIPeR", "viper"),
        counts={"cam_a": Count(632, 632), "cam_b": Count(632, 632)},
        cameras=2,
        can_be_source=False,
        probe_splits=10,
        variant_of=variant_of,
    )


CARDS = (_card("VIPeR", "VIPeR"), _card("VIPeR-ba", "VIPeR (cam_b to cam_a)", "VIPeR"))

_CAMERAS = ("cam_a", "cam_b")
_NAME = re.compile(r"(\d+)_")


def read(place: Place) -> Dataset:
    """Both cameras and the ten probe splits. Raises DataError if a camera is missing."""
    require_folders(place, _CAMERAS)
    key, parts = place.card.key, []
    for camid, sub in enumerate(_CAMERAS):

        def parse(name: str, camid: int = camid) -> tuple[int, int] | None:
            match = _NAME.match(name)
            # VIPeR's first person is 000, and 0 means distractor here: all move up by one.
            return (int(match[1]) + 1, camid) if match else None

        parts.append(make_split(key, sub, read_images(place, sub, parse)))
    in_both = sorted(set(parts[0].pids) & set(parts[1].pids))
    if not in_both:
        raise half_copied(place, "no identity is in both cam_a and cam_b")
    notes = place.notes
    alone = len(set(parts[0].pids) ^ set(parts[1].pids))
    if alone:
        notes += (f"{alone} identities are in one camera only and in no probe split",)
    sides = reversed(parts) if key == "VIPeR-ba" else iter(parts)
    query, gallery = (split.images for split in sides)
    probes = []
    for number, places in enumerate(load("viper"), 1):
        test = {in_both[p] for p in places if p < len(in_both)}
        probes.append(
            numbered_probe(
                key,
                number,
                (i for i in query if i.pid in test),
                (i for i in gallery if i.pid in test),
            )
        )
    return Dataset(
        place.card, place.data_root, place.root, tuple(parts), tuple(probes), notes=notes
    )
