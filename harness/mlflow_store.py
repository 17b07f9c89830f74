"""One experiment of one MLflow store, and how mirrors get into it. The only file to import MLflow.

`harness.tracking` decides what is due; this makes it so, in a way that can be killed anywhere and
repeated: a run is known by its key from its first moment, and whole once its last tag is set.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from harness.files import locked, write_atomic
from harness.mirror import FIGURES, KEY, MIRRORED, PARENT, PLAN, RUN_ID, TRAINING, Mirror, Training
from harness.mirror import Metric as Value
from harness.quiet import quiet
from protocols.errors import ReIDError

METRICS_PER_CALL, PARAMS_PER_CALL = 800, 100
"""Servers refuse more than 1000 values or 100 parameters at once."""

ATTEMPTS = 5
REFUSED = "INVALID_PARAMETER_VALUE"
DELETED = "must be in the 'active' state"
"""What MLflow says of a run that somebody has deleted."""


T = TypeVar("T")


class StoreError(Exception):
    """The store can't be used; the message is MLflow's or the system's own."""


class Refused(Exception):
    """The store will never take this record."""


class Changed(Exception):
    """A record was made again while it was being mirrored."""


@contextlib.contextmanager
def open_store(
    uri: str, experiment: str, database: Path | None, artifacts: Path | None
) -> Iterator[Store]:
    """The experiment of that name, made if there is none. Whatever fails raises StoreError.

    `database` is the file of an SQLite store; `artifacts` is where runs of a new experiment keep
    their files, None to let the server choose.
    """
    with quiet():
        try:
            from mlflow.exceptions import MlflowException
            from sqlalchemy.exc import SQLAlchemyError
        except ImportError as error:
            raise StoreError(f"MLflow can't be imported: {error}; pip install mlflow") from error
        try:
            root = artifacts.as_uri() if artifacts else None
            if database:
                _make_database(database, uri, root or "")
            # who mirrors another folder into the same file waits; a server has to do without
            alone = locked(database.with_name(f".{database.name}.sync")) if database else None
            with alone or contextlib.nullcontext():
                yield Store(uri, experiment, root)
        except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError,
                ReIDError) as error:  # fmt: skip
            raise StoreError(str(error) or type(error).__name__) from error


