"""DukeMTMC-reID: `0001_c2_f0046182.jpg`."""

from __future__ import annotations

from protocols.datasets.card import Count, DatasetCard
from protocols.datasets.closed_set import read_market_folders as read

CARDS = (
    DatasetCard(
        key="D",
        name="DukeMTMC-reID",
        citation="Ristani et al., ECCV Workshops 2016; Zheng et al., ICCV 2017",
        year=2017,
        terms="Withdrawn by its owners in 2019; no longer distributed by them.",
        folders=("DukeMTMC-reID", "dukemtmcreid", "dukemtmc-reid/DukeMTMC-reID"),
        counts={
            "train": Count(16522, 702),
            "query": Count(2228, 702),
            "gallery": Count(17661, 1110),
        },
        cameras=8,
    ),
)

__all__ = ["CARDS", "read"]
