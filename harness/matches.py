"""Who matches whom: a gallery grouped by person, and the matches of a block of queries.

Sizes: Q queries, G gallery items, M matches of all queries together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from protocols.errors import ReIDError
from protocols.types import DISTRACTOR_PID, JUNK_PID

Labels = Sequence[int] | NDArray[np.integer] | Tensor
Index = NDArray[np.int64]

LISTED = 2**21
"""How many items of the queries' persons a block may list; bounds the memory of the lists."""


@dataclass(frozen=True)
class Matches:
    """The matches of Q queries, one query after the other.

    Query q matches the items `index[starts[q] : starts[q + 1]]`, ascending until `sort`. Items of
    its person in any camera are `same[same_from[q] : same_to[q]]`, ascending. `score` [M] is
    whoever counts's to fill in, `above` [M] the number of other persons' items before each.
    """

    same: Index
    same_from: Index
    same_to: Index
    starts: Index
    index: Index
    score: NDArray[np.float64]
    above: Index

    def sort(self) -> None:
        """Order each query's matches by descending score, equal ones by index."""
        owner = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        order = np.lexsort((self.index, -self.score, owner))
        self.index[:], self.score[:] = self.index[order], self.score[order]

    def within(self, first: int, last: int) -> NDArray[np.bool_]:
        """Which matches are among items `first` to `last`, [M]."""
        return (self.index >= first) & (self.index < last)

    def of(self, q: int) -> Index:
        """The items of a query's person, in any camera."""
        return self.same[self.same_from[q] : self.same_to[q]]

    def ranks(self, q: int) -> Index:
        """The ranks of a query's matches, ascending, from 1, once `above` is counted."""
        above = self.above[self.starts[q] : self.starts[q + 1]]
        return above + np.arange(1, len(above) + 1)


class People:
    """The queries' and the gallery's labels, the gallery grouped by person.

    Raises ReIDError for labels that are empty, not integers or of unequal length.
    """

    def __init__(
        self,
        query_pids: Labels,
        query_camids: Labels,
        gallery_pids: Labels,
        gallery_camids: Labels,
    ) -> None:
        self.query_pids, self.query_camids = _labels("query", query_pids, query_camids)
        self.gallery_pids, self.gallery_camids = _labels("gallery", gallery_pids, gallery_camids)
        self.order = np.argsort(self.gallery_pids, kind="stable")
        ordered = self.gallery_pids[self.order]
        self.junk = self.gallery_pids == JUNK_PID
        self._from = np.searchsorted(ordered, self.query_pids, side="left")
        self._to = np.searchsorted(ordered, self.query_pids, side="right")
        nobody = np.isin(self.query_pids, (JUNK_PID, DISTRACTOR_PID))
        self._to[nobody] = self._from[nobody]

    @property
    def shape(self) -> tuple[int, int]:
        """(Q, G)."""
        return len(self.query_pids), len(self.gallery_pids)

    def blocks(self, most: int) -> Iterator[tuple[int, int]]:
        """All queries as ranges of at most `most`, shorter where persons have very many items."""
        Q, start = len(self._from), 0
        total = np.concatenate(([0], np.cumsum(self._to - self._from)))
        while start < Q:
            fit = int(np.searchsorted(total, total[start] + LISTED, side="right")) - 1
            stop = min(max(fit, start + 1), start + most, Q)
            yield start, stop
            start = stop

    def matches(self, start: int, stop: int) -> Matches:
        """The matches of queries `start` to `stop`, which become queries 0, 1, ..."""
        first, last = self._from[start:stop], self._to[start:stop]
        size = last - first
        owner = np.repeat(np.arange(stop - start), size)
        before = np.cumsum(size) - size
        same = self.order[np.arange(len(owner)) + np.repeat(first - before, size)]
        elsewhere = self.gallery_camids[same] != self.query_camids[start:stop][owner]
        counts = np.bincount(owner[elsewhere], minlength=stop - start)
        starts = np.concatenate(([0], np.cumsum(counts)))
        index = same[elsewhere]
        scores, above = np.zeros(len(index)), np.zeros(len(index), dtype=np.int64)
        return Matches(self.order, first, last, starts, index, scores, above)

    def counts(self) -> Index:
        """How many matches every query has, [Q]. Raises ReIDError when none has any."""
        parts = [np.diff(self.matches(*block).starts) for block in self.blocks(len(self._from))]
        counts = np.concatenate(parts)
        if not counts.any():
            Q, G = self.shape
            raise ReIDError(
                f"None of the {Q} queries has a match among the {G} gallery items: a match has the "
                f"query's pid and another camid, and a pid other than {JUNK_PID} (junk) and "
                f"{DISTRACTOR_PID} (distractor). Check the pids and camids of query and gallery."
            )
        return counts

    def queries_of(self, start: int, stop: int, items: Index) -> tuple[Index, Index, Index]:
        """Queries `start` to `stop` (as 0, 1, ...) by person, and where the items' persons lie.

        Gives `asked`, `asked_from`, `asked_to`: `asked[asked_from[i] : asked_to[i]]` have the pid
        of item `items[i]`.
        """
        pids = self.query_pids[start:stop]
        asked = np.argsort(pids, kind="stable")
        ordered, wanted = pids[asked], self.gallery_pids[items]
        return (
            asked,
            np.searchsorted(ordered, wanted, side="left"),
            np.searchsorted(ordered, wanted, side="right"),
        )


def _labels(side: str, pids: Labels, camids: Labels) -> tuple[Index, Index]:
    """Pids and camids of one side as int64 [N], checked."""
    arrays = []
    for name, values in (("pids", pids), ("camids", camids)):
        array = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
        if array.ndim != 1 or array.size == 0:
            raise ReIDError(f"The {side} {name} must be a list of at least one, not {array.shape}.")
        if array.dtype.kind not in "iu":
            raise ReIDError(f"The {side} {name} must be integers, not {array.dtype}.")
        arrays.append(array.astype(np.int64, copy=False))
    if len(arrays[0]) != len(arrays[1]):
        raise ReIDError(f"{len(arrays[0])} {side} pids but {len(arrays[1])} camids: one each.")
    return arrays[0], arrays[1]
