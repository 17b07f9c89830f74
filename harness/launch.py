"""From a plan to outcomes: every run that is not done yet, one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from harness.catalog import DataCatalog
from harness.plan import PlannedRun
from harness.run import Outcome, Settings, missing_targets, run, work
from harness.screen import ScreenProgress


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
    pending = [
        one for one in planned if settings.force or missing_targets(one, catalog, settings.out)
    ]
    done = len(planned) - len(pending)
    if done:
        console.print(f"{done} of {len(planned)} runs are done already.", highlight=False)
    outcomes: list[Outcome] = []
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
