"""Tables, numbers and pictures as files below `<out>/tables`, shown in MLflow with their plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness import plans
from harness.commands.launching import Launching
from harness.plan import PlannedRun
from harness.plan_mirror import attach


class Made:
    """A plan that is remembered, and the files that are made of it."""

    def __init__(
        self, call: Launching, planned: Sequence[PlannedRun], kind: plans.Kind, names: Sequence[str]
    ) -> None:
        self.call = call
        self.files: list[Path] = []
        self.plan = call.remember(planned, kind, names)

    def keep(self, names: str, content: Iterable[str], files: Mapping[str, str | bytes]) -> None:
        """Suffix -> what is to be kept, under one name for the same `content` of a table."""
        self.files += self.call.keep(names, content, files)

    def close(self) -> None:
        """Say where the files are, and show them in MLflow with the plan."""
        attach(self.call.run.out, self.plan, self.files)
        self.call.say_kept(self.files)
        self.call.mirror.sync(self.plan.runs)
