"""From a plan to outcomes: every run that is not done yet, one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from harness.catalog import DataCatalog
from harness.plan import PlannedRun
from harness.run import Outcome, Settings, missing_targets, run, work
from harness.screen import ScreenProgress
from protocols.errors import ReIDError


def launch(
    planned: Sequence[PlannedRun],
    catalog: DataCatalog,
    settings: Settings,
    console: Console,
    finished: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Compute what is missing; one run's failure does not stop the others.

    `finished` is called after each run. Runs that are complete are not touched.
    """
    outcomes: list[Outcome] = []
    pending = []
    for one in planned:
        if settings.force or _is_missing(one, catalog, settings, outcomes):
            pending.append(one)
    done = len(planned) - len(pending) - len(outcomes)
    if done:
        console.print(f"{done} of {len(planned)} runs are done already.", highlight=False)
    total = sum(work(one, catalog, settings) for one in pending)
    with ScreenProgress(console, total, len(pending)) as progress:
        for one in pending:
            progress.begin(one.title)
            outcome = run(one, catalog, settings, progress)
            for failure in outcome.failures:
                progress.say(f"FAILED {failure}")
            outcomes.append(outcome)
            finished(outcome)
    return outcomes


def _is_missing(
    one: PlannedRun, catalog: DataCatalog, settings: Settings, outcomes: list[Outcome]
) -> bool:
    """Whether a run has something left to do; a record that can't be read is its failure."""
    try:
        return bool(missing_targets(one, catalog, settings.out))
    except ReIDError as error:
        outcomes.append(Outcome(one.spec.id, one.title, failures=[f"{one.title}: {error}"]))
        return False
