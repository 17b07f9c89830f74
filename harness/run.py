"""One RunSpec from start to finish; safe to repeat, safe to kill."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from harness import record
from harness.catalog import DataCatalog
from harness.data import source_info, training_images
from harness.environment import environment, threads
from harness.evaluate import Extractor, evaluate, probe_metrics, query_table
from harness.files import file_digest, locked, write_atomic, write_text
from harness.plan import PlannedRun
from harness.progress import Progress
from harness.record import RunFolder, RunRecord, TargetRecord
from harness.seeds import seed_everything
from harness.train import cpu_state, epoch_units, make_accelerator, train
from methods.interface import Method
from protocols.errors import ReIDError
from protocols.labels import label_map
from protocols.types import Split


@dataclass(frozen=True)
class Settings:
    """How runs are computed here; no number depends on it."""

    out: Path
    device: str = "auto"
    loader_workers: int = 0
    force: bool = False


@dataclass
class Outcome:
    """What became of one planned run: targets computed now, and what failed, in words."""

    run_id: str
    title: str
    trained: bool = False
    computed: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def missing_targets(planned: PlannedRun, catalog: DataCatalog, out: Path) -> list[str]:
    """The targets of a planned run that have no record yet, in order.

    One whose record can't be read is among them: `run` says what is wrong with it.
    """
    folder = RunFolder(out, planned.spec.id)
    targets = list(planned.fold.targets)
    try:
        if folder.read_run() is None:
            return targets
    except ReIDError:
        return targets
    return [target for target in targets if _seems_missing(folder, target, catalog)]


def _seems_missing(folder: RunFolder, target: str, catalog: DataCatalog) -> bool:
    try:
        return _is_missing(folder, target, catalog)
    except ReIDError:
        return True


def _is_missing(folder: RunFolder, target: str, catalog: DataCatalog) -> bool:
    if not folder.run.exists():
        return True
    return folder.read_target(target, catalog.target_fingerprint(target)) is None


def work(planned: PlannedRun, catalog: DataCatalog, settings: Settings) -> float:
    """What is left to do of a planned run, in the units of `harness.progress`; an estimate."""
    force, out = settings.force, settings.out
    left = list(planned.fold.targets) if force else missing_targets(planned, catalog, out)
    units = float(sum(len(catalog.target_paths(target)) for target in left))
    if force or not RunFolder(out, planned.spec.id).run.exists():
        images = sum(
            len(catalog.source(s, planned.fold.source_images).images) for s in planned.fold.sources
        )
        units += epoch_units(images) * planned.method.planned_epochs(planned.config)
    return units


def run(
    planned: PlannedRun, catalog: DataCatalog, settings: Settings, progress: Progress
) -> Outcome:
    """Train if needed, then evaluate each target without a record; failures are told, not raised.

    A target that fails leaves the training and the other targets as they are.
    """
    job = _Job(planned, catalog, settings, progress)

    def waiting(holder: str) -> None:
        progress.say(f"{planned.title}: {holder} is computing it; waiting for it to finish.")

    with locked(job.folder.lock, waiting):
        if settings.force:
            job.folder.set_aside()
        try:
            # a small model's threads wait on each other at every operator; and with one its
            # numbers are those of every machine of a kind, whatever its cores
            with threads(1 if planned.spec.preset == "tiny" else None):
                job.compute()
        except Exception as error:
            job.failed(planned.title, error)
        if settings.force and not job.outcome.failures:
            job.folder.drop_replaced()
    return job.outcome


class _Job:
    """One planned run while its lock is held."""

    def __init__(
        self, planned: PlannedRun, catalog: DataCatalog, settings: Settings, progress: Progress
    ) -> None:
        self.planned, self.spec = planned, planned.spec
        self.catalog, self.settings, self.progress = catalog, settings, progress
        self.folder = RunFolder(settings.out, planned.spec.id)
        self.outcome = Outcome(planned.spec.id, planned.title)
        self.sources = [catalog.source(s, planned.fold.source_images) for s in planned.fold.sources]

    def compute(self) -> None:
        """What has no record yet; another process may have made some since the plan."""
        self.folder.sweep()
        trained = self.folder.read_run() is not None
        left = self.usable_targets()
        if not left:
            return
        accelerator = make_accelerator(self.spec.precision, self.settings.device)
        method = self.trained_method() if trained else self.train(accelerator)
        method.to(accelerator.device)
        for target in left:
            try:
                self.evaluate(method, target, accelerator.device)
                self.outcome.computed.append(target)
            except ReIDError as error:
                self.failed(f"{self.planned.title}, target {target}", error)

    def usable_targets(self) -> list[str]:
        """Targets without a record whose images all decode; the others have failed already.

        Nothing is trained for targets that can't be tested on.
        """
        usable = []
        for target in self.planned.fold.targets:
            try:
                if _is_missing(self.folder, target, self.catalog):
                    digest = self.catalog.target_fingerprint(target)
                    self.verify(target, digest, self.catalog.target_splits(target))
                    usable.append(target)
            except ReIDError as error:
                self.failed(f"{self.planned.title}, target {target}", error)
        return usable

    def verify(self, key: str, digest: str, splits: list[Split]) -> None:
        """Decode some images, the first time they are used, and show how far that is."""

        def watch(done: int, total: int) -> None:
            if done % 100 == 0:
                self.progress.advance(0, f"decoding {key} once, {done} of {total} images")

        self.catalog.verify(key, digest, splits, watch)

    def failed(self, title: str, error: Exception) -> None:
        """Note a failure in words."""
        self.outcome.failures.append(_told(title, error, self.folder))

    def train(self, accelerator: Accelerator) -> Method:
        """Train from the newest checkpoint, or from nothing, and leave a RunRecord."""
        for split in self.sources:
            self.verify(split.dataset, self.spec.sources[split.dataset], [split])
        starts = _count_start(self.folder)
        write_text(self.folder.spec, self.spec.model_dump_json(indent=1) + "\n")
        people = [f"{key},{pid}" for key, pid in label_map(self.sources)]
        write_text(self.folder.labels, "\n".join(["source,pid", *people]) + "\n")
        method, masks = build(self.planned, self.sources), self.planned.part_masks
        data = training_images(
            self.catalog.root,
            self.sources,
            method.transforms(),
            seed=self.spec.seed,
            device=accelerator.device,
            workers=self.settings.loader_workers,
            part_masks=masks.tensor() if masks else None,
        )
        history = train(method, data, accelerator, self.folder.checkpoints, self.progress)
        if history:
            state = cpu_state(method)
            write_atomic(self.folder.model, lambda temporary: save_file(state, temporary))
        record.write(self.folder.run, self.run_record(method, history, starts - 1))
        shutil.rmtree(self.folder.checkpoints, ignore_errors=True)
        self.outcome.trained = True
        return method

    def run_record(
        self, method: Method, history: list[dict[str, Any]], interruptions: int
    ) -> RunRecord:
        """The record of a training that has just finished."""
        return RunRecord(
            run_id=self.spec.id,
            spec=self.spec,
            data=self.catalog.kind,
            source_counts={
                s.dataset: {"images": len(s.images), "identities": len(s.pids)}
                for s in self.sources
            },
            source_notes={s.dataset: self.catalog.notes(s.dataset) for s in self.sources},
            history=history,
            parameters=_parameters(method),
            model_sha256=file_digest(self.folder.model) if history else None,
            seconds=sum(entry["seconds"] for entry in history),
            interruptions=interruptions,
            environment=environment(),
            finished_at=_now(),
        )

    def trained_method(self) -> Method:
        """The method with the weights that an earlier process trained."""
        method, done = build(self.planned, self.sources), self.folder.read_run()
        wanted, model = done.model_sha256 if done else None, self.folder.model
        if wanted is not None:
            if not model.exists() or file_digest(model) != wanted:
                raise ReIDError(
                    f"{model} is gone or is not what was saved, so no further target can be "
                    "tested with this training. --force trains it again."
                )
            method.load_state_dict(load_file(model))
        return method

    def evaluate(self, method: Method, target: str, device: torch.device) -> None:
        """Test on one target and leave its TargetRecord and its queries."""
        catalog, folder = self.catalog, self.folder
        probes = catalog.probes(target)
        extractor = Extractor(
            method, catalog.root, device, self.settings.loader_workers, self.progress
        )
        result = evaluate(extractor, probes, f"testing on {target}")
        table = pa.table(query_table(result))
        write_atomic(folder.queries(target), lambda temporary: pq.write_table(table, temporary))
        done = TargetRecord(
            run_id=self.spec.id,
            target=target,
            target_version=catalog.dataset(target).version,
            fingerprint=catalog.target_fingerprint(target),
            data=catalog.kind,
            notes=catalog.notes(target),
            metrics=result.metrics,
            cmc=result.cmc,
            probes=[{"name": p.name, **probe_metrics(r)} for p, r in result.probes],
            images=result.images,
            queries_sha256=file_digest(folder.queries(target)),
            seconds=result.seconds,
            environment=environment(),
            finished_at=_now(),
        )
        record.write(folder.target(target), done)


def build(planned: PlannedRun, sources: Sequence[Split]) -> Method:
    """The untrained method of a run; its initial weights come from the run's seed."""
    seed_everything(planned.spec.seed, "initial weights")
    return planned.method(planned.config, source_info(sources))


def _count_start(folder: RunFolder) -> int:
    """How often this training has been started, this time included."""
    path = folder.path / "starts.log"
    before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    write_text(path, "\n".join([*before, _now()]) + "\n")
    return len(before) + 1


def _told(title: str, error: Exception, folder: RunFolder) -> str:
    if isinstance(error, ReIDError):
        return f"{title}: {error}"
    # a bug: the whole traceback belongs in a file, its last line on the screen
    log = folder.path / "error.log"
    try:
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError:
        return f"{title}: {type(error).__name__}: {error}"
    return f"{title}: {type(error).__name__}: {error} (a bug; the traceback is in {log})"


def _parameters(method: Method) -> dict[str, int]:
    sizes = [(p.numel(), p.requires_grad) for p in method.parameters()]
    return {
        "all": sum(n for n, _ in sizes),
        "trainable": sum(n for n, trains in sizes if trains),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
