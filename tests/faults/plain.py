"""A method that begins and trains at once: the tests here do things to processes, not to a model.

CLIP's import alone takes a process longer than all else that it does in these tests.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from inspect import unwrap
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from methods.cards import CARDS
from methods.interface import (
    Batch,
    Method,
    MethodConfig,
    SourceData,
    SourceInfo,
    Stage,
    TrainBatch,
    Transform,
    Transforms,
)

SIZE = (48, 24)
WIDTH = 64
STEPS = 2
"""Of an epoch."""
PAUSE = "PLAIN_PAUSE"
"""In the environment: seconds after a step, so that there is time to interrupt an epoch."""


class PlainConfig(MethodConfig):
    """How long it trains."""

    epochs: int = 8


class Momentum(torch.optim.Optimizer):
    """Gradient descent with a memory.

    Each of torch's own imports its compiler, which takes longer than all else that a worker does.
    """

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                memory = self.state[weight].setdefault("memory", torch.zeros_like(weight))
                weight -= group["lr"] * memory.mul_(0.9).add_(weight.grad)


class PlainStage(Stage):
    """Identities, some P x K batches an epoch, momentum, and a sum that outlives an epoch."""

    name = "plain"

    def __init__(self, method: Plain) -> None:
        self.method, self.epochs = method, method.config.epochs
        self.seen = torch.zeros(WIDTH)

    def optimizer(self) -> torch.optim.Optimizer:
        return Momentum(self.method.parameters(), {"lr": 1e-2})

    def lr_factor(self, epoch: int) -> float:
        return 1 / epoch

    def batches(self, epoch: int, data: SourceData) -> Iterable[TrainBatch]:
        return islice(data.pk_batches(epoch, 8, 2), STEPS)

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        return {"features": self.method.encoder(batch.images)}

    def losses(self, outputs: dict[str, Tensor], batch: TrainBatch) -> dict[str, Tensor]:
        self.mean = outputs["features"].detach().mean(0)
        scores = self.method.classifier(outputs["features"] - 0.01 * self.seen)
        return {"id": cross_entropy(scores, batch.labels)}

    def after_step(self, batch: TrainBatch) -> None:
        self.seen += self.mean
        time.sleep(float(os.environ.get(PAUSE, 0)))

    def state_dict(self) -> dict[str, Tensor]:
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.seen = state["seen"]


class Plain(Method):
    """Pixels through one linear layer."""

    Config = PlainConfig
    card = CARDS["vision-only"]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {}}

    def __init__(self, config: PlainConfig, sources: SourceInfo) -> None:
        super().__init__(config, sources)
        self.config = config
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE[0] * SIZE[1], WIDTH))
        self.classifier = nn.Linear(WIDTH, sources.num_classes)

    @classmethod
    def planned_epochs(cls, config: PlainConfig) -> int:
        return config.epochs

    def transforms(self) -> Transforms:
        mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
        return Transforms(Transform(SIZE, mean, std, flip=0.5), Transform(SIZE, mean, std))

    def stages(self) -> list[Stage]:
        return [PlainStage(self)]

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        return {"features": normalize(self.encoder(batch.images), dim=1)}
