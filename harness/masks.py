"""Part masks of a trained method: collected for pictures, and measured against the truth.

Shape letters: B images, R parts, h x w patch grid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from harness.data import ImageFiles, image_batches, in_order
from harness.seeds import generator
from methods.grounding.labels import PartLabels
from methods.interface import PARTS, Batch, Method, PartMaps
from protocols.errors import ReIDError
from protocols.types import Image

BATCH_SIZE = 128
SURE = 0.5
"""A patch is in a predicted mask if its probability is above this (MUVA, Eq. 6's gate)."""


class NoMasks(ReIDError):
    """The method looks for no body parts."""


Watch = Callable[[int, int], None]


def choose(images: Iterable[Image], count: int, seed: int, name: str) -> list[Image]:
    """`count` images drawn from the seed, spread over identities and then cameras; sorted by path.

    Each draw takes one of those whose identity, and among them whose camera, was drawn least.
    """
    left = sorted(set(images))
    order = generator(seed, "pictures", name).permutation(len(left))
    left = [left[i] for i in order]
    drawn: list[Image] = []
    people: Counter[int] = Counter()
    cameras: Counter[int] = Counter()
    while left and len(drawn) < count:
        image = min(left, key=lambda i: (people[i.pid], cameras[i.camid]))
        left.remove(image)
        drawn.append(image)
        people[image.pid] += 1
        cameras[image.camid] += 1
    return sorted(drawn)


@torch.no_grad()
def part_maps(
    method: Method, root: Path, paths: Sequence[str]
) -> Iterator[tuple[Sequence[str], PartMaps]]:
    """Batches of paths below `root` with the part maps of their images, on the CPU.

    Raises NoMasks for a method that predicts none.
    """
    method.eval()
    device = next((p.device for p in method.parameters()), torch.device("cpu"))
    files = ImageFiles(root, paths, method.transforms().eval)
    for rows, images in image_batches(files, in_order(len(paths), BATCH_SIZE)):
        maps = method.part_maps(Batch(images.to(device)))
        if maps is None:
            raise NoMasks(f"{method.card.name} predicts no part masks.")
        here = PartMaps(maps.parts, maps.masks.float().cpu(), maps.attention.float().cpu())
        yield [paths[row] for row in rows.tolist()], here


@dataclass(frozen=True)
class PartOverlap:
    """How well one part is found, layer by layer; the last one counts.

    `iou` are means of intersection over union with the true masks, 0..1, over the images that
    show the part; None where none does. `hidden` images do not (no true patch); in `empty` of
    those the last layer's mask is empty too, as it should be.
    """

    iou: tuple[float | None, ...]
    hidden: int
    empty: int


@dataclass(frozen=True)
class Overlap:
    """The overlap of every part, over `images`."""

    images: int
    parts: dict[str, PartOverlap]

    @property
    def layers(self) -> int:
        """How many layers predict masks."""
        return len(next(iter(self.parts.values())).iou)

    def iou(self, layer: int = -1) -> dict[str, float | None]:
        """Part -> mean IoU in a layer, and their `mean`; None where nothing could be measured."""
        found = {part: one.iou[layer] for part, one in self.parts.items()}
        known = [value for value in found.values() if value is not None]
        return {**found, "mean": sum(known) / len(known) if known else None}


def measure(
    method: Method,
    root: Path,
    labels: PartLabels,
    watch: Watch = lambda done, total: None,
) -> Overlap:
    """The overlap of masks with `labels`, taken as they are, over their images below `root`.

    Images are read in batches. `watch` is called with (images done, images in all). Raises NoMasks
    for a method that predicts none, or none of parts whose truth is known.
    """
    done, sums = 0, _Sums()
    for batch, maps in part_maps(method, root, labels.images):
        known = [i for i, part in enumerate(maps.parts) if part in PARTS]
        parts = [maps.parts[i] for i in known]
        if not known:
            raise NoMasks(
                f"{method.card.name} predicts masks of {', '.join(maps.parts)}; "
                f"true boxes are known of {', '.join(PARTS)}."
            )
        grid = (maps.masks.shape[-2], maps.masks.shape[-1])
        true = torch.from_numpy(labels.masks_for(batch, grid, calibrate=False))
        true = true[:, [PARTS.index(part) for part in parts]]
        sums.add(parts, maps.masks[:, :, known] > SURE, true)
        done += len(batch)
        watch(done, len(labels.images))
    return sums.overlap(done)


class _Sums:
    """What the means are made of, in float64 on the CPU."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.iou = self.seen = self.empty = torch.zeros(0)

    def add(self, parts: list[str], predicted: Tensor, true: Tensor) -> None:
        """predicted: [layers, B, R, h, w] bool; true: [B, R, h, w] bool."""
        seen = true.flatten(2).any(2)  # [B, R]
        both = (predicted & true).flatten(3).sum(3)
        either = (predicted | true).flatten(3).sum(3)
        # 0 where a part is not seen; the mean is over the images that show it
        iou = (both.double() / either.clamp(min=1)).sum(1)  # [layers, R]
        empty = (~seen & ~predicted[-1].flatten(2).any(2)).sum(0)
        if not self.parts:
            self.parts = parts
            self.iou, self.seen, self.empty = iou, seen.sum(0), empty
        else:
            self.iou, self.seen = self.iou + iou, self.seen + seen.sum(0)
            self.empty = self.empty + empty

    def overlap(self, images: int) -> Overlap:
        parts = {}
        for i, part in enumerate(self.parts):
            seen = int(self.seen[i])
            iou = tuple(float(total) / seen if seen else None for total in self.iou[:, i])
            parts[part] = PartOverlap(iou, images - seen, int(self.empty[i]))
        return Overlap(images, parts)
