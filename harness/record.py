"""What a finished run leaves behind. These files are the truth; MLflow mirrors them.

<out>/<run id>/
    spec.json            the RunSpec, written first
    labels.csv           source and pid of every training identity; line n + 2 is label n
    checkpoint/          while training (harness.checkpoint)
    model.safetensors    the last epoch's weights
    run.json             RunRecord: training is done
    targets/D.json       TargetRecord: one target is done; of D/flip it is D@flip.json
    targets/D.parquet    its queries, one row each (see QUERY_COLUMNS)
    run.log              what happened, a line each
    live.json            how far it is, while it is computed (harness.live)
    system.jsonl         what the machine did meanwhile (harness.system)
    failed.json          why the last attempt failed, until one succeeds
    stopped.json         a search gave it up; it is not computed again
    .lease/              one file for each process that has worked here (harness.lease)
    figures/             pictures that `harness show` has drawn
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from harness.config import RunSpec
from harness.files import file_digest, write_text
from protocols.errors import ReIDError

RECORD_VERSION = 1
IMPORTED = "imported"
"""Preset and method version of a record whose features were made elsewhere (`harness import`)."""

QUERY_COLUMNS = {
    "probe": "name of the probe split",
    "query": "path of the query image below the data root",
    "pid": "its identity",
    "camid": "its camera, 0-based",
    "valid": "whether it has a match that is not junk",
    "ap": "average precision, 0..1; null where not valid",
    "first_hit": "rank of the first match, from 1; null where not valid",
    "inp": "inverse negative penalty, 0..1; null where not valid",
    "matches": "how many images of the person the gallery holds, junk left out",
}


Number = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]
"""A float whose NaN survives JSON, where it is written as null."""


def _epochs(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A history that all readers can rely on. Raises ValueError, naming an epoch that is not so."""
    for place, entry in enumerate(history, start=1):
        stage, epoch = entry.get("stage"), entry.get("epoch")
        named = [entry.get("losses"), entry.get("validation", {})]
        values = [one for found in named if isinstance(found, dict) for one in found.values()]
        numbers = [entry.get(key, 0.0) for key in ("lr_factor", "seconds", "finished_at")]
        if not (
            isinstance(stage, str)
            and isinstance(epoch, int)
            and 1 <= epoch <= len(history)
            and all(isinstance(found, dict) for found in named)
            # what is no number is null in JSON
            and all(isinstance(one, int | float | None) for one in values)
            and all(isinstance(one, int | float) for one in numbers)
        ):
            raise ValueError(f"entry {place} is no epoch of a stage with its losses")
    return history


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    record_version: int = RECORD_VERSION


class RunRecord(_Record):
    """A finished training.

    `history` holds, per epoch of each stage, the mean of every loss. `source_counts` maps each
    source to its images and identities; `source_notes` is what its reader had to say (which
    version it is, what differs). `seconds` sums over interruptions.
    `model_sha256` is of `model.safetensors`, None where nothing was trained. `validation` holds
    mAP and rank1 on held-out source identities, where some were held out; `shared` names the
    stages that another run had trained (`harness.shared`).
    """

    run_id: str
    spec: RunSpec
    data: str
    source_counts: dict[str, dict[str, int]]
    source_notes: dict[str, list[str]]
    history: Annotated[list[dict[str, Any]], AfterValidator(_epochs)]
    parameters: dict[str, int]
    model_sha256: str | None
    seconds: float
    interruptions: int
    environment: dict[str, Any]
    finished_at: str
    validation: dict[str, Any] | None = None
    shared: list[str] = []


class TargetRecord(_Record):
    """One target of a finished training; `D/flip` is a target beside `D` (`protocols.variants`).

    `metrics` are fractions in 0..1 (and the counts of queries), means over the probe splits,
    which `probes` lists one by one; `cmc[k-1]` is Rank-k. `curves` are those of
    `harness.measures`, means over the probe splits, too.
    """

    run_id: str
    target: str
    target_version: str
    fingerprint: str
    data: str
    notes: list[str]
    metrics: dict[str, Number]
    cmc: list[Number]
    probes: list[dict[str, Any]]
    images: int
    queries_sha256: str
    seconds: float
    environment: dict[str, Any]
    finished_at: str
    curves: dict[str, list[Number]] = {}


R = TypeVar("R", bound=_Record)


def target_file(target: str) -> str:
    """The name of a target's files without their suffix; no key of a data set has an `@`."""
    return target.replace("/", "@")


