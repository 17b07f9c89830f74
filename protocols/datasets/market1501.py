"""Market-1501: `0002_c1s1_000451_03.jpg`; -1 is junk, 0000 are distractors."""

from __future__ import annotations

from protocols.datasets.card import Count, DatasetCard
from protocols.datasets.closed_set import read_market_folders as read

CARDS = (
    DatasetCard(
        key="MA",
        name="Market-1501",
        citation="Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015",
        year=2015,
        terms="Non-commercial research only, as its owners ask.",
        folders=("Market-1501-v15.09.15", "Market1501", "market1501"),
        # The gallery's 15913 images hold 2798 distractors; its 3819 junk images are dropped.
        counts={
            "train": Count(12936, 751),
            "query": Count(3368, 750),
            "gallery": Count(15913, 750),
        },
        cameras=6,
    ),
)

__all__ = ["CARDS", "read"]
