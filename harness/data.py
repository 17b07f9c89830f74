"""From image files to batches: the loader, the PK sampler, what a stage sees.

Nothing here depends on how many workers there are: what is drawn for an image comes from
(seed, stage, epoch, position), and an epoch's batches from (seed, stage, epoch).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.augment import apply, draw_move, move_masks, moved, normalised
from harness.decoding import decode
from harness.exchange import Exchange
from harness.seeds import generator
from methods.interface import SourceInfo, TrainBatch, Transform, Transforms
from protocols.labels import label_map
from protocols.types import Image, Split
from protocols.variants import Degradation

CPU = torch.device("cpu")
Item = tuple[int, Tensor, Tensor | None]


class ImageFiles(Dataset[Item]):
    """Image files under one transform; item (position, row) -> (row, image, [R, h, w] or None).

    The image is [H, W, 3] uint8, a quarter of what it becomes, on its way from worker to main
    process; or what `apply` makes of it, where noise is drawn into that. `finished` takes both.
    `purpose` seeds the augmentation of every item together with its position in the epoch, so an
    image met twice in an epoch is augmented twice. `masks` [N, R, h, w] bool go where it goes.
    `degradation` is done to a decoded image before anything else.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        transform: Transform,
        purpose: tuple = (),
        masks: Tensor | None = None,
        degradation: Degradation | None = None,
    ) -> None:
        self.root, self.paths, self.transform, self.purpose = root, paths, transform, purpose
        self.masks, self.degradation = masks, degradation

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: tuple[int, int]) -> Item:
        position, row = item
        rng = generator(*self.purpose, position) if self.purpose else generator(0, position)
        image = read_image(self.root / self.paths[row], self.degradation)
        move = draw_move(self.transform, rng)
        if self.transform.erase:
            pixels = apply(self.transform, image, rng, move)
        else:
            pixels = torch.from_numpy(moved(self.transform, image, move))
        if self.masks is None:
            return row, pixels, None
        masks = move_masks(self.masks[row].numpy(), move, self.transform.size)
        return row, pixels, torch.from_numpy(masks.copy())

    def finished(self, images: Tensor) -> Tensor:
        """A batch of items' images as [B, 3, H, W] float32, where they lie."""
        if images.dtype == torch.uint8:
            return normalised(self.transform, images)
        return images


def read_image(path: Path, degradation: Degradation | None = None) -> PillowImage.Image:
    """An image file as RGB, degraded or as it is. Raises DataError naming the file."""
    image = decode(path)
    if degradation is None:
        return image
    from harness.degradations import degrade

    # a data set's folder may have several names
    return degrade(image, degradation, path.name)


