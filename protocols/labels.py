"""Training labels: the same on every machine, whatever order files or sources come in."""

from __future__ import annotations

from collections.abc import Iterable

from protocols.registry import source_rank
from protocols.types import Split


def label_map(splits: Iterable[Split]) -> dict[tuple[str, int], int]:
    """(data set, pid) -> label, 0 .. number of training identities - 1.

    Identities are sorted and numbered within each source, after the identities of the sources
    before it; sources stand in the registry's order (MA, D, MS, C3, ...), not in the caller's.
    Junk and distractors have no label.
    """
    pids: dict[str, set[int]] = {}
    for split in splits:
        pids.setdefault(split.dataset, set()).update(split.pids)
    people = ((key, pid) for key in sorted(pids, key=source_rank) for pid in sorted(pids[key]))
    return {person: label for label, person in enumerate(people)}
