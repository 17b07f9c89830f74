"""Where MLflow shows a run, as addresses; read from its database's file, nobody is asked."""

from __future__ import annotations

import contextlib
import json
import shlex
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from harness.mirror import KEY, MIRRORED
from harness.store_uri import database_of, default_uri
from harness.tracking import HOST, PORT

_QUERY = """
SELECT tags.value, runs.experiment_id, runs.run_uuid FROM tags
JOIN runs ON runs.run_uuid = tags.run_uuid AND runs.lifecycle_stage = 'active'
JOIN tags AS whole ON whole.run_uuid = runs.run_uuid AND whole.key = ?
WHERE tags.key = ? ORDER BY runs.start_time, runs.run_uuid
"""


@dataclass(frozen=True)
class Links:
    """Addresses by run id, or by RUN/TARGET; `said` is what opens them, or why there are none."""

    pages: dict[str, str]
    said: str


def mlflow_links(out: Path) -> Links:
    """The pages that `harness ui` serves of the records below `out`."""
    shown = _shown(database_of(default_uri(out)))
    folder = "" if out == Path("runs") else f" --out {shlex.quote(str(out))}"
    if shown:
        pages = {
            key: f"http://{HOST}:{PORT}/#/experiments/{experiment}/runs/{run}"
            for key, experiment, run in shown
        }
        return Links(pages, f"opens while `harness ui{folder}` is running on this machine")
    servers = _servers(out)
    if servers:
        return Links({}, f"at {' and '.join(servers)}, tag harness.run_id")
    return Links({}, f"`harness sync{folder}` brings it there, `harness ui{folder}` shows it")


def _shown(database: Path | None) -> list[tuple[str, int, str]]:
    """Key, experiment and MLflow's id of every run that is whole there, as far as one can read."""
    if database is None or not database.is_file():
        return []
    with contextlib.suppress(sqlite3.Error):
        uri = f"{database.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            return connection.execute(_QUERY, (MIRRORED, KEY)).fetchall()
    return []


def _servers(out: Path) -> list[str]:
    """Tracking servers that were told of records below `out`, as `harness sync` remembers them."""
    found = set()
    for path in sorted((out / ".mlflow").glob("*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            uri = json.loads(path.read_bytes())["uri"]
            if uri.startswith(("http:", "https:")):
                found.add(uri)
    return sorted(found)