class _File:
    """A path in a run's folder, made when it is asked for: a plan has thousands of folders."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: RunFolder, kind: type[RunFolder]) -> Path:
        return folder.path / self.name


class RunFolder:
    """The files of one run."""

    spec = _File("spec.json")
    labels = _File("labels.csv")
    checkpoints = _File("checkpoint")
    model = _File("model.safetensors")
    run = _File("run.json")
    lease = _File(".lease")
    log = _File("run.log")
    system = _File("system.jsonl")
    failed = _File("failed.json")
    stopped = _File("stopped.json")
    targets = _File("targets")
    replaced = _File(".replaced")

    def __init__(self, out: Path, run_id: str) -> None:
        self.path = out / run_id
        self.run_id = run_id

    def target(self, name: str) -> Path:
        """The record of one target."""
        return self.targets / f"{target_file(name)}.json"

    def queries(self, name: str) -> Path:
        """The per-query results of one target."""
        return self.targets / f"{target_file(name)}.parquet"

    def set_aside(self, session: str = "") -> None:
        """Move what is there into `.replaced`, where it stays until its successor is whole.

        What a `--force` that was interrupted has set aside is kept: an unfinished training does
        not take its place, it is removed. Nothing happens if this `session` of the command has
        been here before: its worker was killed, and goes on.
        """
        mark = self.replaced / ".session"
        if session and mark.exists() and mark.read_text(encoding="utf-8") == session:
            return
        kept = (self.lease, self.replaced, self.log)
        there = [p for p in self.path.iterdir() if p not in kept and "live.json" not in p.name]
        if self.replaced.exists() and not self.run.exists():
            for path in there:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            self.drop_replaced()
            self.replaced.mkdir()
            for path in there:
                path.rename(self.replaced / path.name)
        write_text(mark, session)

    def drop_replaced(self) -> None:
        """Forget what `set_aside` has kept."""
        shutil.rmtree(self.replaced, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what a killed process left half-written; only while the lock is held."""
        for left in [*self.path.glob(".*.tmp"), *self.path.glob("*/.*.tmp")]:
            if left.parent == self.lease:
                continue  # of a process that waits for the lease
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        if self.run.exists():
            shutil.rmtree(self.checkpoints, ignore_errors=True)

    def read_run(self) -> RunRecord | None:
        """The record of the training, None while there is none."""
        return read(self.run, RunRecord) if self.run.exists() else None

    def has_target(self, name: str, fingerprint: str) -> bool:
        """Whether a target has a record of these data: `read_target` without looking at it all.

        Several times as fast, which counts where thousands of runs are done already.
        """
        try:
            found = json.loads(self.target(name).read_bytes())
            if found["record_version"] != RECORD_VERSION or found["fingerprint"] != fingerprint:
                return False
            return bool(file_digest(self.queries(name)) == found["queries_sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def read_target(self, name: str, fingerprint: str | None = None) -> TargetRecord | None:
        """The record of a target; None while there is none, or if its data have changed since.

        A target whose per-query results are not those it was written with has none.
        """
        path, queries = self.target(name), self.queries(name)
        if not path.exists() or not queries.exists():
            return None
        record = read(path, TargetRecord)
        if fingerprint not in (None, record.fingerprint) or self.damage(record):
            return None
        return record

    def read_finished(self) -> Finished:
        """All its records. A folder that holds no run, or an unfinished one, is no problem."""
        problems: list[str] = []
        names = names_in(self.path, problems)
        files = names_in(self.targets, problems) if "targets" in names else []
        records = [self.targets / name for name in files if name.endswith(".json")]
        if "run.json" not in names:
            if records:
                problems.append(f"{self.path} holds results and no run.json; they are left out.")
            return Finished(None, (), tuple(problems))
        try:
            run = read(self.run, RunRecord)
            self._require_own(run)
        except ReIDError as error:
            return Finished(None, (), (*problems, str(error)))
        found = [self._finished_target(path, problems) for path in records]
        return Finished(run, tuple(one for one in found if one), tuple(problems))

    def _require_own(self, run: RunRecord) -> None:
        if run.run_id != self.run_id:
            raise ReIDError(f"{self.path} is a copy of run {run.run_id}; it is left out.")
        if run.spec.id != run.run_id:
            raise ReIDError(
                f"{self.run} was changed by hand (its spec is that of {run.spec.id}); "
                "it is left out."
            )

    def _finished_target(self, path: Path, problems: list[str]) -> TargetRecord | None:
        try:
            record = read(path, TargetRecord)
        except ReIDError as error:
            problems.append(str(error))
            return None
        if (record.run_id, self.target(record.target)) != (self.run_id, path):
            problem = f"{path} is of {record.target} of run {record.run_id}; it is left out."
        else:
            problem = self.damage(record)
        if problem:
            problems.append(problem)
        return None if problem else record

    def damage(self, record: TargetRecord) -> str:
        """What is wrong with the per-query results of a target's record, in words; or nothing."""
        path = self.queries(record.target)
        try:
            if file_digest(path) == record.queries_sha256:
                return ""
        except OSError as error:
            return f"{path} can't be read ({error.strerror}); {record.target} is left out."
        return f"{path} is not the file that was written with {path.stem}.json; both are left out."


@dataclass(frozen=True)
class Finished:
    """A run's records that are whole, None while it is not trained, and what is wrong with others.

    There are no `targets` without a `run`.
    """

    run: RunRecord | None
    targets: tuple[TargetRecord, ...]
    problems: tuple[str, ...]


def names_in(folder: Path, problems: list[str]) -> list[str]:
    """What lies in a folder, sorted; nothing where it can't be read, which is added to problems."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 (several times as fast)
    except OSError as error:
        problems.append(f"{folder} can't be read ({error.strerror}).")
        return []


def write(path: Path, record: _Record) -> None:
    """A record as JSON, whole or not at all."""
    write_text(path, record.model_dump_json(indent=1) + "\n")


def read(path: Path, kind: type[R]) -> R:
    """A record from JSON.

    Raises ReIDError naming a file that is damaged, of another version or can't be opened.
    """
    advice = "Give another --out to keep it, or --force to compute it again."
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReIDError(f"{path} can't be read ({error.strerror}).") from error
    record, problem = None, "record_version is missing"
    try:
        # several times as fast as by json, which counts where there are thousands
        record = kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        said = first["msg"].removeprefix("Value error, ")
        problem = ".".join(map(str, first["loc"])) + f" {said}"
    version = _version(content, record)
    if version not in (RECORD_VERSION, None):
        raise ReIDError(
            f"{path} was written as record version {version}; this harness reads version "
            f"{RECORD_VERSION}. {advice}"
        )
    if record is None or version is None:
        raise ReIDError(f"{path} is not a whole record ({problem.strip()}). {advice}")
    return record


def _version(content: bytes, record: _Record | None) -> object:
    """The version that a record says it has, None if it says none."""
    if record is not None:
        return record.record_version if "record_version" in record.model_fields_set else None
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value.get("record_version") if isinstance(value, dict) else None
