"""MLflow as a mirror of the records: `sync` brings it up to date, `ui` opens it.

The files below `out` are the truth; a sync projects them into any MLflow store and can be killed
and repeated at will. MLflow itself is imported in `harness.mlflow_store` alone, and only when
there is something to be mirrored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from harness import mirror, plan_mirror
from harness.files import locked, write_json
from harness.grounding import mirror as ground_mirror
from harness.mlflow_store import Changed, Refused, Store, StoreError, open_store
from harness.plans import PlanRecord, owners, read_all
from harness.store_uri import absolute, artifacts_of, database_of, default_uri
from harness.texts import safe
from protocols.errors import ReIDError

OFF = "off"
"""In place of a URI: mirror nothing."""
EXPERIMENT = "dg-reid"
HOST, PORT = "127.0.0.1", 5000

SAVE_EVERY = 2.0
"""Seconds between two times that what was mirrored is written down."""


class TrackingUnavailable(ReIDError):
    """MLflow can't be brought up to date now; the records are none the worse for it."""


@dataclass
class SyncResult:
    """What a sync did: keys mirrored now, how many were up to date, what was left out and why.

    `plans` are the keys of plans that are shown anew or as they are now; all else is of records.
    """

    mirrored: list[str] = field(default_factory=list)
    unchanged: int = 0
    problems: list[str] = field(default_factory=list)
    plans: list[str] = field(default_factory=list)


def require_uri(uri: str) -> None:
    """Raise ReIDError for a text that is no URI of a tracking server or of a database."""
    if uri != OFF and not re.match(r"[a-zA-Z][\w+.-]*:", uri):
        raise ReIDError(
            f"--tracking {safe(uri)!r}: expected http://HOST:PORT, a database such as "
            f"sqlite:////PATH/mlflow.db, or {OFF}."
        )


def sync(
    out: Path,
    uri: str,
    run_ids: Iterable[str] | None = None,
    experiment: str = EXPERIMENT,
    *,
    groundings: Iterable[str] | None = None,
    check: bool = False,
    presets: mirror.Presets = mirror.no_presets,
) -> SyncResult:
    """Show every finished training below `out` (or those of `run_ids`) in MLflow, each once.

    Each is below the earliest plan that lists it (`harness.plans`), if one does.
    So are groundings: those of label files with the stems `groundings`; without, all of them if
    there are no `run_ids`, else none.
    What was mirrored before is remembered in `<out>/.mlflow`; if nothing is new, MLflow is not
    even imported. `check` asks the server all the same, in case somebody deleted runs there.
    With `presets`, a name says what a config has other than its preset.
    Damaged records are named in the result and left out. Raises TrackingUnavailable.
    """
    result = SyncResult()
    if uri == OFF or not out.is_dir():
        return result
    out, uri = out.absolute(), absolute(uri)
    with locked(out / ".mlflow" / "lock"):
        marker = _Marker(out, uri, experiment)
        known = {} if check else marker.keys
        chosen = None if run_ids is None else set(run_ids)
        plans, problems = read_all(out)
        if chosen is None:
            result.problems += problems
        groups = list(plan_mirror.scan(out, plans, chosen, known))
        due = list(_due(out, chosen, plans, known, result, presets))
        if chosen is not None and groundings is None:
            groundings = ()
        grounded = ground_mirror.due(out, groundings, known)
        result.unchanged += grounded.unchanged
        result.problems += grounded.problems
        if due or groups or grounded.mirrors:
            work = _Work(out, {plan.id: plan for plan in plans}, marker, result)
            try:
                with open_store(uri, experiment, database_of(uri), artifacts_of(out, uri)) as store:
                    work.do(store, groups, due)
                    for found, wanted in grounded.mirrors:
                        work.ground(store, found, wanted)
            except StoreError as error:
                # the causes may hold passwords
                raise _unavailable(out, uri, str(error)) from None
            finally:
                marker.write()
    return result


