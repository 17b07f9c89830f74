"""The method of a run and what it trains on, the same in every process that works on it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harness.catalog import DataCatalog
from harness.config import RunSpec
from harness.data import TrainingImages, source_info, training_images
from harness.holdout import HeldOut, hold_out
from harness.plan import PlannedRun
from harness.seeds import seed_everything
from harness.settings import Settings
from methods.interface import Method
from protocols.types import Split


def held_out(planned: PlannedRun, catalog: DataCatalog) -> HeldOut:
    """The sources of a run, without the identities that its spec holds out."""
    fold, spec = planned.fold, planned.spec
    everything = [catalog.source(key, fold.source_images) for key in fold.sources]
    return hold_out(everything, spec.holdout, spec.seed)


def training(
    planned: PlannedRun, catalog: DataCatalog, settings: Settings, device: torch.device
) -> tuple[Method, TrainingImages]:
    """The untrained method of a run and its training images, the same in every process of it."""
    held = held_out(planned, catalog)
    method, masks = build(planned, held.training), held.masks(planned.part_masks)
    data = training_images(
        catalog.root,
        held.training,
        method.transforms(),
        seed=planned.spec.seed,
        device=device,
        workers=settings.loader_workers,
        part_masks=masks.tensor() if masks else None,
        part_known=masks.known_tensor() if masks else None,
    )
    return method, data


def run_threads(spec: RunSpec, wanted: int | None = None) -> int | None:
    """Threads for a run's operators: of a small model, they only wait for each other.

    And with one its numbers are those of every machine of a kind, whatever its cores. Of another,
    those that are `wanted`.
    """
    return 1 if spec.preset == "tiny" else wanted


def build(planned: PlannedRun, sources: Sequence[Split]) -> Method:
    """The untrained method of a run; its initial weights come from the run's seed."""
    seed_everything(planned.spec.seed, "initial weights")
    return planned.method(planned.config, source_info(sources))
