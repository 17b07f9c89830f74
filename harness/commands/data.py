"""The rows that a command is asked for, and the data sets they need."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from harness.catalog import DataCatalog, require_standins
from harness.screen import say
from protocols.datasets.folders import require_data_root
from protocols.registry import select
from protocols.types import Protocol
from protocols.variants import dataset_of


def open_data(
    data: Path | None, protocol: str, memory: Path | None, console: Console
) -> tuple[list[Protocol], DataCatalog]:
    """The rows of `protocol`, and what is below the folder `data`, or without one the stand-ins.

    `memory` is where it is remembered which data have been decoded. Raises ReIDError for data that
    are not there.
    """

    def tell(text: str) -> None:
        say(console, text)

    if data is not None:
        require_data_root(data)
        catalog = DataCatalog(data, memory, tell)
        return select(protocol, catalog.own_keys), catalog
    from protocols import standin

    selected = select(protocol)
    keys = sorted({key for row in selected for key in (*row.sources, dataset_of(row.target))})
    require_standins(keys, ", or choose other protocols")
    # plain text: a spinner is a thread, and beside one the renderer can't use a second core
    tell("Embedded stand-in data (rendered once, in a few seconds).")
    return selected, DataCatalog(standin.data_root(keys=tuple(keys)), memory)
