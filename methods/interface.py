"""The one interface of every method. Read this file and you can add one.

A method is an `nn.Module` with a frozen typed `Config` (defaults: the paper's), a `MethodCard`,
`transforms()`, `stages()`, `encode(batch)` and `score(queries, gallery)`. The harness builds it,
trains its stages in order, and asks for `encode` on images of people it has never seen.

Shape letters: B batch, N training images, C training identities, D feature size, H x W image,
R body parts, h x w patch grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from methods.cards import MethodCard

__all__ = [
    "PARTS",
    "Batch",
    "Method",
    "MethodCard",
    "MethodConfig",
    "PartMaps",
    "PartNeeds",
    "SourceData",
    "SourceInfo",
    "Stage",
    "TrainBatch",
    "Transform",
    "Transforms",
]

PARTS = ("head", "upper", "legs")
"""Body parts, in the order of every tensor that has an axis for them."""


class MethodConfig(BaseModel):
    """Base of every method's config: frozen, typed, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=()
    )


@dataclass(frozen=True)
class Transform:
    """From a decoded RGB image to a tensor, in this order: resize, flip, pad and crop, normalise.

    `size` is (height, width) in pixels; `flip` the probability of a horizontal flip; `pad` the
    pixels of black border a random crop moves in; `erase` the probability of random erasing.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    flip: float = 0.0
    pad: int = 0
    erase: float = 0.0


@dataclass(frozen=True)
class Transforms:
    """`train` for augmented batches; `eval` (deterministic) for every other pass."""

    train: Transform
    eval: Transform


@dataclass(frozen=True, slots=True)
class Batch:
    """What `encode` gets: images, and nothing an evaluation must not know.

    images: [B, 3, H, W], as the method's transform made them.
    """

    images: Tensor


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """A batch of training images and what is known of them.

    images: [B, 3, H, W]; labels: [B] in 0..C-1; domains: [B] index of the source;
    camids: [B] cameras of that source; indices: [B] row of the image in the training split;
    part_masks: [B, R, h, w] bool, where the parts of `PARTS` are, flipped and cropped as the image
    was; None unless the method's `part_needs` asks for them; part_known: [B, R] bool, False where
    nobody knows where a part is, so that its empty mask is nothing to learn; None if all are known.
    """

    images: Tensor
    labels: Tensor
    domains: Tensor
    camids: Tensor
    indices: Tensor
    part_masks: Tensor | None = None
    part_known: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, at: slice) -> TrainBatch:
        """Some rows of the batch."""
        told = (self.labels[at], self.domains[at], self.camids[at], self.indices[at])
        parts = [None if one is None else one[at] for one in (self.part_masks, self.part_known)]
        return TrainBatch(self.images[at], *told, *parts)

    def known(self) -> TrainBatch:
        """The batch without its pictures: `images` [B, 0], no part masks."""
        nothing = self.images.new_empty(len(self), 0)
        return TrainBatch(nothing, self.labels, self.domains, self.camids, self.indices)


@dataclass(frozen=True)
class PartNeeds:
    """What a method needs to be told of body parts in its training images.

    `grid` is (rows, columns) of patches; `calibrate` whether boxes out of the ordinary are
    replaced first (MUVA section 3.2.3); `file` a file of part labels, None for those the harness
    finds by itself; `instead` a config override, such as key=value, that needs none.
    """

    grid: tuple[int, int]
    calibrate: bool = True
    file: str | None = None
    instead: str | None = None


@dataclass(frozen=True)
class PartMaps:
    """Where a model looks for body parts, for pictures: one map per layer, image and part.

    parts: names; masks: [layers, B, R, h, w] probabilities 0..1; attention: [layers, B, R, h, w]
    of each part's token over the patches, means over heads, each map sums to at most 1.
    """

    parts: tuple[str, ...]
    masks: Tensor
    attention: Tensor


@dataclass(frozen=True)
class SourceInfo:
    """What a method may know of its training data when it is built."""

    num_classes: int
    domains: tuple[str, ...]


class SourceData(Protocol):
    """The training images of a fold, as a stage sees them.

    Where several processes train one run together, each sees the same N images and gets its share
    of every batch. With one process a share is the whole, and nothing has to be summed.
    """

    @property
    def labels(self) -> Tensor:
        """[N] identity label of every image; on the CPU or on `device`."""
        ...

    @property
    def domains(self) -> Tensor:
        """[N] index of every image's source; where `labels` are."""
        ...

    @property
    def num_classes(self) -> int:
        """C, the training identities of all sources."""
        ...

    @property
    def device(self) -> torch.device:
        """Where batches are put."""
        ...

    def __len__(self) -> int: ...

    def pk_batches(
        self, epoch: int, identities: int, instances: int, decode: bool = True
    ) -> Iterable[TrainBatch]:
        """Augmented batches of `identities` x `instances` images; drawn from seed and epoch.

        This process's share of each, in the order of the whole batch.
        Without `decode` no file is read: the same batches, `images` [B, 0], no part masks.
        """
        ...

    def in_order(self, batch_size: int = 128) -> Iterable[TrainBatch]:
        """This process's share of all images, each once, in order, under the evaluation transform.

        Batches are smaller where memory is short. What is added up over them goes through `summed`.
        """
        ...

    def share(self, rows: int) -> slice:
        """Which of the `rows` of a batch are this process's; for a stage that makes its own."""
        ...

    def summed(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes, the same in each; they have one shape."""
        ...


class Stage:
    """One stage of training. Subclass it; a method lists its stages in order.

    The loop calls: `prepare` once, then per epoch `begin_epoch`, and per batch `forward`, `losses`,
    the optimiser's step, `after_step`. Epochs count from 1.

    A step is in two halves so that a batch can be larger than memory, or shared by several GPUs,
    and the numbers are those of the whole batch. `forward` is called on any part of the batch, here
    or in another process, and where memory is short twice on the same part; `losses` once, with the
    outputs of all of it. Whatever looks at more than one image belongs in `losses`: a BN neck,
    the classifier behind it, the hardest of some instances. After out of memory a step is taken
    again from its beginning: in `forward` and `losses`, keep values, count nothing.
    """

    name: str = "train"
    epochs: int
    cost: float = 1.0
    """An epoch's work beside one over all images; only estimates of time depend on it."""
    unaffected_by: ClassVar[tuple[str, ...]] = ()
    """Config keys that change nothing of what this stage leaves in the method's state: runs that
    differ in these alone train it once. Not the last stage's concern."""

    def prepare(self, data: SourceData) -> None:
        """Once, before the first epoch. What it computes belongs in `state_dict`.

        Like `begin_epoch` it starts from nothing: where memory is short it is called again.
        """

    def optimizer(self) -> torch.optim.Optimizer:
        """A new optimiser over what this stage trains, at the base learning rates."""
        raise NotImplementedError

    def lr_factor(self, epoch: int) -> float:
        """What every base learning rate is multiplied by in this epoch."""
        return 1.0

    def begin_epoch(self, epoch: int, data: SourceData) -> None:
        """Before the epoch's first batch; memories are rebuilt here."""

    def batches(self, epoch: int, data: SourceData) -> Iterable[TrainBatch]:
        """The epoch's batches, equally many in every process.

        Those of `data` are shares already; of one made here, take the rows `data.share(rows)`.
        Random draws: the same in every process, from torch's global generator.
        """
        raise NotImplementedError

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """What the losses need of every image: named tensors, each with a leading B.

        The costly part. In train mode a row must not depend on its batch mates, and nothing is
        changed. Tensors that need no gradient may come along, such as masks. Empty for a stage
        whose losses look at labels alone.
        """
        return {}

    def losses(self, outputs: dict[str, Tensor], batch: TrainBatch) -> dict[str, Tensor]:
        """Named scalar losses of a whole batch; their sum is minimised.

        outputs: what `forward` gave for its B images, not to be changed in place; batch: the same
        images' labels, domains, camids and indices, without the images and the part masks.
        """
        raise NotImplementedError

    def after_step(self, batch: TrainBatch) -> None:
        """After the optimiser's step; memories are updated here. `batch` is that of `losses`."""

    def state_dict(self) -> dict[str, Tensor]:
        """What must survive from one epoch to the next besides weights and optimiser."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state_dict`."""


class Method(nn.Module):
    """A way to turn images into features that can be ranked.

    `presets` maps a preset's name to the config values it changes; `paper` changes nothing.
    """

    Config: ClassVar[type[MethodConfig]] = MethodConfig
    card: ClassVar[MethodCard]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {}, "tiny": {}}
    same_for_all_sources: ClassVar[bool] = False
    """Of a method without stages: whether `encode` is the same whatever the sources are."""
    training_only: ClassVar[tuple[str, ...]] = ()
    """Prefixes of the state-dict names that `encode` does not need: a classifier, prompts."""

    def __init__(self, config: MethodConfig, sources: SourceInfo) -> None:
        super().__init__()
        self.sources = sources

    @classmethod
    def weights_files(cls, config: Any) -> list[Path]:
        """Files the initial weights are read from; fetched here if they have to be.

        A run's identity holds the hash of their content, never their path.
        """
        return []

    @classmethod
    def planned_epochs(cls, config: Any) -> float:
        """Epochs over all stages, each times its `cost`; only estimates of time depend on it."""
        return 0

    @classmethod
    def part_needs(cls, config: Any) -> PartNeeds | None:
        """What training must be told of body parts; None for nothing."""
        return None

    @classmethod
    def translate(cls, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """A state dict of the method's authors in the names of this class; others as they are."""
        return state

    def assumed(self) -> list[str]:
        """Settings that change `encode` and that weights alone do not tell, in words."""
        return []

    def part_maps(self, batch: Batch) -> PartMaps | None:
        """Where the model sees body parts in these images; None for a method that looks for none.

        Called in eval mode without gradients.
        """
        return None

    def transforms(self) -> Transforms:
        """How images become tensors, in training and in evaluation."""
        raise NotImplementedError

    def stages(self) -> list[Stage]:
        """The stages of training, in order; empty for a method that trains nothing."""
        return []

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Features of a batch: named tensors, each with a leading B.

        Called in eval mode without gradients. Must not depend on the other images of the batch.
        """
        raise NotImplementedError

    def score(self, queries: Mapping[str, Tensor], gallery: Mapping[str, Tensor]) -> Tensor:
        """Similarity [Q, G] of what `encode` returned; higher is nearer. Default: cosine."""
        q, g = (nn.functional.normalize(side["features"], dim=-1) for side in (queries, gallery))
        return q @ g.T
