"""Where an MLflow store is: its URI, the file of its database, the folder of its artifacts."""

from __future__ import annotations

import re
from pathlib import Path

_SQLITE = "sqlite:///"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def default_uri(out: Path) -> str:
    """The SQLite database below `out`."""
    return f"{_SQLITE}{out.absolute()}/mlflow.db"


def absolute(uri: str) -> str:
    """An SQLite URI that means the same from every working directory."""
    if not uri.startswith(_SQLITE):
        return uri
    path, mark, options = uri.removeprefix(_SQLITE).partition("?")
    return f"{_SQLITE}{Path(path).absolute()}{mark}{options}"


def database_of(uri: str) -> Path | None:
    """The file of an SQLite store, None for any other."""
    if not uri.startswith(_SQLITE):
        return None
    return Path(uri.removeprefix(_SQLITE).partition("?")[0])


def artifacts_of(out: Path, uri: str) -> Path | None:
    """Where the artifacts of a database go; None for a server, which has its own place."""
    if not re.match(rf"({'|'.join(_DATABASES)})(\+\w+)?:", uri):
        return None
    database = database_of(uri)
    return (database.parent if database else out) / "mlflow-artifacts"
