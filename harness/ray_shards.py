"""Ranges of a gallery as tasks of Ray: the process beside the command that holds its session.

Started and talked to as `harness.ray_trials` is. A task whose worker died is begun again by Ray on
another one, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.ray_trials import RETRIES, Speaker, hold
from harness.settings import Slots
from harness.sharded import RANKS, Job, Part, Scores, count, merged, opened, ranges, score
from protocols.errors import ReIDError


def main() -> None:
    """Hold a session that ranks galleries, one a task."""
    hold(_rank)


def _rank(slots: Slots, storage: Path, task: dict[str, Any], say: Speaker) -> None:
    """Rank, and leave the ranks of all matches, query after query, in a file."""
    import ray

    job = Job(tuple(task["query"]), tuple(task["gallery"]), task["variant"])
    query, gallery, people = opened(job).engine()
    # None: as many as a cluster takes
    workers = slots.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    compute = ray.remote(num_cpus=slots.cpus, max_retries=RETRIES)(_compute)

    def do(parts: Sequence[Part], scores: Scores | None) -> Iterator[tuple[Part, np.ndarray]]:
        shared, waiting = ray.put(scores), list(parts)
        going: dict[Any, Part] = {}
        while waiting or going:
            while waiting and len(going) < workers:
                part = waiting.pop(0)
                going[compute.remote(job, part, shared)] = part
            (done,), _ = ray.wait(list(going))
            part, found = going.pop(done), ray.get(done)
            if isinstance(found, str):
                raise ReIDError(found)
            if scores is not None:
                say("counted", part.last - part.first)
            yield part, found

    try:
        cut = ranges(gallery.N, workers)
        found = [ranks for _, ranks in merged(people, query.D, cut, do)]
    except ReIDError as error:
        say("refused", str(error))
        return
    np.save(storage / RANKS, np.concatenate(found))


def _compute(job: Job, part: Part, scores: Scores | None) -> np.ndarray | str:
    """One part, in a process of Ray's; what the user can mend comes back in words."""
    try:
        files = opened(job)
        return score(files, part) if scores is None else count(files, part, scores)
    except ReIDError as error:
        return str(error)
