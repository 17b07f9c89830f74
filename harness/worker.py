"""One run in whichever process: a `Ticket` says in plain JSON all that is needed to compute it.

Nothing here knows who started the process: this one, Ray, or another rank of the same run.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from harness.catalog import DataCatalog
from harness.config import Contents, RunSpec
from harness.failures import could_not_begin
from harness.part_labels import PartLabelFinder
from harness.plan import PlannedRun
from harness.run import run
from harness.settings import Outcome, Report, Settings
from methods import registry as methods
from protocols import standin
from protocols.errors import ReIDError
from protocols.types import Fold, SourceImages
from protocols.variants import dataset_of


class Ticket(BaseModel):
    """A planned run and how it is to be computed, as it travels to another process.

    `config` is the method's as the user gave it, with paths, which `spec` has none of; paths are
    absolute or mean something from `folder`, the working directory of who asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    setting: str
    spec: RunSpec
    config: dict[str, Any]
    sources: tuple[str, ...]
    source_images: SourceImages
    targets: tuple[str, ...]
    data: Path
    rendered: bool
    settings: Settings
    folder: Path
    modules: tuple[str, ...]

    @classmethod
    def of(cls, planned: PlannedRun, catalog: DataCatalog, settings: Settings) -> Ticket:
        """The ticket of a planned run."""
        return cls(
            setting=planned.setting,
            spec=planned.spec,
            config=planned.config.model_dump(mode="json"),
            sources=planned.fold.sources,
            source_images=planned.fold.source_images,
            targets=planned.fold.targets,
            data=catalog.root.absolute(),
            rendered=catalog.kind == "stand-in",
            settings=settings.absolute(),
            folder=Path.cwd(),
            modules=tuple(sys.path),
        )

    def open(self) -> tuple[PlannedRun, DataCatalog]:
        """What the ticket was made of, in this process.

        Raises ReIDError where this machine has other data, part labels, weights or another version
        of the method, or lacks them.
        """
        if self.folder.is_dir():
            os.chdir(self.folder)
        sys.path.extend(path for path in self.modules if path not in sys.path)
        fold = Fold(self.sources, self.source_images, self.targets)
        out = self.settings.out
        catalog = _catalog(self.root(), out)
        method = methods.load(self.spec.method)
        config = method.Config(**self.config)
        self._require_same_data(catalog)
        planned = Contents(self.spec.config, self.spec.weights), self.spec.method_version
        if (Contents.of(method, config), method.card.version) != planned:
            raise ReIDError(
                f"The weights that {self.spec.method} starts from, or its version, are not those "
                "that were planned with: they have changed since, or this machine has others. "
                "Start the same command again."
            )
        needs = method.part_needs(config)
        masks = _finder(catalog, out).find(fold, needs) if needs else None
        if (masks.digest if masks else None) != self.spec.part_labels:
            raise ReIDError(
                f"The part labels of {fold.name} are not those that were planned with: they have "
                "changed since, or this machine has others. Start the same command again."
            )
        return PlannedRun(self.spec, fold, method, config, masks, self.setting), catalog

    def root(self) -> Path:
        """Where the data are; stand-ins that another machine rendered are rendered here too."""
        if self.rendered and not self.data.is_dir():
            keys = {*self.sources, *map(dataset_of, self.targets)}
            return standin.data_root(keys=sorted(keys))
        return self.data

    def _require_same_data(self, catalog: DataCatalog) -> None:
        for source, planned in self.spec.sources.items():
            if catalog.source_fingerprint(source, self.source_images) != planned:
                raise ReIDError(
                    f"{source} below {catalog.root} is not what was planned with: its images have "
                    "changed since, or this machine has others. Start the same command again."
                )


@cache
def _catalog(root: Path, out: Path) -> DataCatalog:
    return DataCatalog(root, out / ".verified")


@cache
def _finder(catalog: DataCatalog, out: Path) -> PartLabelFinder:
    return PartLabelFinder(catalog, out)


def compute(text: str, wait: bool, report: Report | None = None) -> Outcome:
    """Compute what a ticket in JSON says; a run that can't even begin has failed."""
    ticket = Ticket.model_validate_json(text)
    try:
        planned, catalog = ticket.open()
    except Exception as error:
        title = f"{ticket.spec.method} on {ticket.spec.fold_name}, seed {ticket.spec.seed}"
        outcome = Outcome(ticket.spec.id, title)
        could_not_begin(outcome, error, ticket.settings)
        return outcome
    return run(planned, catalog, ticket.settings, payload=text, wait=wait, report=report)
