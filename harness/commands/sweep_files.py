"""Tables, numbers and pictures as files below `<out>/tables`, shown in MLflow with their plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.markup import escape

from harness import plans
from harness.commands.launching import Launching
from harness.files import require_writable, write_bytes
from harness.plan import PlannedRun
from harness.plan_mirror import TABLES, attach


class Made:
    """A plan that is remembered, and the files that are made of it."""

    def __init__(
        self, call: Launching, planned: Sequence[PlannedRun], kind: plans.Kind, names: Sequence[str]
    ) -> None:
        run = call.run
        require_writable(run.out)
        self.call = call
        self.files: list[Path] = []
        self.plan = plans.remember(
            run.out,
            [one.spec.id for one in planned],
            kind=kind,
            command=call.command,
            methods=names,
            protocol=run.protocol,
            seeds=run.seeds,
            settings={one.spec.id: one.setting for one in planned if one.setting},
        )

    def keep(self, names: str, content: Iterable[str], files: Mapping[str, str | bytes]) -> None:
        """Suffix -> what is to be kept, under one name for the same `content` of a table."""
        digest = hashlib.sha256("\n".join(content).encode()).hexdigest()[:8]
        readable = "".join(c if c.isalnum() or c in "+-" else "_" for c in names)
        for suffix, data in files.items():
            path = self.call.run.out / TABLES / f"{readable}-{digest}.{suffix}"
            write_bytes(path, data.encode() if isinstance(data, str) else data)
            self.files.append(path)

    def close(self) -> None:
        """Say where the files are, and show them in MLflow with the plan."""
        attach(self.call.run.out, self.plan, self.files)
        console = self.call.console
        for i, path in enumerate(self.files):
            what = "\nTable:   " if i == 0 else " " * 9
            console.print(f"{what}{escape(str(path))}", highlight=False, soft_wrap=True)
        self.call.mirror.sync(self.plan.runs)
