"""A gallery ranked in ranges, by several processes: exactly the ranks of one process.

A process needs the whole gallery's labels and its own range's features. First each scores the
matches in its range, in float64; put together they are each query's list of matches, sorted. Then
each counts, in its range, the items before every match, ties by index in the whole gallery; the
sums of these counts are the ranks (`harness.counting`, one range after the other).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from harness.cosine import Features
from harness.counting import Block, Product, query_blocks, ranks_of, threads_of_torch
from harness.labelled import Labelled, open_labelled
from harness.matches import Index, People
from harness.progress import Progress
from harness.ranking import Ranking, ranking_of
from harness.ray_engine import SHARDS, process_beside
from harness.scores import full_precision
from harness.settings import Slots
from protocols.errors import ReIDError
from protocols.variants import Variant, parse

Range = tuple[int, int]
Scores = NDArray[np.float64]
RANGES_EACH = 4
"""Ranges a process: whoever is slow gets fewer, and one that is killed loses little."""
RANKS = "ranks.npy"


@dataclass(frozen=True)
class Job:
    """What is ranked, as it travels: every process opens the files itself, by absolute paths."""

    query: tuple[str, ...]
    gallery: tuple[str, ...]
    variant: str = ""

    @classmethod
    def of(cls, query: Sequence[str], gallery: Sequence[str], variant: Variant) -> Job:
        """A job from the files as they were typed."""
        return cls(_absolute(query), _absolute(gallery), variant.name)


def _absolute(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(os.path.abspath(text) for text in texts)  # noqa: PTH100 (patterns, too)


@lru_cache(maxsize=1)
def opened(job: Job) -> Labelled:
    """The files of a job, mapped; once for all its parts that a process computes."""
    return open_labelled(job.query, job.gallery, parse(job.variant) if job.variant else Variant())


@dataclass(frozen=True)
class Part:
    """Queries `start` to `stop` and items `first` to `last`; `scores` of all their matches."""

    start: int
    stop: int
    first: int
    last: int


def score(files: Labelled, part: Part) -> Scores:
    """The scores of the matches in a range, in the order of `Matches.index`."""
    block = _block(files, part)
    with files.placed():
        block.score_matches(part.first, part.last)
    return block.matches.score[block.matches.within(part.first, part.last)]


def count(files: Labelled, part: Part, scores: Scores) -> Index:
    """How many items of a range come before each match, [M] in the order of `Matches.sort`.

    `scores` [M] are those of all matches, in the order of `Matches.index`.
    """
    block = _block(files, part)
    block.matches.score[:] = scores
    block.matches.sort()
    with full_precision("cpu"), threads_of_torch() as threads, files.placed():
        block.count(threads, part.first, part.last)
    return block.matches.above


@lru_cache(maxsize=1)
def _engine(files: Labelled) -> tuple[Features, Features, People]:
    """`files.engine`, which sorts all labels; once for all parts that a process computes."""
    return files.engine()


def _block(files: Labelled, part: Part) -> Block:
    query, gallery, people = _engine(files)
    with files.placed():
        return Block(query, gallery, people, part.start, part.stop, Product(torch.device("cpu")))


def ranges(items: int, workers: int) -> list[Range]:
    """The gallery's items in about equal ranges, some for each worker."""
    size = -(-items // (workers * RANGES_EACH))
    return [(first, min(first + size, items)) for first in range(0, items, size)]


Do = Callable[[Sequence[Part], Scores | None], Iterable[tuple[Part, NDArray]]]
"""Computes parts in any order: `score`, or with the scores of all matches `count`."""


def merged(people: People, width: int, cut: Sequence[Range], do: Do) -> Iterator[tuple[int, Index]]:
    """Every valid query with the ranks of its matches, from what `do` finds in each range."""
    for start, stop in query_blocks(people, width):
        parts = [Part(start, stop, *one) for one in cut]
        matches = people.matches(start, stop)
        for part, scores in do(parts, None):
            matches.score[matches.within(part.first, part.last)] = scores
        unsorted = matches.score.copy()
        matches.sort()
        for _, above in do(parts, unsorted):
            matches.above[:] += above
        yield from ranks_of(matches, start)


def rank_sharded(
    job: Job, workers: int | None, address: str | None, max_rank: int, progress: Progress
) -> Ranking:
    """Rank over Ray, on `workers` processes of this machine or of the cluster at `address`.

    None: as many as the cluster has cores.

    Progress counts items of the gallery, once for each block of queries. Raises ReIDError where
    there can be no session, and as `rank_features` does.
    """
    counts = People(**opened(job).known).counts()
    slots = Slots(workers, cpus=1, gpus=0, address=address, ray=True)
    with process_beside(slots, Path(tempfile.gettempdir()), SHARDS) as beside:
        for event, value in beside.ask(asdict(job)):
            if event == "counted":
                progress.advance(value, "ranking")
            elif event == "refused":
                raise ReIDError(value)
            elif event == "over" and value is not None:
                raise ReIDError(f"Ray: {value}. --workers 0 ranks in this process.")
        flat = np.load(beside.storage / RANKS, allow_pickle=False)
    valid = np.flatnonzero(counts)
    ranks = np.split(flat, np.cumsum(counts[valid])[:-1])
    return ranking_of(zip(valid.tolist(), ranks, strict=True), counts, max_rank)
