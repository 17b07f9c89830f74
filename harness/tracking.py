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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness import mirror
from harness.files import locked, write_json
from protocols.errors import ReIDError

if TYPE_CHECKING:
    from harness.mlflow_store import Store

OFF = "off"
"""In place of a URI: mirror nothing."""
EXPERIMENT = "dg-reid"
HOST, PORT = "127.0.0.1", 5000

_SQLITE = "sqlite:///"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


class TrackingUnavailable(ReIDError):
    """MLflow can't be brought up to date now; the records are none the worse for it."""


@dataclass
class SyncResult:
    """What a sync did: keys mirrored now, how many were up to date, what was left out and why."""

    mirrored: list[str] = field(default_factory=list)
    unchanged: int = 0
    problems: list[str] = field(default_factory=list)


def default_uri(out: Path) -> str:
    """The SQLite database below `out`."""
    return f"{_SQLITE}{out.absolute()}/mlflow.db"


def sync(
    out: Path,
    uri: str,
    run_ids: Iterable[str] | None = None,
    experiment: str = EXPERIMENT,
    *,
    check: bool = False,
) -> SyncResult:
    """Show every finished training below `out` (or those of `run_ids`) in MLflow, each once.

    What was mirrored before is remembered in `<out>/.mlflow`; if nothing is new, MLflow is not
    even imported. `check` asks the server all the same, in case somebody deleted runs there.
    Damaged records are named in the result and left out. Raises TrackingUnavailable.
    """
    result = SyncResult()
    if uri == OFF or not out.is_dir():
        return result
    out, uri = out.absolute(), _absolute(uri)
    with locked(out / ".mlflow" / "lock"):
        marker = _Marker(out, uri, experiment)
        due = list(_due(out, run_ids, {} if check else marker.keys, result))
        if due:
            _sync(out, uri, experiment, due, marker, result)
    return result


def _due(
    out: Path, run_ids: Iterable[str] | None, known: dict[str, str], result: SyncResult
) -> Iterator[mirror.Training]:
    """The trainings of which something is not mirrored yet; the others are counted."""
    for found in mirror.scan(out, run_ids):
        if found.digests.items() <= known.items():
            result.unchanged += len(found.digests)
            continue
        try:
            training = mirror.read(out, found)
        except ReIDError as error:
            result.problems.append(str(error))
            continue
        result.problems += training.problems
        if training.digests.items() <= known.items():
            result.unchanged += len(training.digests)
        else:
            yield training


def _sync(
    out: Path,
    uri: str,
    experiment: str,
    due: list[mirror.Training],
    marker: _Marker,
    result: SyncResult,
) -> None:
    from harness.mlflow_store import StoreError, open_store

    try:
        with open_store(uri, experiment, _database(uri), _artifacts(out, uri)) as store:
            for training in due:
                if _mirror(store, training, out, result):
                    marker.save(training.digests)
    except StoreError as error:
        raise _unavailable(out, uri, str(error)) from None  # the causes may hold passwords


def _mirror(store: Store, training: mirror.Training, out: Path, result: SyncResult) -> bool:
    from harness.mlflow_store import Changed, Refused

    def unchanged() -> bool:
        now = mirror.look(out, training.parent.key)
        return now is not None and training.digests.items() <= now.digests.items()

    name = f"{training.parent.name} (run {training.parent.key})"
    try:
        made = store.mirror(training, unchanged)
    except Changed:
        result.problems.append(f"{name} was computed again while it was mirrored: sync once more.")
        return False
    except Refused as error:
        result.problems.append(f"{name} was refused by MLflow: {safe(str(error))}")
        return False
    result.mirrored += made
    result.unchanged += len(training.digests) - len(made)
    return True


class _Marker:
    """What one store was told before: key -> digest, in a file below `<out>/.mlflow`."""

    def __init__(self, out: Path, uri: str, experiment: str) -> None:
        name = hashlib.sha256(f"{uri}\n{experiment}".encode()).hexdigest()[:16]
        self.path = out / ".mlflow" / f"{name}.json"
        self.uri = uri
        self.keys = self._read()

    def _read(self) -> dict[str, str]:
        try:
            value = json.loads(self.path.read_text(encoding="utf-8"))
            return dict(value["mirrored"]) if value["store"] == self._store() else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # the store will be asked

    def save(self, mirrored: dict[str, str]) -> None:
        """Remember these besides those before."""
        self.keys |= mirrored
        value = {"uri": safe(self.uri), "store": self._store(), "mirrored": self.keys}
        write_json(self.path, value)

    def _store(self) -> str:
        """Something that changes when a database is removed and made again."""
        database = _database(self.uri)
        if database is None:
            return ""
        return str(database.stat().st_ino) if database.exists() else "none"


def ui_command(out: Path, uri: str, port: int = PORT) -> list[str]:
    """The command that serves a store's pages on 127.0.0.1. Raises ReIDError if it can't."""
    uri = _absolute(uri)
    artifacts = _artifacts(out.absolute(), uri)
    if uri == OFF or artifacts is None:
        raise ReIDError(f"--tracking {safe(uri)} is no database: there are no pages to serve.")
    database = _database(uri)
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


def _absolute(uri: str) -> str:
    """An SQLite URI that means the same from every working directory."""
    if not uri.startswith(_SQLITE):
        return uri
    path, mark, options = uri.removeprefix(_SQLITE).partition("?")
    return f"{_SQLITE}{Path(path).absolute()}{mark}{options}"


def _database(uri: str) -> Path | None:
    """The file of an SQLite store, None for any other."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE).partition("?")[0])


def _artifacts(out: Path, uri: str) -> Path | None:
    """Where the artifacts of a database go; None for a server, which has its own place."""
    if not re.match(rf"({'|'.join(_DATABASES)})(\+\w+)?:", uri):
        return None
    database = _database(uri)
    return (database.parent if database else out) / "mlflow-artifacts"


def _unavailable(out: Path, uri: str, reason: str) -> TrackingUnavailable:
    """The error in words: what is wrong, that nothing is lost, what to do."""
    system = re.search(r"\[Errno -?\d+\] ([^:'\")\]]+)|(timed out)", reason)
    away = system is not None and _database(uri) is None
    short = (system.group(1) or system.group(2)) if system else _first_line(reason)
    kind = "tracking server" if _artifacts(out, uri) is None else "tracking database"
    trouble = "is not reachable" if away else "can't be used"
    where = "" if uri == default_uri(out) else f" --tracking {shlex.quote(safe(uri))}"
    return TrackingUnavailable(
        f"The {kind} {safe(uri)} {trouble} ({safe(short)}). The records in {out} are complete; "
        f"`harness sync --out {shlex.quote(str(out))}{where}` brings it up to date."
    )


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0]
    return line if len(line) <= 300 else f"{line[:300]} ..."


def safe(text: str) -> str:
    """`text` without the user names and passwords of its URIs."""
    text = re.sub(r"(?<=://)[^/\s]*@", "***@", text)
    return re.sub(r"(?i)([?&](?:password|token)=)[^&\s]*", r"\1***", text)
