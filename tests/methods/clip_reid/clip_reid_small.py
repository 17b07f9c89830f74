"""A CLIP-ReID of the tiny preset in float64, and images in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.clip_reid.config import ClipReidConfig
from methods.clip_reid.method import ClipReid
from methods.interface import SourceInfo, TrainBatch

SIZE = (36, 24)
OF = [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]


def tiny(classes: int = 4, **changes: object) -> ClipReid:
    """On 36 x 24 images, in float64, with weights far from special values."""
    torch.manual_seed(0)
    config = ClipReidConfig(**{**ClipReid.presets["tiny"], "image_size": SIZE, **changes})
    method = ClipReid(config, SourceInfo(classes, ("MA",))).double()
    with torch.no_grad():
        for neck in (method.bn_neck, method.bn_neck_p):
            neck.weight.uniform_(0.5, 1.5)
        for classifier in (method.classifier, method.classifier_p):
            classifier.weight.normal_(std=0.3)
        if method.text is not None:
            method.text.prompts.normal_(std=0.05)
    return method


@dataclass
class Source:
    """`methods.interface.SourceData` over noise: image i shows identity `of[i]`."""

    of: Sequence[int]
    size: tuple[int, int] = SIZE

    def __post_init__(self) -> None:
        self.device = torch.device("cpu")
        self.labels = torch.tensor(self.of)
        self.domains = torch.zeros_like(self.labels)
        self.num_classes = max(self.of) + 1
        generator = torch.Generator().manual_seed(1)
        shape = (len(self.of), 3, *self.size)
        self.images = torch.randn(shape, generator=generator, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.of)

    def batch(self, rows: Sequence[int]) -> TrainBatch:
        at = torch.tensor(rows)
        none = torch.zeros_like(at)
        return TrainBatch(self.images[at], self.labels[at], none, none, at)

    def pk_batches(self, *_: int) -> Iterator[TrainBatch]:
        yield self.batch(range(len(self)))

    def in_order(self, batch_size: int = 4) -> Iterator[TrainBatch]:
        for start in range(0, len(self), batch_size):
            yield self.batch(range(start, min(start + batch_size, len(self))))

    def share(self, rows: int) -> slice:
        return slice(rows)

    def summed(self, values: Tensor) -> Tensor:
        return values


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    """Equal to `tolerance` of the largest expected value."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    worst = float((found - expected).detach().abs().max())
    assert worst <= tolerance * float(expected.detach().abs().max()), worst
