"""`harness status`: what is finished, running, interrupted and failed, from the files alone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.padding import Padding
from rich.text import Text

from harness.drivers import Driver, drivers
from harness.live import LIVE, Live, read_live
from harness.progress import duration
from harness.screen import LINE_EVERY, live_table, many, unbroken
from harness.signs import BEAT, Pulse, State
from protocols.errors import ReIDError
from protocols.types import Fold

LISTED = 20
"""Interrupted or failed runs that are named; of the others it says how many."""
LOOK = 3 * BEAT
"""Seconds that a process on another machine gets to show that it lives."""


@dataclass
class Status:
    """What lies below `--out`: finished trainings and tests in number, everything else by name.

    `running` holds, with their state (`running` or `silent`), runs whose process may be at work.
    """

    trainings: int = 0
    tests: int = 0
    plans: list[tuple[Driver, State]] = field(default_factory=list)
    running: list[tuple[Live, State]] = field(default_factory=list)
    interrupted: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    stopped: int = 0

    @property
    def silent(self) -> bool:
        """Whether of somebody it is not known if they are at work."""
        return any(state == "silent" for _, state in (*self.plans, *self.running))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "trainings": self.trainings,
            "tests": self.tests,
            "plans": [{**asdict(plan), "state": state} for plan, state in self.plans],
            "running": [
                {**asdict(live), "left": live.left, "state": state} for live, state in self.running
            ],
            "interrupted": self.interrupted,
            "failed": self.failed,
            "stopped": self.stopped,
        }


def status_command(out: Path, as_json: bool, watch: bool, console: Console) -> int:
    """Show the state of every run below `out`, with `watch` until Ctrl-C; returns 0.

    Raises ReIDError where there is no such folder.
    """
    if not out.is_dir():
        raise ReIDError(f"--out {out}: there is no such folder, so nothing was run there.")
    pulse = Pulse()
    status = _settled(out, pulse)
    if not watch:
        _print(status, out, as_json, console)
        return 0
    with suppress(KeyboardInterrupt):
        _watch(out, pulse, as_json, console)
    return 0


def read_status(out: Path, pulse: Pulse) -> Status:
    """What lies below `out` now; `pulse` is kept from one look to the next."""
    status = Status()
    for driver in drivers(out):
        state = pulse.state("plan", driver.writer, driver.sequence)
        status.plans.append((driver, state))
    with os.scandir(out) as entries:
        folders = sorted(e.path for e in entries if e.is_dir() and not e.name.startswith("."))
    for path in folders:
        _add(status, Path(path), pulse)
    return status


def _settled(out: Path, pulse: Pulse) -> Status:
    """One look; several, if that is needed to tell whether somebody elsewhere is at work."""
    status, end = read_status(out, pulse), time.monotonic() + LOOK
    while status.silent and time.monotonic() < end:
        time.sleep(BEAT / 4)
        status = read_status(out, pulse)
    return status


def _add(status: Status, folder: Path, pulse: Pulse) -> None:
    with os.scandir(folder) as entries:
        names = {entry.name for entry in entries}
    if "run.json" in names:
        status.trainings += 1
    if "targets" in names:
        targets = set(os.listdir(folder / "targets"))  # noqa: PTH208 (several times as fast)
        status.tests += sum(
            name.endswith(".json") and f"{name[:-5]}.parquet" in targets for name in targets
        )
    live = read_live(folder) if LIVE in names else None
    state = pulse.state(live.run_id, live.writer, live.sequence) if live else None
    if live and state and state != "interrupted":
        status.running.append((live, state))
    elif "failed.json" in names:
        status.failed.append(_failure(folder))
    elif live:
        status.interrupted.append(_killed(live))
    elif "stopped.json" in names:
        status.stopped += 1
    elif "spec.json" in names and "run.json" not in names:
        status.interrupted.append(_unfinished(folder))


def _failure(folder: Path) -> dict[str, Any]:
    """What `failed.json` says, as text, whatever it holds."""
    found = _read(folder / "failed.json")
    keys = ("title", "error", "log", "command", "at")
    told = {key: str(found.get(key) or "") for key in keys}
    told["error"] = told["error"].removeprefix(f"{told['title']}: ")
    return {"run_id": folder.name, **told}


def _killed(live: Live) -> dict[str, Any]:
    return {
        "run_id": live.run_id,
        "title": live.title,
        "doing": live.what,
        "at": live.updated,
        "by": f"{live.writer} is gone",
    }


def _unfinished(folder: Path) -> dict[str, Any]:
    """A training whose process has left orderly, without a file of its own."""
    spec = _read(folder / "spec.json")
    checkpoints = sorted((folder / "checkpoint").glob("epoch-*/checkpoint.json"))
    history = _read(checkpoints[-1]).get("history") if checkpoints else None
    doing = "before its first epoch was over"
    with suppress(TypeError, KeyError, IndexError):
        last = (history or [])[-1]
        doing = f"after {last['stage']} {last['epoch']}"
    fold = Fold(tuple(spec.get("sources") or "?"), spec.get("source_images") or "train", ())
    title = f"{spec.get('method', '?')} on {fold.name}, seed {spec.get('seed', '?')}"
    return {"run_id": folder.name, "title": title, "doing": doing, "at": "", "by": ""}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _watch(out: Path, pulse: Pulse, as_json: bool, console: Console) -> None:
    if as_json:
        while True:
            # a line a look
            print(json.dumps(read_status(out, pulse).to_dict()), flush=True)
            time.sleep(BEAT)
    if not console.is_terminal:
        while True:
            _print(read_status(out, pulse), out, False, console)
            time.sleep(LINE_EVERY)
    with RichLive(console=console, auto_refresh=False, screen=False) as screen:
        while True:
            screen.update(_shown(read_status(out, pulse), out), refresh=True)
            time.sleep(BEAT)


def _print(status: Status, out: Path, as_json: bool, console: Console) -> None:
    if as_json:
        console.print_json(json.dumps(status.to_dict()))
    else:
        unbroken(console).print(_shown(status, out))


def _shown(status: Status, out: Path) -> RenderableType:
    return Group(*_sections(status, out))


def _sections(status: Status, out: Path) -> Iterator[RenderableType]:
    counted = f"{many(status.trainings, 'training')} and {many(status.tests, 'test')} finished"
    stopped = f"; {status.stopped} given up by a search" if status.stopped else ""
    yield Text(f"{out}: {counted}{stopped}.")
    for plan, state in status.plans:
        yield Padding(_plan(plan, state), (0, 0, 0, 2), expand=False)
    if status.running:
        yield Text(f"\n{len(status.running)} running:", "bold")
        lives = [live for live, _ in status.running]
        yield Padding(live_table(lives, where=True), (0, 0, 0, 2), expand=False)
        for live, state in status.running:
            if state == "silent":
                yield Text(
                    f"  {live.title}: no sign of life from {live.writer} in {LOOK:.0f} s; it is "
                    "slow, cut off or gone.",
                    "yellow",
                )
    if status.interrupted:
        yield Text(f"\n{len(status.interrupted)} interrupted; the same command goes on:", "yellow")
        for one in status.interrupted[:LISTED]:
            at = f"{one['doing']}, {one['at']}" if one["at"] else one["doing"]
            by = f" ({one['by']})" if one["by"] else ""
            yield Text(f"  {one['title']}: {at}{by}")
    yield from _more(status.interrupted)
    if status.failed:
        yield Text(f"\n{len(status.failed)} failed:", "bold red")
        for one in status.failed[:LISTED]:
            yield from _failed(one)
    yield from _more(status.failed)


def _plan(plan: Driver, state: State) -> Text:
    share = f"{plan.finished} of {plan.runs} runs, {100 * plan.done / plan.total:.0f} %"
    failed = f", {plan.failed} failed" if plan.failed else ""
    if state == "interrupted":
        return Text(f"{plan.command}: interrupted at {share}{failed} ({plan.updated}).", "yellow")
    left = "" if plan.left is None else f", about {duration(plan.left)} left"
    silent = ", no sign of life" if state == "silent" else ""
    return Text(f"{plan.command}: {share}{failed}{left} ({plan.writer}{silent})")


def _failed(one: dict[str, Any]) -> Iterator[RenderableType]:
    yield Text(f"  {one['title'] or one['run_id']}" + (f", {one['at']}" if one["at"] else ""))
    for name in ("error", "log", "command"):
        if one[name]:
            label = "" if name == "error" else f"{name}: "
            yield Padding(Text(label + one[name]), (0, 0, 0, 4), expand=False)


def _more(listed: list[dict[str, Any]]) -> Iterator[RenderableType]:
    if len(listed) > LISTED:
        yield Text(f"  and {len(listed) - LISTED} more (--json lists all)", "dim")
