"""MLflow runs that are brought up to date in their place: those of plans and of groundings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.mirror import KEY, MIRRORED, Mirror

if TYPE_CHECKING:
    from harness.mlflow_store import Store


@dataclass(frozen=True)
class Place:
    """Where something is shown: the id of its run there.

    `changed`: it was not, or not as it is now; `moved`: another run was deleted, or this is new.
    """

    run_id: str
    changed: bool
    moved: bool


def bring(store: Store, wanted: Mirror, unchanged: Callable[[], bool] = lambda: True) -> Place:
    """Make the run of a mirror, or bring the one that is there up to date.

    Raises Changed if the files are not `unchanged` after they were copied.
    """
    place = _tidy(store, wanted, unchanged)
    if place is not None:
        return place
    made = store.create(wanted, unchanged=unchanged)
    # another process may have made one meanwhile
    place = _tidy(store, wanted, unchanged)
    return Place(place.run_id if place else made, changed=True, moved=True)


def _tidy(store: Store, wanted: Mirror, unchanged: Callable[[], bool]) -> Place | None:
    """The run, up to date and alone; None if there is none that is whole."""
    runs = store.runs(KEY, wanted.key)
    kept = next((run for run in runs if MIRRORED in run.data.tags), None)
    others = [run for run in runs if run is not kept]
    for run in others:
        store.client.delete_run(run.info.run_id)
    if kept is None:
        return None
    changed = kept.data.tags[MIRRORED] != wanted.digest
    if changed:
        _update(store, kept, wanted, unchanged)
    return Place(str(kept.info.run_id), changed, moved=bool(others))


def _update(store: Store, shown: Any, wanted: Mirror, unchanged: Callable[[], bool]) -> None:
    """Add what has changed; a value that a killed process has added already is not added again."""
    from harness.mlflow_store import Changed

    run_id = str(shown.info.run_id)
    for metric in wanted.metrics:
        if shown.data.metrics.get(metric.name) != metric.value:
            before = store.client.get_metric_history(run_id, metric.name)
            # MLflow takes the one with the latest time for the present one
            at = max([metric.timestamp, *(value.timestamp + 1 for value in before)])
            store.log(run_id, [metric._replace(timestamp=at)], {})
    for tag, value in wanted.tags.items():
        if shown.data.tags.get(tag) != value:
            store.client.set_tag(run_id, tag, value)
    with contextlib.suppress(FileNotFoundError):  # somebody has just removed it
        store.upload(run_id, wanted)
    store.client.set_terminated(run_id, wanted.status, wanted.end)
    if not unchanged():
        raise Changed
    store.client.set_tag(run_id, MIRRORED, wanted.digest)