def image_batches(
    files: ImageFiles,
    batches: Sequence[Sequence[int]],
    workers: int = 0,
    device: torch.device = CPU,
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each batch of rows: (rows [B], images [B, 3, H, W] on `device`).

    Decoded in `workers` processes, a few batches ahead.
    """
    for rows, images, _ in _loaded(files, batches, workers, device=device):
        yield rows, images


Loaded = tuple[Tensor, Tensor, Tensor | None]


def _all(rows: int) -> slice:
    return slice(rows)


def _loaded(
    files: ImageFiles,
    batches: Sequence[Sequence[int]],
    workers: int = 0,
    share: Callable[[int], slice] = _all,
    device: torch.device = CPU,
) -> Iterator[Loaded]:
    """The `share` of every batch, images on `device`; each is augmented as in the whole batch."""
    position, items = 0, []
    for rows in batches:
        items.append([(position + i, row) for i, row in enumerate(rows)][share(len(rows))])
        position += len(rows)
    loader: DataLoader = DataLoader(
        files,
        batch_sampler=items,
        num_workers=workers,
        # a GPU takes pinned images while it computes
        pin_memory=device.type == "cuda",
        collate_fn=partial(_collate, files.transform.size),
    )
    for found, images, masks in loader:
        yield found, files.finished(images.to(device, non_blocking=True)), masks


def _collate(size: tuple[int, int], items: list[Item]) -> Loaded:
    if not items:
        return torch.empty(0, dtype=torch.long), torch.empty(0, 3, *size), None
    rows, images, masks = zip(*items, strict=True)
    together = None if masks[0] is None else torch.stack(masks)
    return torch.tensor(rows), torch.stack(images), together


def in_order(count: int, batch_size: int) -> list[list[int]]:
    """Rows 0..count-1 in batches."""
    return [list(range(i, min(i + batch_size, count))) for i in range(0, count, batch_size)]


def pk_rows(
    labels: Sequence[int], identities: int, instances: int, rng: np.random.Generator
) -> list[list[int]]:
    """One epoch of the PK sampler: batches of `identities` x `instances` rows.

    Each identity's images are shuffled and cut into groups of `instances` (an incomplete group is
    dropped; an identity with fewer images fills one group by drawing again). A batch takes the
    next group of `identities` identities drawn without replacement, until fewer are left. With
    fewer identities than asked for, a batch holds all there are.
    """
    rows_of: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        rows_of.setdefault(label, []).append(row)
    groups: dict[int, list[list[int]]] = {}
    for label in sorted(rows_of):
        rows = list(rng.permutation(rows_of[label]))
        if len(rows) < instances:
            rows += list(rng.choice(rows_of[label], instances - len(rows)))
        whole = len(rows) // instances
        groups[label] = [
            [int(r) for r in rows[i * instances : (i + 1) * instances]] for i in range(whole)
        ]
    identities = min(identities, len(groups))
    batches = []
    while groups and len(groups) >= identities:
        chosen = rng.choice(sorted(groups), identities, replace=False)
        batches.append([row for label in chosen for row in groups[int(label)].pop(0)])
        groups = {label: left for label, left in groups.items() if left}
    return batches


@dataclass
class TrainingImages:
    """The training images of a fold: `methods.interface.SourceData` over files.

    `stage`, `exchange` and `at_most` are set by the training loop: every stage draws its own
    batches, every process gets its share, a pass over all images takes so many at a time.
    `part_masks` [N, R, h, w] and `part_known` [N, R] bool are there for a method that asks for
    them.
    """

    root: Path
    images: list[Image]
    labels: Tensor
    domains: Tensor
    camids: Tensor
    num_classes: int
    transforms: Transforms
    seed: int
    device: torch.device
    workers: int = 0
    stage: str = ""
    part_masks: Tensor | None = None
    part_known: Tensor | None = None
    exchange: Exchange = field(default_factory=Exchange)
    at_most: int | None = None

    def __len__(self) -> int:
        return len(self.images)

    def pk_batches(
        self, epoch: int, identities: int, instances: int, decode: bool = True
    ) -> Iterator[TrainBatch]:
        """This process's share of the P x K batches of one epoch, augmented.

        Without `decode`, the same without any file read: `images` [B, 0] and no part masks.
        """
        rng = generator(self.seed, self.stage, epoch, "batches")
        batches = pk_rows(self.labels.tolist(), identities, instances, rng)
        if not decode:
            shares = (torch.tensor(rows)[self.share(len(rows))] for rows in batches)
            return (self._batch(rows, torch.empty(len(rows), 0)) for rows in shares)
        purpose = (self.seed, self.stage, epoch, "augmentation")
        return self._batches(self.transforms.train, batches, purpose, self.share)

    def in_order(self, batch_size: int = 128) -> Iterator[TrainBatch]:
        """This process's share of all images, in order, under the evaluation transform."""
        rows = list(range(len(self)))[self.share(len(self))]
        batches = [
            [rows[i] for i in batch]
            for batch in in_order(len(rows), min(batch_size, self.at_most or batch_size))
        ]
        return self._batches(self.transforms.eval, batches, ())

    def share(self, rows: int) -> slice:
        """Which of the `rows` of a batch are this process's."""
        return self.exchange.share(rows)

    def summed(self, values: Tensor) -> Tensor:
        """The sum of `values` over all processes."""
        return self.exchange.summed(values)

    def _batches(
        self,
        transform: Transform,
        batches: list[list[int]],
        purpose: tuple,
        share: Callable[[int], slice] = _all,
    ) -> Iterator[TrainBatch]:
        paths = [i.path for i in self.images]
        files = ImageFiles(self.root, paths, transform, purpose, self.part_masks)
        for loaded in _loaded(files, batches, self.workers, share, self.device):
            yield self._batch(*loaded)

    def _batch(self, rows: Tensor, images: Tensor, masks: Tensor | None = None) -> TrainBatch:
        to = partial(torch.Tensor.to, device=self.device)
        known = None if masks is None or self.part_known is None else to(self.part_known[rows])
        return TrainBatch(
            images=to(images),
            labels=to(self.labels[rows]),
            domains=to(self.domains[rows]),
            camids=to(self.camids[rows]),
            indices=to(rows),
            part_masks=None if masks is None else to(masks),
            part_known=known,
        )


def source_info(sources: Sequence[Split]) -> SourceInfo:
    """What a method may know of its sources when it is built."""
    return SourceInfo(len(label_map(sources)), tuple(split.dataset for split in sources))


def training_images(
    root: Path,
    sources: Sequence[Split],
    transforms: Transforms,
    *,
    seed: int,
    device: torch.device,
    workers: int = 0,
    part_masks: Tensor | None = None,
    part_known: Tensor | None = None,
) -> TrainingImages:
    """The images of a fold's sources, in their order, labelled as `protocols.labels` says.

    `part_masks` [N, R, h, w] bool: one row an image, in that order; so `part_known` [N, R].
    """
    labels = label_map(sources)
    images = [i for split in sources for i in split.images]
    return TrainingImages(
        root=root,
        images=images,
        labels=torch.tensor([labels[s.dataset, i.pid] for s in sources for i in s.images]),
        domains=torch.tensor([d for d, s in enumerate(sources) for _ in s.images]),
        camids=torch.tensor([i.camid for i in images]),
        num_classes=len(labels),
        transforms=transforms,
        seed=seed,
        device=device,
        workers=workers,
        part_masks=part_masks,
        part_known=part_known,
    )
