"""MLflow brought up to date with the records: `harness sync`, and what other commands do of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from harness.commands.presets import Configs, built_in_presets
from harness.tracking import (
    EXPERIMENT,
    OFF,
    TrackingUnavailable,
    default_uri,
    require_uri,
    sync,
)
from methods.cards import CARDS
from protocols.errors import ReIDError


def sync_command(
    out: Path, tracking: str | None, console: Console, experiment: str = EXPERIMENT
) -> int:
    """Mirror every record below `out`; returns 1 if some could not be read."""
    if not out.is_dir():
        raise ReIDError(f"--out {out}: there is no such folder, so there are no records to mirror.")
    uri = default_uri(out) if tracking is None else tracking
    require_uri(uri)
    result = sync(out, uri, experiment=experiment, check=True, presets=_presets)
    console.print(
        f"{len(result.mirrored)} mirrored, {result.unchanged} up to date.", highlight=False
    )
    for problem in result.problems:
        console.print(f"- {escape(problem)}", highlight=False)
    return 1 if result.problems else 0


@cache
def _presets(method: str) -> Configs:
    """Of a built-in method: a record may name any module, which nobody imports for it."""
    return built_in_presets(method) if method in CARDS else {}


class Mirroring:
    """Keeps MLflow up to date while a command works; a server that is away is said once."""

    def __init__(
        self, out: Path, tracking: str | None, console: Console, experiment: str = EXPERIMENT
    ) -> None:
        self.out, self.console, self.experiment = out, console, experiment
        self.uri = default_uri(out) if tracking is None else tracking
        require_uri(self.uri)
        self.away = self.uri == OFF

    def sync(self, run_ids: Sequence[str], groundings: Sequence[str] = ()) -> None:
        """Mirror these runs, and the groundings of label files with these stems.

        Nothing is done where nothing is to be mirrored.
        """
        if self.away:
            return
        try:
            result = sync(
                self.out,
                self.uri,
                run_ids,
                self.experiment,
                groundings=groundings,
                presets=_presets,
            )
            problems = result.problems
        except TrackingUnavailable as error:
            self.away, problems = True, [str(error)]
        for problem in problems:
            self.console.print(
                f"[yellow]MLflow:[/yellow] {escape(problem)}", highlight=False, soft_wrap=True
            )
