"""One RunSpec from start to finish; safe to repeat, safe to kill."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from harness import measures, record
from harness.catalog import DataCatalog, listed
from harness.environment import environment, threads
from harness.evaluate import Features, evaluate
from harness.extract import Extractor
from harness.failures import could_not_begin, leave_failure, told
from harness.feature_store import drop, stored
from harness.files import file_digest, write_atomic, write_text
from harness.holdout import objective, validated_epoch
from harness.lease import Held, Lease, LeaseLost, hold
from harness.live import Live, LiveRun
from harness.parallel import RankDied, ranks
from harness.pending import work
from harness.plan import PlannedRun
from harness.prepare import build, held_out, run_threads, training
from harness.progress import TESTING, Progress
from harness.record import RunFolder, RunRecord
from harness.settings import Outcome, Report, Settings
from harness.shared import StageStore
from harness.signs import utc
from harness.system import sampled
from harness.tested import write_target
from harness.train import cpu_state, make_accelerator, train
from methods.interface import Method
from protocols import variants
from protocols.errors import ReIDError
from protocols.labels import label_map
from protocols.types import Split

Show = Callable[[Live], None]
CRASHES = 3
"""So often a training whose second process died is taken up again, before it has failed."""


def run(
    planned: PlannedRun,
    catalog: DataCatalog,
    settings: Settings,
    *,
    payload: str = "",
    show: Show | None = None,
    say: Callable[[str], None] = lambda text: None,
    wait: bool = True,
    report: Report | None = None,
) -> Outcome:
    """Train if needed, then evaluate each target without a record; failures are told, not raised.

    A target that fails leaves the training and the other targets as they are. Where another process
    computes the run: wait for it, or return at once if not `wait`. `show` is told about once a
    second how far this one is, `say` gets lines that must be seen; `payload` is what the ranks of
    a run of several processes are given; `report` may stop a training of a search.
    """
    folder = RunFolder(settings.out, planned.spec.id)
    outcome = Outcome(planned.spec.id, planned.title)

    def tell(text: str) -> None:
        say(f"{planned.title}: {text}")

    def waiting(holder: str) -> None:
        tell(f"{holder} is computing it; waiting for it to finish.")

    try:
        with hold(folder.lease, waiting, wait) as lease, LiveRun(
            folder.path,
            planned.title,
            method=planned.spec.method,
            fold=planned.fold.name,
            seed=planned.spec.seed,
            total=work(planned, catalog, settings.out, settings.force),
            watch=show,
            tell=tell,
        ) as progress, sampled(folder.system):  # fmt: skip
            _Job(planned, catalog, settings, progress, lease, outcome, payload, report).run()
    except (Held, LeaseLost):
        outcome.busy = True
    except Exception as error:
        could_not_begin(outcome, error, settings)
    return outcome


class _Job:
    """One planned run while its lease is held."""

    def __init__(
        self,
        planned: PlannedRun,
        catalog: DataCatalog,
        settings: Settings,
        progress: Progress,
        lease: Lease,
        outcome: Outcome,
        payload: str,
        report: Report | None,
    ) -> None:
        self.planned, self.spec = planned, planned.spec
        self.catalog, self.settings, self.progress = catalog, settings, progress
        self.folder = RunFolder(settings.out, planned.spec.id)
        self.lease, self.outcome, self.payload, self.report = lease, outcome, payload, report
        # a stage that several processes train together differs in its last digits
        shares = settings.processes == 1 and not settings.force
        self.store = StageStore(settings.out, planned.spec) if shares else None
        self.held = held_out(planned, catalog)
        self.sources = self.held.training

    def run(self) -> None:
        """Everything; what fails is noted. Raises LeaseLost."""
        if self.settings.force:
            self.folder.set_aside(self.settings.session)
        try:
            with threads(run_threads(self.spec, self.settings.threads)):
                self.compute()
        except LeaseLost:
            raise
        except Exception as error:
            self.failed(self.planned.title, error)
        if self.outcome.failures:
            leave_failure(self.folder, self.outcome, self.settings)
        else:
            self.folder.failed.unlink(missing_ok=True)
            self.folder.drop_replaced()

    def compute(self) -> None:
        """What has no record yet; another process may have made some since the plan."""
        self.folder.sweep()
        trained, wanted = self.folder.read_run() is not None, self.planned.fold.targets
        left = self.usable_targets()
        if not left and (trained or wanted):
            self.tidy()
            return
        method = self.trained_method() if trained else self.train()
        device = make_accelerator(self.spec.precision, self.settings.device).device
        method.to(device)
        extractor = Extractor(
            method, self.catalog.root, device, self.settings.loader_workers, self.progress
        )
        features: Features = extractor
        if not self.settings.force:
            features = stored(extractor, self.settings.out, self.spec, self.catalog.digests)
        for target in left:
            try:
                self.evaluate(features, target)
                self.outcome.computed.append(target)
            except LeaseLost:
                raise
            except ReIDError as error:
                self.failed(f"{self.planned.title}, target {target}", error)
        self.tidy()

    def tidy(self) -> None:
        """Features of a trained method have served once all of its targets are done."""
        if not self.settings.keep_features and not self.outcome.failures:
            drop(self.settings.out, self.spec)

    def usable_targets(self) -> list[str]:
        """Targets without a record whose images all decode; the others have failed already.

        Nothing is trained for targets that can't be tested on.
        """
        usable = []
        for target in self.planned.fold.targets:
            try:
                digest = self.catalog.target_fingerprint(target)
                if not self.folder.run.exists() or self.folder.read_target(target, digest) is None:
                    images = listed(target)  # of a degraded target those it is made from
                    splits = self.catalog.target_splits(images)
                    self.verify(target, self.catalog.target_fingerprint(images), splits)
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
        self.outcome.failures.append(told(title, error, self.folder))

    def train(self) -> Method:
        """Train from the newest checkpoint, or from nothing, and leave a RunRecord."""
        for key in self.planned.fold.sources:
            split = self.catalog.source(key, self.planned.fold.source_images)
            self.verify(key, self.spec.sources[key], [split])
        starts = _count_start(self.folder)
        write_text(self.folder.spec, self.spec.model_dump_json(indent=1) + "\n")
        people = [f"{key},{pid}" for key, pid in label_map(self.sources)]
        write_text(self.folder.labels, "\n".join(["source,pid", *people]) + "\n")
        method, history = self.train_together()
        if history:
            state = cpu_state(method)
            self.lease.check()
            write_atomic(self.folder.model, lambda temporary: save_file(state, temporary))
        done = self.run_record(method, history, starts - 1)
        self.lease.check()
        record.write(self.folder.run, done)
        shutil.rmtree(self.folder.checkpoints, ignore_errors=True)
        self.outcome.trained = True
        return method

    def train_together(self) -> tuple[Method, list[dict[str, Any]]]:
        """All stages, with the other processes of this run if there are any."""
        for attempt in range(1, CRASHES + 1):
            try:
                with ranks(
                    self.settings.processes,
                    payload=self.payload,
                    device=self.settings.device,
                ):
                    accelerator = make_accelerator(self.spec.precision, self.settings.device)
                    method, data = training(
                        self.planned, self.catalog, self.settings, accelerator.device
                    )
                    folder, progress = self.folder.checkpoints, self.progress
                    return method, train(
                        method,
                        data,
                        accelerator,
                        folder,
                        progress,
                        after_epoch=self.after_epoch,
                        store=self.store,
                    )
            except RankDied as error:
                if attempt == CRASHES:
                    raise
                self.progress.say(f"{error} Going on from the last epoch.")
        raise AssertionError("the last attempt returns or raises")

    def after_epoch(self, method: Method, entry: dict[str, Any]) -> None:
        """Nobody else may have begun the next epoch; a search may give up what falls behind."""
        self.lease.check()
        rule = self.settings.early_stopping
        if rule and self.report and self.held.probes:
            validated_epoch(method, entry, lambda: self.measure(method), rule.metric, self.report)

    def measure(self, method: Method) -> dict[str, Any]:
        """The objective on the people who are held out, of a method where it lies."""
        # no accelerator is made here: it would reset the one that is training
        device = next(iter(method.parameters()), torch.empty(0)).device
        workers, root = self.settings.loader_workers, self.catalog.root
        return objective(Extractor(method, root, device, workers, self.progress), self.held)

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
            shared=list(dict.fromkeys(e["shared"] for e in history if "shared" in e)),
            validation=self.measure(method) if self.held.probes else None,
            parameters=_parameters(method),
            model_sha256=file_digest(self.folder.model) if history else None,
            seconds=sum(entry["seconds"] for entry in history),
            interruptions=interruptions,
            environment=environment(),
            finished_at=utc(),
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

    def evaluate(self, features: Features, target: str) -> None:
        """Test on one target and leave its TargetRecord and its queries."""
        probes, variant = self.catalog.probes(target), variants.split(target)[1]
        result = evaluate(features, probes, f"{TESTING} {target}", variant, measures.NAMES)
        write_target(self.folder, self.catalog, target, result, check=self.lease.check)


def _count_start(folder: RunFolder) -> int:
    """How often this training has been started, this time included."""
    path = folder.path / "starts.log"
    before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    write_text(path, "\n".join([*before, utc()]) + "\n")
    return len(before) + 1


def _parameters(method: Method) -> dict[str, int]:
    sizes = [(p.numel(), p.requires_grad) for p in method.parameters()]
    return {
        "all": sum(n for n, _ in sizes),
        "trainable": sum(n for n, trains in sizes if trains),
    }
