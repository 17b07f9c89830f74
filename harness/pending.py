"""What is left to do of a plan, from the records; fast where thousands of runs are done already."""

from __future__ import annotations

from pathlib import Path

from harness.catalog import DataCatalog
from harness.plan import PlannedRun
from harness.record import RunFolder
from harness.stopping import EarlyStopping, read_stopped
from harness.train import epoch_units


def is_finished(
    planned: PlannedRun, catalog: DataCatalog, out: Path, rule: EarlyStopping | None = None
) -> bool:
    """Whether a planned run has left every record it is to leave; reads as little as it can.

    One that was given up under `rule` is to leave none.
    """
    folder = RunFolder(out, planned.spec.id)
    if not folder.run.exists():
        return read_stopped(folder.stopped, rule) is not None
    return not missing_targets(planned, catalog, out)


def missing_targets(planned: PlannedRun, catalog: DataCatalog, out: Path) -> list[str]:
    """The targets of a planned run that have no record yet, in order.

    One whose record can't be read is among them: `run` says what is wrong with it.
    """
    folder = RunFolder(out, planned.spec.id)
    if not folder.run.exists():
        return list(planned.fold.targets)
    return [
        target
        for target in planned.fold.targets
        if not folder.has_target(target, catalog.target_fingerprint(target))
    ]


def work(planned: PlannedRun, catalog: DataCatalog, out: Path, force: bool = False) -> float:
    """What is left to do of a planned run, in the units of `harness.progress`; an estimate.

    With `force`, everything is.
    """
    left = list(planned.fold.targets) if force else missing_targets(planned, catalog, out)
    units = float(sum(len(catalog.target_paths(target)) for target in left))
    if force or not RunFolder(out, planned.spec.id).run.exists():
        images = sum(
            len(catalog.source(s, planned.fold.source_images).images) for s in planned.fold.sources
        )
        units += epoch_units(images) * planned.method.planned_epochs(planned.config)
    return units
