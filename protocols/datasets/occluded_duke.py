"""Occluded-Duke: a choice of DukeMTMC-reID's images whose queries are all occluded."""

from __future__ import annotations

from protocols.datasets.card import Count, DatasetCard
from protocols.datasets.closed_set import read_market_folders as read

CARDS = (
    DatasetCard(
        key="Occluded-Duke",
        name="Occluded-Duke",
        citation="Miao et al., Pose-Guided Feature Alignment for Occluded Person Re-ID, ICCV 2019",
        year=2019,
        terms="A list of DukeMTMC-reID images, which its owners withdrew in 2019.",
        folders=("Occluded_Duke", "Occluded-Duke", "occluded_duke"),
        counts={
            "train": Count(15618, 702),
            "query": Count(2210, 519),
            "gallery": Count(17661, 1110),
        },
        cameras=8,
        overlaps={
            "D": "Occluded-Duke is made of DukeMTMC-reID's images: the same cameras and people, "
            "not an unseen domain"
        },
    ),
)

__all__ = ["CARDS", "read"]
