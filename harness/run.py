"""One RunSpec from start to finish; safe to repeat, safe to kill."""

from __future__ import annotations

import contextlib
import shutil
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from harness import record
from harness.catalog import DataCatalog
from harness.data import TrainingImages, training_images
from harness.environment import environment
from harness.evaluate import evaluate, probe_metrics, query_table
from harness.files import locked, write_atomic
from harness.plan import PlannedRun
from harness.progress import Progress
from harness.record import RunFolder, RunRecord, TargetRecord
from harness.seeds import seed_everything
from harness.train import cpu_state, epoch_units, make_accelerator, train
from methods.interface import Method
from protocols.errors import ReIDError
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
    """The targets of a planned run that have no record yet, in order."""
    folder = RunFolder(out, planned.spec.id)
    if folder.read_run() is None:
        return list(planned.fold.targets)
    return [
        target
        for target in planned.fold.targets
        if folder.read_target(target, catalog.target_fingerprint(target)) is None
    ]


def work(planned: PlannedRun, catalog: DataCatalog, settings: Settings) -> float:
    """What is left to do of a planned run, in the units of `harness.progress`; an estimate."""
    force, out = settings.force, settings.out
    left = list(planned.fold.targets) if force else missing_targets(planned, catalog, out)
    paths = ({i.path for p in catalog.probes(t) for s in (p.query, p.gallery) for i in s.images}
             for t in left)  # fmt: skip
    units = float(sum(len(p) for p in paths))
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
    folder = RunFolder(settings.out, planned.spec.id)
    outcome = Outcome(planned.spec.id, planned.title)

    def waiting(holder: str) -> None:
        progress.say(f"{planned.title}: {holder} is computing it; waiting for it to finish.")

    with locked(folder.lock, waiting):
        if settings.force:
            _forget(folder)
        try:
            with _steady(planned.spec.preset):
                _compute(planned, catalog, settings, progress, folder, outcome)
        except Exception as error:
            outcome.failures.append(_told(planned.title, error, folder))
    return outcome


def _compute(
    planned: PlannedRun,
    catalog: DataCatalog,
    settings: Settings,
    progress: Progress,
    folder: RunFolder,
    outcome: Outcome,
) -> None:
    left = missing_targets(planned, catalog, settings.out)
    if not left:
        return
    accelerator = make_accelerator(planned.spec.precision, settings.device)
    if folder.read_run() is None:
        method = _train(planned, catalog, settings, progress, folder, accelerator)
        outcome.trained = True
    else:
        method = _load(planned, catalog, folder)
        left = missing_targets(planned, catalog, settings.out)
    method.to(accelerator.device)
    for target in left:
        try:
            _evaluate(method, target, planned, catalog, settings, progress, folder, accelerator)
            outcome.computed.append(target)
        except ReIDError as error:
            outcome.failures.append(_told(f"{planned.title}, target {target}", error, folder))


@contextlib.contextmanager
def _steady(preset: str) -> Iterator[None]:
    """One thread for small models: two wait on each other at every operator.

    It also makes the `tiny` numbers those of every machine of a kind, whatever its cores.
    """
    threads = torch.get_num_threads()
    if preset == "tiny":
        torch.set_num_threads(1)
    # sigmoid and Adam slow down tenfold on denormal numbers, which no result depends on
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


def build(planned: PlannedRun, sources: Sequence[Split]) -> Method:
    """The untrained method of a run; its initial weights come from the run's seed."""
    *_, info = training_images(Path(), sources)
    seed_everything(planned.spec.seed, "initial weights")
    return planned.method(planned.config, info)


def _train(
    planned: PlannedRun,
    catalog: DataCatalog,
    settings: Settings,
    progress: Progress,
    folder: RunFolder,
    accelerator: Accelerator,
) -> Method:
    spec, sources = planned.spec, _sources(planned, catalog)
    for split in sources:
        catalog.verify(split.dataset, spec.sources[split.dataset], [split])
    starts = _count_start(folder)
    record.write_text(folder.spec, spec.model_dump_json(indent=1) + "\n")
    images, labels, domains, info = training_images(catalog.root, sources)
    method = build(planned, sources)
    data = TrainingImages(
        root=catalog.root,
        images=images,
        labels=torch.tensor(labels),
        domains=torch.tensor(domains),
        camids=torch.tensor([i.camid for i in images]),
        info=info,
        transforms=method.transforms(),
        seed=spec.seed,
        device=accelerator.device,
        workers=settings.loader_workers,
    )
    history = train(method, data, accelerator, folder.checkpoints, progress)
    if history:
        state = cpu_state(method)
        write_atomic(folder.model, lambda temporary: save_file(state, temporary))
    done = RunRecord(
        run_id=spec.id,
        spec=spec,
        data=catalog.kind,
        source_counts={
            s.dataset: {"images": len(s.images), "identities": len(s.pids)} for s in sources
        },
        source_notes={s.dataset: catalog.notes(s.dataset) for s in sources},
        history=history,
        parameters=_parameters(method),
        seconds=sum(entry["seconds"] for entry in history),
        interruptions=starts - 1,
        environment=environment(),
        finished_at=_now(),
    )
    record.write(folder.run, done)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return method


def _load(planned: PlannedRun, catalog: DataCatalog, folder: RunFolder) -> Method:
    method = build(planned, _sources(planned, catalog))
    if folder.model.exists():
        method.load_state_dict(load_file(folder.model))
    elif method.stages():
        raise ReIDError(
            f"{folder.model} is gone, so no further target can be tested with this training. "
            "--force trains it again."
        )
    return method


def _evaluate(
    method: Method,
    target: str,
    planned: PlannedRun,
    catalog: DataCatalog,
    settings: Settings,
    progress: Progress,
    folder: RunFolder,
    accelerator: Accelerator,
) -> None:
    probes = catalog.probes(target)
    digest = catalog.target_fingerprint(target)
    catalog.verify(target, digest, [s for p in probes for s in (p.query, p.gallery)])
    result = evaluate(
        method,
        catalog.root,
        probes,
        accelerator.device,
        settings.loader_workers,
        progress,
        f"testing on {target}",
    )
    table = pa.table(query_table(result))
    write_atomic(folder.queries(target), lambda temporary: pq.write_table(table, temporary))
    done = TargetRecord(
        run_id=planned.spec.id,
        target=target,
        target_version=catalog.dataset(target).version,
        fingerprint=digest,
        data=catalog.kind,
        notes=catalog.notes(target),
        metrics=result.metrics,
        cmc=result.cmc,
        probes=[{"name": p.name, **probe_metrics(r)} for p, r in result.probes],
        images=result.images,
        seconds=result.seconds,
        environment=environment(),
        finished_at=_now(),
    )
    record.write(folder.target(target), done)


def _sources(planned: PlannedRun, catalog: DataCatalog) -> list[Split]:
    return [catalog.source(s, planned.fold.source_images) for s in planned.fold.sources]


def _forget(folder: RunFolder) -> None:
    """Everything but the lock that is held."""
    for path in folder.path.iterdir():
        if path == folder.lock:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _count_start(folder: RunFolder) -> int:
    """How often this training has been started, this time included."""
    path = folder.path / "starts.log"
    before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    record.write_text(path, "\n".join([*before, _now()]) + "\n")
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
