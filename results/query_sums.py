"""Per-query results added up by identity: what resampling identities needs, and no more."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from protocols.datasets import CARDS
from protocols.errors import ReIDError
from protocols.variants import dataset_of
from results.collect import Queries, Row, queries

METRICS = ("mAP", "rank1")


@dataclass(frozen=True, eq=False)
class QuerySums:
    """One entry on one protocol: R runs (seeds), C identities, P probe splits.

    `sums` [2, R, C, P]: AP and hits at rank 1 (`METRICS`) of valid queries, added up; `counts`
    [C, P]: valid queries. `pids` [C]: identities with a valid query, sorted. `people` is the data
    set the identities are of: the same pid of the same `people` is the same person. `fold` is
    what was trained on. `trained`: whether there is a training that chance could have moved.
    """

    protocol: str
    people: str
    fold: str
    runs: tuple[str, ...]
    trained: bool
    digest: str
    pids: np.ndarray
    counts: np.ndarray
    sums: np.ndarray

    @property
    def metrics(self) -> np.ndarray:
        """[2, R]: the mean over probe splits of the mean over their valid queries."""
        return (self.sums.sum(axis=2) / self.counts.sum(axis=0)).mean(axis=-1)

    @property
    def influence(self) -> np.ndarray:
        """[2, R, C]: how far each identity pulls each metric from its mean; sums to 0 over C.

        The metric's derivative by the identity's weight: it is a mean of ratios of two sums.
        """
        total = self.counts.sum(axis=0)
        means = self.sums.sum(axis=2, keepdims=True) / total
        return ((self.sums - means * self.counts) / total).mean(axis=-1)

    @property
    def shares(self) -> np.ndarray:
        """[2, C]: what each identity adds to each metric, the mean over runs."""
        return (self.sums.mean(axis=1) / self.counts.sum(axis=0)).mean(axis=-1)


@dataclass(frozen=True, eq=False)
class Answers:
    """The valid queries of one row, added up: `sums` [2, C, P], the others as in `QuerySums`.

    `digest` is of which queries they are, valid or not.
    """

    row: Row
    digest: str
    pids: np.ndarray
    counts: np.ndarray
    sums: np.ndarray


def answers(row: Row) -> Answers:
    """Read a row. Raises ReIDError if it can't be read or makes no sense."""
    if not row.queries_file.is_file():
        return _read(row)  # which says so
    status = row.queries_file.stat()
    key = row.queries_file, status.st_size, status.st_mtime_ns
    if key not in _READ:
        if len(_READ) >= KEPT:
            _READ.clear()
        _READ[key] = _read(row)
    return replace(_READ[key], row=row)


_READ: dict[tuple[Path, int, int], Answers] = {}
"""What was read of files that have not changed since: a report compares each row many times."""
KEPT = 10_000


def _read(row: Row) -> Answers:
    table = _in_order(queries(row))
    valid = table.valid
    ap = table.ap[valid]
    if not len(ap):
        raise ReIDError(f"{row.queries_file} has no valid query.")
    if not ((ap >= 0) & (ap <= 1)).all():
        raise ReIDError(f"{row.queries_file} has an AP that is not from 0 to 1.")
    pids, people = np.unique(table.pid[valid], return_inverse=True)
    names, probes = np.unique(table.probe[valid].astype(str), return_inverse=True)
    shape = len(pids), len(names)

    def added(values: np.ndarray | None = None) -> np.ndarray:
        cells = people * shape[1] + probes
        return np.bincount(cells, values, minlength=shape[0] * shape[1]).reshape(shape)

    hits = (table.first_hit[valid] == 1).astype(float)
    return Answers(row, _digest(table), pids, added(), np.stack([added(ap), added(hits)]))


def query_sums(rows: Sequence[Row]) -> QuerySums:
    """`add_up` of what `answers` reads of the rows; raises what these raise."""
    return add_up([answers(row) for row in rows])


def add_up(given: Sequence[Answers]) -> QuerySums:
    """One entry on one protocol, one row a seed. Raises ReIDError if they answer other queries."""
    first = given[0]
    for other in given:
        if other.digest != first.digest:
            raise ReIDError(
                f"{other.row.queries_file} answers other queries than {first.row.queries_file}."
            )
    row = first.row
    return QuerySums(
        protocol=row.protocol,
        people=_people(row.target.target),
        fold=row.run.spec.fold_name,
        runs=tuple(one.row.run.run_id for one in given),
        trained=bool(row.run.history),
        digest=first.digest,
        pids=first.pids,
        counts=first.counts,
        sums=np.stack([one.sums for one in given], axis=1),
    )


def _people(target: str) -> str:
    key = dataset_of(target)
    return CARDS[key].family if key in CARDS else key


def _in_order(table: Queries) -> Queries:
    """By probe split and query, whatever order they were written in."""
    order = np.lexsort((table.query.astype(str), table.probe.astype(str)))
    return Queries(**{name: values[order] for name, values in vars(table).items()})


def _digest(table: Queries) -> str:
    columns = (table.probe, table.query, table.pid, table.valid)
    text = "\n".join("\t".join(map(str, line)) for line in zip(*columns, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()
