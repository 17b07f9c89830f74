"""CUHK03 in the new protocol (767/700 identities), detected or labelled boxes: `0001_c1_1.png`."""

from __future__ import annotations

from protocols.datasets.card import Count, DatasetCard
from protocols.datasets.closed_set import read_market_folders
from protocols.datasets.dataset import Dataset
from protocols.datasets.folders import Place


def _card(key: str, boxes: str, train: int, gallery: int, variant_of: str = "") -> DatasetCard:
    return DatasetCard(
        key=key,
        name=f"CUHK03-NP ({boxes})",
        citation="Li et al., DeepReID, CVPR 2014; Zhong et al., Re-ranking, CVPR 2017 (protocol)",
        year=2017,
        terms="Academic research only, as its owners ask.",
        folders=tuple(f"{root}/{boxes}" for root in ("cuhk03-np", "cuhk03np", "CUHK03-NP")),
        counts={
            "train": Count(train, 767),
            "query": Count(1400, 700),
            "gallery": Count(gallery, 700),
        },
        cameras=2,
        variant_of=variant_of,
    )


CARDS = (
    _card("C3", "detected", 7365, 5332),
    _card("C3-labeled", "labeled", 7368, 5328, variant_of="C3"),
)


def read(place: Place) -> Dataset:
    """The set of boxes the key asks for; which one is recorded as the version."""
    return read_market_folders(place, version=place.folder.rsplit("/", 1)[1])