class Store:
    """One experiment; every method may raise what MLflow raises."""

    def __init__(self, uri: str, experiment: str, artifacts: str | None) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)
        self.experiment = self._find_experiment(experiment, artifacts)

    def _find_experiment(self, name: str, artifacts: str | None) -> str:
        from mlflow.exceptions import MlflowException

        found: Any = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self.client.create_experiment(name, artifact_location=artifacts))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = self.client.get_experiment_by_name(name)  # another process was first
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def insist(self, make: Callable[[], T]) -> T:
        """What `make` returns; again if somebody else deletes meanwhile what it makes.

        Two processes that mirror the same take what the other has half made for the remains of a
        kill. Raises Refused if MLflow finds something invalid, Changed as `make` does.
        """
        from mlflow.exceptions import MlflowException

        for attempt in range(ATTEMPTS):
            try:
                return make()
            except MlflowException as error:
                if error.error_code != REFUSED:
                    raise
                if DELETED not in str(error) or attempt + 1 == ATTEMPTS:
                    raise Refused(str(error)) from error
            time.sleep(random.uniform(0, 2**attempt))  # so that one of both is first
        raise AssertionError("the last attempt returns or raises")

    def mirror(
        self, training: Training, unchanged: Callable[[], bool], below: str | None = None
    ) -> list[str]:
        """Make what is missing of a training; returns the keys of what was made.

        `below` is the MLflow run of its plan. Raises Changed if the files are not `unchanged` after
        they were copied, Refused if MLflow finds something invalid in them.
        """
        return self.insist(lambda: self._mirror(training, unchanged, below))

    def _mirror(
        self, training: Training, unchanged: Callable[[], bool], below: str | None
    ) -> list[str]:
        present = self._tidy(training)
        missing = [m.key for m in (training.parent, *training.children) if m.key not in present]
        parent = self._ensure(training.parent, present, below, unchanged)
        for child in training.children:
            self._ensure(child, present, parent, unchanged)
        missing += self._add_figures(training, parent, unchanged)
        if missing:
            # a call that a client sent twice, or another process, leaves a second run
            present = self._tidy(training)
            for child in training.children:
                if {child.key, training.parent.key} <= present.keys():
                    self._place(present[child.key], child, _id(present[training.parent.key]))
        return missing

    def _tidy(self, training: Training) -> dict[str, Any]:
        """The MLflow runs that are whole and up to date, by key; deletes what stands in their way.

        That is: parts left by a kill, doubles, and what shows an older state of this training.
        """
        digests, present = training.digests, {}
        for run in self.runs(RUN_ID, training.parent.key):
            tags = run.data.tags
            key, digest = tags.get(KEY, ""), tags.get(MIRRORED)
            # a target of this very training that has no readable file here is left alone
            right = digest == digests[key] if key in digests else (
                tags.get(TRAINING) == training.parent.digest
            )  # fmt: skip
            if digest and right and key not in present:
                present[key] = run
            else:
                self.client.delete_run(run.info.run_id)
        return present

    def runs(self, tag: str, value: str) -> list[Any]:
        """Every MLflow run with that tag, the earliest first."""
        found: list[Any] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment],
                f"tags.`{tag}` = '{value}'",
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            found += page
            token = page.token
            if not token:
                return found

    def _ensure(
        self,
        wanted: Mirror,
        present: dict[str, Any],
        parent: str | None,
        unchanged: Callable[[], bool],
    ) -> str:
        """The id of the MLflow run that shows `wanted`, below `parent`; made if it is not there."""
        found = present.get(wanted.key)
        if found is None:
            return self.create(wanted, parent, unchanged)
        self._place(found, wanted, parent)
        return _id(found)

    def _place(self, found: Any, wanted: Mirror, parent: str | None) -> None:
        """Show a run that is there below `parent`."""
        for tag, value in ((PLAN, wanted.tags.get(PLAN)), (PARENT, parent)):
            if value and found.data.tags.get(tag) != value:
                self.client.set_tag(_id(found), tag, value)

    def _add_figures(
        self, training: Training, parent: str, unchanged: Callable[[], bool]
    ) -> list[str]:
        """Add those figures that the run `parent` does not show yet; returns their keys."""
        if not training.figures:
            return []
        tags = self.client.get_run(parent).data.tags
        missing = [f for f in training.figures if tags.get(f.tag) != f.digest]
        for figure in missing:
            try:
                self.client.log_artifact(parent, str(figure.path), FIGURES)
            except FileNotFoundError:
                raise Changed from None
            if not unchanged():
                raise Changed
            self.client.set_tag(parent, figure.tag, figure.digest)
        return [figure.key for figure in missing]

    def create(
        self,
        wanted: Mirror,
        parent: str | None = None,
        unchanged: Callable[[], bool] = lambda: True,
    ) -> str:
        """Make the run of a mirror; it is whole at the end, and known for what it is before."""
        from mlflow.exceptions import MlflowException

        client, tags = self.client, wanted.tags | ({PARENT: parent} if parent else {})
        run = client.create_run(
            self.experiment, start_time=wanted.start, tags=tags, run_name=wanted.name
        )
        run_id = _id(run)
        try:
            self.log(run_id, wanted.metrics, wanted.params)
            self.upload(run_id, wanted)
            client.set_terminated(run_id, wanted.status, wanted.end)
            if not unchanged():
                raise Changed
        except (FileNotFoundError, Changed):
            client.delete_run(run_id)
            raise Changed from None
        except MlflowException as error:
            if error.error_code == REFUSED:
                with contextlib.suppress(MlflowException):  # somebody else was first
                    client.delete_run(run_id)
            raise
        client.set_tag(run_id, MIRRORED, wanted.digest)
        return run_id

    def upload(self, run_id: str, wanted: Mirror) -> None:
        """Copy the files of a mirror to a run."""
        for path in wanted.files:
            self.client.log_artifact(run_id, str(path))
        for path in wanted.pictures:
            self.client.log_artifact(run_id, str(path), FIGURES)

    def log(self, run_id: str, values: Iterable[Value], texts: Mapping[str, str]) -> None:
        """Add values of metrics, and parameters, in as many calls as a server wants."""
        from mlflow.entities import Metric, Param

        metrics = [Metric(m.name, m.value, m.timestamp, m.step) for m in values]
        params = [Param(key, value) for key, value in texts.items()]
        while metrics or params:
            self.client.log_batch(
                run_id, metrics[:METRICS_PER_CALL], params[:PARAMS_PER_CALL], synchronous=True
            )
            metrics, params = metrics[METRICS_PER_CALL:], params[PARAMS_PER_CALL:]


def _id(run: Any) -> str:
    return str(run.info.run_id)


def _make_database(path: Path, uri: str, artifacts: str) -> None:
    """An empty MLflow database at `path`, whole or not at all; nothing if there is one.

    A kill among MLflow's migrations leaves a database that nobody can use, so they run in a folder
    beside `path`, without waiting for the disk at each of some hundred steps.
    """
    with locked(path.with_name(f".{path.name}.lock")):
        if path.exists() and path.stat().st_size:
            # MLflow would try a file that is no database for two minutes
            with contextlib.closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA schema_version")
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
        from sqlalchemy import Engine, event

        folder = path.with_name(f".{path.name}.new")
        shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
        folder.mkdir(parents=True)
        event.listen(Engine, "connect", _careless)
        try:
            SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", artifacts).engine.dispose()
        finally:
            event.remove(Engine, "connect", _careless)
        write_atomic(path, lambda temporary: _move(folder / "mlflow.db", temporary))
        shutil.rmtree(folder)
        # if one was removed under this process, MLflow still has that one open
        SqlAlchemyStore(uri, artifacts).engine.dispose()


def _careless(connection: Any, _record: Any) -> None:
    for pragma in ("synchronous = OFF", "journal_mode = MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _move(source: Path, target: Path) -> None:
    source.replace(target)
