"""Which queries of a row are looked at: the hardest, the easiest, those that somebody names."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

import numpy as np

from protocols.errors import ReIDError, UnknownName, nearest
from results.collect import Queries

ORDERS = ("hardest", "easiest", "spread", "random")
"""Lowest AP first; highest first; evenly from the lowest to the highest; drawn from a seed."""


def choose(queries: Queries, order: str, count: int, seed: int = 0) -> list[int]:
    """Rows of `count` queries in one of `ORDERS`, of those that have a match.

    Equal AP goes by path, then by probe split. A query that several splits hold is chosen once.
    Raises UnknownName for another order.
    """
    if order not in ORDERS:
        raise UnknownName("--order", order, ORDERS)
    rows = _hardest(queries, np.flatnonzero(queries.valid))
    if order == "easiest":
        rows = _once(queries, sorted(rows, key=lambda row: -queries.ap[row]))
    rows = _once(queries, rows)
    if order == "random":
        return [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))[:count]]
    if order == "spread" and 1 < count < len(rows):
        return [rows[i] for i in np.linspace(0, len(rows) - 1, count).round().astype(int)]
    return rows[:count]


def choose_apart(a: Queries, b: Queries, count: int) -> list[int]:
    """Rows in `a` of the queries whose AP differs most from that in `b`, the same row's queries.

    Only those that have a match are chosen; ties and splits as in `choose`.
    """
    both = _hardest(a, np.flatnonzero(a.valid & b.valid))
    return _once(a, sorted(both, key=lambda row: -abs(a.ap[row] - b.ap[row])))[:count]


def named(queries: Queries, names: Sequence[str]) -> list[int]:
    """Rows of the queries with these paths, or with the ends of paths that are unique.

    Of several probe splits the one with the lowest AP is taken. Raises ReIDError for a name that
    is no query's, or that several end in.
    """
    rows = {queries.query[row]: row for row in reversed(_hardest(queries, range(len(queries.ap))))}
    found = []
    for name in names:
        ends = [name] if name in rows else [path for path in rows if path.endswith(f"/{name}")]
        if len(ends) > 1:
            several = ", ".join(sorted(ends)[:3])
            raise ReIDError(f"--query {name}: several queries end so ({several}). Give more of it.")
        if not ends:
            raise ReIDError(_unknown(name, sorted(rows)))
        found.append(rows[ends[0]])
    return list(dict.fromkeys(found))


def _unknown(name: str, paths: Sequence[str]) -> str:
    # by the names of files: paths are alike in their folders
    files = {posixpath.basename(path): path for path in paths}
    near = [files[file] for file in nearest(posixpath.basename(name), files)]
    advice = f"Did you mean {' or '.join(near)}?" if near else f"The first is {paths[0]}."
    return f"--query {name}: none of the {len(paths)} queries has this path. {advice}"


def _hardest(queries: Queries, rows: Iterable[int]) -> list[int]:
    """Rows by AP, those without one last, then by path and probe split."""
    ap = np.nan_to_num(queries.ap, nan=np.inf)
    return sorted(map(int, rows), key=lambda i: (ap[i], queries.query[i], queries.probe[i]))


def _once(queries: Queries, rows: Iterable[int]) -> list[int]:
    """The first of the rows of each query."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(queries.query[row], row)
    return list(first.values())