def _due(
    out: Path,
    run_ids: set[str] | None,
    plans: Iterable[PlanRecord],
    known: Mapping[str, str],
    result: SyncResult,
    presets: mirror.Presets,
) -> Iterator[mirror.Training]:
    """The trainings of which something is not mirrored yet; the others are counted."""
    settings = {plan.id: plan.settings for plan in plans}
    for found in mirror.scan(out, run_ids, owners(plans)):
        if found.marks.items() <= known.items():
            result.unchanged += len(found.digests)
            continue
        try:
            setting = settings[found.plan].get(found.run_id, "") if found.plan else ""
            training = mirror.read(out, found, setting, presets)
        except ReIDError as error:
            result.problems.append(str(error))
            continue
        result.problems += training.problems
        if training.marks.items() <= known.items():
            result.unchanged += len(training.digests)
        else:
            yield training


class _Work:
    """What a sync does with a store; plans are looked up in it when a training needs one."""

    def __init__(
        self, out: Path, plans: Mapping[str, PlanRecord], marker: _Marker, result: SyncResult
    ) -> None:
        self.out, self.plans, self.marker, self.result = out, plans, marker, result
        self.shown: dict[str, str | None] = {}

    def do(
        self,
        store: Store,
        groups: Iterable[plan_mirror.FoundPlan],
        trainings: Iterable[mirror.Training],
    ) -> None:
        """Everything that is due; what is refused is noted and does not hold up the rest."""
        for group in groups:
            self.show(store, group)
        for training in trainings:
            name = f"{training.parent.name} (run {training.parent.key})"
            below = self.below(store, training.plan) if training.plan else None
            try:
                made = store.mirror(training, partial(self.unchanged, training), below)
            except Changed:
                self.result.problems.append(
                    f"{name} was computed again while it was mirrored: sync once more."
                )
            except Refused as error:
                self.refused(name, error)
            else:
                self.result.mirrored += made
                self.result.unchanged += len(training.digests) - len(made)
                # one whose plan was refused is due again
                self.marker.add(training.marks if below else training.digests)

    def below(self, store: Store, plan: str) -> str | None:
        """The MLflow run of a plan, made if it is not there; None if it was refused."""
        if plan not in self.shown:
            self.show(store, plan_mirror.look(self.out, self.plans[plan]))
        return self.shown[plan]

    def show(self, store: Store, group: plan_mirror.FoundPlan) -> None:
        """Bring a plan's run up to date."""
        self.shown[group.record.id] = None
        try:
            self.shown[group.record.id] = plan_mirror.show(store, plan_mirror.mirror(group))
        except Refused as error:
            self.refused(f"{group.record.name} ({group.key})", error)
            return
        except Changed:
            self.result.problems.append(f"{group.path} has gone meanwhile: sync once more.")
            return
        if self.marker.keys.get(group.key) != group.digest:
            self.result.plans.append(group.key)
            self.marker.add({group.key: group.digest})

    def ground(
        self, store: Store, found: ground_mirror.FoundGrounding, wanted: mirror.Mirror
    ) -> None:
        """Bring a grounding's run up to date."""
        try:
            changed = ground_mirror.show(store, found, wanted)
        except Changed:
            self.result.problems.append(f"{found.path} was made again meanwhile: sync once more.")
            return
        except Refused as error:
            self.refused(f"{wanted.name} ({found.path})", error)
            return
        if changed:
            self.result.mirrored.append(found.key)
        else:
            self.result.unchanged += 1
        self.marker.add({found.key: found.digest})

    def refused(self, name: str, error: Exception) -> None:
        """Note what MLflow will not have."""
        self.result.problems.append(f"{name} was refused by MLflow: {safe(str(error))}")

    def unchanged(self, training: mirror.Training) -> bool:
        """Whether the files of a training are still those that were read."""
        now = mirror.look(self.out, training.parent.key)
        return now is not None and training.digests.items() <= now.digests.items()


