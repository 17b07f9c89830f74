"""The data sets: `CARDS` (facts, no disk), `open_dataset` (what is there), `custom_keys`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from protocols.datasets import (
    cuhk02,
    cuhk03_np,
    cuhk_sysu,
    custom,
    dukemtmc,
    grid,
    ilids,
    market1501,
    msmt17,
    occluded_duke,
    prid,
    viper,
)
from protocols.datasets.card import Count, DatasetCard
from protocols.datasets.dataset import Dataset
from protocols.datasets.folders import Place, absent, find, require_data_root
from protocols.errors import UnknownName

__all__ = ["CARDS", "Count", "Dataset", "DatasetCard", "custom_keys", "open_dataset"]

_MODULES = (
    market1501,
    dukemtmc,
    msmt17,
    cuhk03_np,
    cuhk02,
    cuhk_sysu,
    viper,
    prid,
    grid,
    ilids,
    occluded_duke,
)
_READERS: dict[str, Callable[[Place], Dataset]] = {
    card.key: module.read for module in _MODULES for card in module.CARDS
}

CARDS: dict[str, DatasetCard] = {card.key: card for module in _MODULES for card in module.CARDS}
"""Key -> card of every built-in data set."""


def custom_keys(data_root: Path) -> tuple[str, ...]:
    """Keys of the user's own data sets (NAME.csv or NAME/dataset.csv), sorted. May DataError."""
    return tuple(custom.find_csvs(data_root, CARDS))


def open_dataset(key: str, data_root: Path) -> Dataset:
    """List a data set, built-in or custom, under the data root.

    Raises UnknownName for a key that is neither, DataError if it is not there, half-copied,
    unreadable or not named as it should be.
    """
    data_root = Path(data_root)
    require_data_root(data_root)
    if key not in CARDS:
        own = custom.find_csvs(data_root, CARDS)
        if key not in own:
            hint = f"Your own data sets are {data_root}/NAME.csv or NAME/dataset.csv."
            raise UnknownName("data set", key, [*CARDS, *own], hint)
        return custom.read(key, own[key], data_root)
    place = find(CARDS[key], data_root)
    if place is None:
        raise absent(CARDS[key], data_root)
    return _READERS[key](place)
