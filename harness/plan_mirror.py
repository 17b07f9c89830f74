"""A plan as an MLflow run, with its trainings below it; brought up to date in place.

A training is shown below one plan, the earliest that lists it, so that MLflow holds it once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.files import file_digest, write_json
from harness.in_place import bring
from harness.mirror import KEY, PARENT, PLAN, Metric, Mirror
from harness.plans import PlanRecord
from harness.texts import milliseconds, params, title, whole

if TYPE_CHECKING:
    from harness.mlflow_store import Store

TABLES = "tables"
"""The folder below `out` of tables and of pictures beside them."""


@dataclass(frozen=True)
class FoundPlan:
    """A plan, and which of its runs are done; `stopped` are those that a search gave up.

    `made` are the tables and pictures that were made of it (`attach`).
    """

    record: PlanRecord
    path: Path
    done: tuple[Path, ...]
    stopped: tuple[Path, ...]
    made: tuple[Path, ...] = ()

    @property
    def key(self) -> str:
        """By which its run in MLflow is known."""
        return f"plan:{self.record.id}"

    @property
    def digest(self) -> str:
        """Changes when the plan, what is done of it or what was made of it does."""
        names = [[p.parent.name for p in paths] for paths in (self.done, self.stopped)]
        made = [(path.name, file_digest(path)) for path in self.made]
        content = (self.record, names, made) if made else (self.record, names)
        return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def attach(out: Path, record: PlanRecord, made: Iterable[Path]) -> None:
    """Keep which files below `out` were made of a plan: artifacts of its run, besides the plan."""
    write_json(_attached(out, record), [path.relative_to(out).as_posix() for path in made])


def _attached(out: Path, record: PlanRecord) -> Path:
    # not below the folder of plans, where every JSON file is one
    return out / TABLES / f".{record.id}.json"


def _made(out: Path, record: PlanRecord) -> tuple[Path, ...]:
    try:
        names = json.loads(_attached(out, record).read_text(encoding="utf-8"))
        paths = [out / name for name in names]
        # the list may have come from elsewhere
        return tuple(p for p in paths if p.is_file() and p.resolve().is_relative_to(out.resolve()))
    except (OSError, ValueError, TypeError):
        return ()


def scan(
    out: Path,
    records: Iterable[PlanRecord],
    run_ids: Iterable[str] | None,
    known: Mapping[str, str],
) -> Iterator[FoundPlan]:
    """The plans that are not shown as they are now; if `run_ids`, of those that list one of them.

    `known` maps the keys of what is shown to its digest.
    """
    chosen = None if run_ids is None else set(run_ids)
    for record in records:
        if chosen is None or not chosen.isdisjoint(record.runs):
            found = look(out, record)
            if known.get(found.key) != found.digest:
                yield found


def look(out: Path, record: PlanRecord) -> FoundPlan:
    """What is done of a plan now."""
    finished = [out / run / "run.json" for run in record.runs]
    done = [path for path in finished if path.exists()]
    left = [path.with_name("stopped.json") for path in set(finished) - set(done)]
    stopped = sorted(path for path in left if path.exists())
    return FoundPlan(record, record.path(out), tuple(done), tuple(stopped), _made(out, record))


def mirror(found: FoundPlan) -> Mirror:
    """The MLflow run of a plan. It is finished when no run is left, and scheduled until then."""
    record = found.record
    start = milliseconds(record.created_at)
    end = max([start, *(_written(path) for path in (*found.done, *found.stopped))])
    counts = {"runs": len(record.runs), "runs_done": len(found.done)}
    if found.stopped:
        counts["runs_stopped"] = len(found.stopped)
    complete = len(found.done) + len(found.stopped) == len(record.runs)
    asked = {
        "command": record.command,
        "protocol": record.protocol,
        "methods": ", ".join(record.methods),
        "seeds": ", ".join(map(str, record.seeds)),
    }
    tags = {KEY: found.key, "kind": record.kind, "mlflow.note.content": asked["command"]}
    return Mirror(
        key=found.key,
        digest=found.digest,
        name=title(record.name),
        start=start,
        end=end,
        tags=whole(tags),
        params=params(asked),
        metrics=tuple(Metric(name, float(count), end) for name, count in counts.items()),
        files=(found.path, *found.made),
        status="FINISHED" if complete else "SCHEDULED",
    )


def show(store: Store, wanted: Mirror) -> str:
    """Make a plan's run in MLflow, or bring the one that is there up to date; returns its id."""
    return store.insist(lambda: _show(store, wanted))


def _show(store: Store, wanted: Mirror) -> str:
    place = bring(store, wanted)
    if place.moved:
        for training in store.runs(PLAN, wanted.key.removeprefix("plan:")):
            if training.data.tags.get(PARENT) != place.run_id:
                store.client.set_tag(training.info.run_id, PARENT, place.run_id)
    return place.run_id


def _written(path: Path) -> int:
    """When a record was written, in ms since 1970; 0 if it is just being made again."""
    try:
        return int(1000 * path.stat().st_mtime)
    except OSError:
        return 0