class _Marker:
    """What one store was told before: key -> digest, in a file below `<out>/.mlflow`."""

    def __init__(self, out: Path, uri: str, experiment: str) -> None:
        name = hashlib.sha256(f"{uri}\n{experiment}".encode()).hexdigest()[:16]
        self.path = out / ".mlflow" / f"{name}.json"
        self.uri = uri
        self.keys = self._read()
        self.unsaved, self.saved = False, time.monotonic()

    def _read(self) -> dict[str, str]:
        try:
            value = json.loads(self.path.read_text(encoding="utf-8"))
            return dict(value["mirrored"]) if value["store"] == self._store() else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # the store will be asked

    def add(self, mirrored: Mapping[str, str]) -> None:
        """Remember these besides those before; written now and then, for the file may be long."""
        self.keys |= mirrored
        self.unsaved = True
        if time.monotonic() - self.saved > SAVE_EVERY:
            self.write()

    def write(self) -> None:
        """Write down what is remembered. If a kill prevents it, the store is asked once more."""
        if not self.unsaved:
            return
        self.unsaved, self.saved = False, time.monotonic()
        value = {"uri": safe(self.uri), "store": self._store(), "mirrored": self.keys}
        write_json(self.path, value)

    def _store(self) -> str:
        """Something that changes when a database is removed and made again."""
        database = database_of(self.uri)
        if database is None:
            return ""
        return str(database.stat().st_ino) if database.exists() else "none"


def ui_command(out: Path, uri: str, port: int = PORT) -> list[str]:
    """The command that serves a store's pages on 127.0.0.1. Raises ReIDError if it can't."""
    uri = absolute(uri)
    artifacts = artifacts_of(out.absolute(), uri)
    if uri == OFF or artifacts is None:
        raise ReIDError(f"--tracking {safe(uri)} is no database: there are no pages to serve.")
    database = database_of(uri)
    if database and not database.exists():
        raise ReIDError(
            f"There is no MLflow database at {database} yet. `harness run` makes it, and so does "
            f"`harness sync --out {shlex.quote(str(out))}` where there are finished runs."
        )
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)),
        *("--workers", "1", "--backend-store-uri", uri),
        *("--no-serve-artifacts", "--default-artifact-root", artifacts.as_uri()),
    ]


def ui(out: Path, uri: str, port: int = PORT, say: Callable[[str], None] = print) -> int:
    """Serve MLflow's pages on 127.0.0.1 until Ctrl-C; `say` is told where. Returns an exit code.

    Raises ReIDError if there is no database yet or the port is taken.
    """
    if uri.startswith(("http:", "https:")):
        say(f"{safe(uri)} is a server already: open it in a browser.")
        return 0
    command = ui_command(out, uri, port)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise ReIDError(
                f"Port {port} of {HOST} can't be used ({reason}). Try --port {port + 1}."
            ) from error
    say(f"MLflow: http://{HOST}:{port} (takes some seconds to start; Ctrl-C stops it)")
    return _serve(command)


def _serve(command: list[str]) -> int:
    """Run a server until it ends or this process is told to; leaves none of its children behind."""
    # the job runner would be a dozen more processes that no page of ours needs
    environment = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore",
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    endings = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(ending, signal.default_int_handler) for ending in endings]
    # in a session of its own, so that the signal we get is not sent to half of it as well
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        for ending, handler in zip(endings, before, strict=True):
            signal.signal(ending, handler)


def _unavailable(out: Path, uri: str, reason: str) -> TrackingUnavailable:
    """The error in words: what is wrong, that nothing is lost, what to do."""
    system = re.search(r"\[Errno -?\d+\] ([^:'\")\]]+)|(timed out)", reason)
    away = system is not None and database_of(uri) is None
    short = (system.group(1) or system.group(2)) if system else _first_line(reason)
    kind = "tracking server" if artifacts_of(out, uri) is None else "tracking database"
    trouble = "is not reachable" if away else "can't be used"
    where = "" if uri == default_uri(out) else f" --tracking {shlex.quote(safe(uri))}"
    return TrackingUnavailable(
        f"The {kind} {safe(uri)} {trouble} ({safe(short)}). The records in {out} are complete; "
        f"`harness sync --out {shlex.quote(str(out))}{where}` brings it up to date."
    )


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0]
    return line if len(line) <= 300 else f"{line[:300]} ..."
