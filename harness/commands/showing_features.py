"""What `harness show` does for pictures of features: the model, and images it was tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from harness.catalog import DataCatalog
from harness.commands.showing import Showing, Shown, ShowRequest
from harness.environment import threads
from harness.extract import Extractor
from harness.prepare import run_threads
from harness.progress import EVALUATION_PASS
from harness.record import RunFolder, RunRecord, TargetRecord
from harness.screen import ScreenProgress
from harness.train import make_accelerator, require_device
from harness.trained import load_run
from methods.interface import Method
from protocols.errors import DataError, ReIDError, UnknownName


@dataclass(frozen=True)
class FeaturesRequest(ShowRequest):
    """The options of commands that encode images, as typed."""

    device: str


class NotTested(UnknownName):
    """The run has not been tested on this target."""


class ShowingFeatures(Showing[Shown]):
    """Goes through runs, rebuilt with their weights, on the images that they were tested on."""

    passed_over = (NotTested,)
    request: FeaturesRequest

    def __init__(self, request: FeaturesRequest, console: Console, stderr: Console) -> None:
        super().__init__(request, console, stderr)
        self.require_file()
        require_device(request.device)
        self.device = make_accelerator("fp32", request.device).device

    def load(self, run_id: str) -> tuple[RunRecord, Method]:
        """A finished run and its method, where it computes."""
        run, method = load_run(self.request.out, run_id)
        return run, method.to(self.device)

    def targets(self, run: RunRecord) -> list[TargetRecord]:
        """The target asked for, or those a run has been tested on.

        Raises NotTested for another one, ReIDError where its results are damaged or its data are
        real and nobody has said where they are.
        """
        folder, wanted = RunFolder(self.request.out, run.run_id), self.request.target
        if wanted and folder.target(wanted).exists() and folder.read_target(wanted) is None:
            raise ReIDError(
                f"{folder.queries(wanted)} is gone or is not what was written: `harness run` tests "
                "the run again."
            )
        records = self.tested(run, "`harness run` tests it")
        if wanted:
            known = [record.target for record in records]
            records = [record for record in records if record.target == wanted]
            if not records:
                raise NotTested(f"target of run {run.run_id}", wanted, known)
        self.require_data(run, records)
        return records

    def images_of(self, record: TargetRecord) -> DataCatalog:
        """The data root with the very images of a record. Raises DataError for other ones."""
        catalog = self.catalog(record.target)
        here = catalog.target_fingerprint(record.target)
        if here != record.fingerprint:
            raise DataError(
                f"{record.target} below {catalog.root} is not what run {record.run_id} was tested "
                f"on: its fingerprint is {here}, the record's {record.fingerprint}. Give the data "
                "root of the run with --data, or test it on these images with `harness run`."
            )
        return catalog

    @contextmanager
    def extractor(
        self, run: RunRecord, method: Method, images: int
    ) -> Iterator[Callable[[Path], Extractor]]:
        """For a data root: what encodes as the run's evaluation did, so many images in all."""
        with (
            threads(run_threads(run.spec)),
            ScreenProgress(self.stderr, images * EVALUATION_PASS) as progress,
        ):
            progress.begin(f"{run.spec.method} on {run.spec.fold_name}")
            yield lambda root: Extractor(method, root, self.device, progress=progress)
