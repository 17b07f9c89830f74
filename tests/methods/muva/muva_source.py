"""Training images in memory, and a MUVA of the tiny preset small enough for float64."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from muva_small import normal
from torch import Tensor

from methods.interface import SourceInfo, Stage, TrainBatch
from methods.muva.config import MuvaConfig
from methods.muva.method import Muva

SIZE, GRID = (36, 24), (3, 2)
"""Image and patch grid of the tiny backbone in these tests: 6 patches of 12 x 12."""


def tiny_config(**changes: object) -> MuvaConfig:
    short = {"image_size": SIZE, "stage1_epochs": 1, "epochs": 1, "identities": 3, "instances": 2}
    return MuvaConfig(**{**Muva.presets["tiny"], **short, **changes})


def tiny_muva(
    classes: int = 4, domains: Sequence[str] = ("MA",), seed: int = 0, **changes: object
) -> Muva:
    """The tiny preset on 36 x 24 images; mask predictors moved so that masks are not trivial."""
    return copy.deepcopy(_built(tiny_config(**changes), classes, tuple(domains), seed))


@functools.cache
def _built(config: MuvaConfig, classes: int, domains: tuple[str, ...], seed: int) -> Muva:
    torch.manual_seed(seed)
    method = Muva(config, SourceInfo(classes, domains))
    for i, block in enumerate(method.encoder.mask_predictor):
        bias = block.mlp[2].bias
        bias.data.add_(normal(*bias.shape, seed=i).to(bias.dtype), alpha=0.2)
    return method


@dataclass
class SmallSource:
    """`methods.interface.SourceData` over noise: image i shows identity `of[i]`.

    `masks`: [N, 3, h, w] bool part masks, random unless given; only if `told` are they in batches.
    """

    of: Sequence[int]
    domain_of: Sequence[int] = ()
    masks: Tensor | None = None
    dtype: torch.dtype = torch.float32
    told: bool = True
    stage: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        self.device = torch.device("cpu")
        self.labels = torch.tensor(self.of)
        self.domains = torch.tensor(self.domain_of or [0] * len(self.of))
        self.num_classes = max(self.of) + 1
        self.images = normal(len(self.of), 3, *SIZE, seed=5).to(self.dtype)
        if self.masks is None:
            self.masks = normal(len(self.of), 3, *GRID, seed=6) > 0

    def __len__(self) -> int:
        return len(self.of)

    def batch(self, rows: Sequence[int], decode: bool = True) -> TrainBatch:
        at = torch.tensor(rows)
        return TrainBatch(
            images=self.images[at] if decode else torch.empty(len(at), 0),
            labels=self.labels[at],
            domains=self.domains[at],
            camids=torch.zeros_like(at),
            indices=at,
            part_masks=self.masks[at] if decode and self.told else None,
        )

    def pk_batches(
        self, epoch: int, identities: int, instances: int, decode: bool = True
    ) -> Iterator[TrainBatch]:
        """Identities in order, each with `instances` images, the same ones again if too few."""
        known = sorted(set(self.of))
        for start in range(0, len(known), identities):
            rows = []
            for label in known[start : start + identities]:
                own = [i for i, of in enumerate(self.of) if of == label]
                rows += [own[i % len(own)] for i in range(instances)]
            yield self.batch(rows, decode)

    def in_order(self, batch_size: int = 128) -> Iterator[TrainBatch]:
        for start in range(0, len(self), batch_size):
            yield self.batch(range(start, min(start + batch_size, len(self))))

    def share(self, rows: int) -> slice:
        return slice(rows)

    def summed(self, values: Tensor) -> Tensor:
        return values


def losses_of(stage: Stage, batch: TrainBatch) -> dict[str, Tensor]:
    """Both halves of a step."""
    return stage.losses(stage.forward(batch), batch.known())
