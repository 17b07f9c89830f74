"""Which images show people who are covered, told from the boxes alone (MUVA, Fig. 8, section 5).

The paper tells three cases apart by eye: slight occlusion, severe occlusion, and occlusion by
other people, where "body parts from different people may be incorrectly grouped". Here, by what
each of them does to boxes; the first rule that holds:

    people   the image was found to show several people; or the middles of two boxes, as the expert
             gave them, are from left to right further apart than `APART` of the wider one's width
    severe   a part was not found or is discarded; or most of the boxes were replaced
    slight   every box was kept, and one is lower than `SHORT` of its part's median height

It is a way to find examples, not a measure of occlusion: a walking person's head may be off the
middle, and an expert may miss a part that is there.
"""

from __future__ import annotations

import numpy as np

from methods.grounding.voting import Boxes, Masks

APART = 0.6
SHORT = 0.75
CASES = {
    "slight": f"all parts found and kept, one box lower than {SHORT:g} of the median of its part.",
    "severe": "a part not found or discarded, or most boxes replaced.",
    "people": "several people were found, or the middles of two boxes are further apart "
    f"than {APART:g} of the wider one.",
}
"""Name -> the rule in words."""


def occluded(
    boxes: Boxes, replaced: Masks, discarded: Masks, crowded: Masks | None = None
) -> dict[str, Masks]:
    """Case -> images [N] it holds for; at most one case an image, in the order of `CASES`.

    boxes: [N, R, 4] as the expert gave them, NaN where it found nothing; replaced, discarded:
    [N, R] bool; crowded: [N] bool, images found to show several people.
    """
    found = ~np.isnan(boxes).any(-1)
    kept = found & ~replaced & ~discarded
    people = _apart(boxes)
    if crowded is not None:
        people |= crowded
    many = replaced.sum(1) > boxes.shape[1] / 2
    severe = ((~found | discarded).any(1) | many) & ~people
    slight = (_short(boxes, kept) & kept.all(1)) & ~people & ~severe
    return {"slight": slight, "severe": severe, "people": people}


def _apart(boxes: Boxes) -> Masks:
    """[N]: images in which two boxes do not stand above each other."""
    middle, width = (boxes[..., 0] + boxes[..., 2]) / 2, boxes[..., 2] - boxes[..., 0]
    away = np.abs(middle[:, :, None] - middle[:, None, :])  # [N, R, R], NaN where one is missing
    wider = np.maximum(width[:, :, None], width[:, None, :])
    return np.asarray((away > APART * wider).any((1, 2)))


def _short(boxes: Boxes, kept: Masks) -> Masks:
    """[N]: images with a box that was kept and is lower than others of its part."""
    heights = np.where(kept, boxes[..., 3] - boxes[..., 1], np.nan)
    short = np.zeros(len(boxes), dtype=bool)
    for mine in heights.T:
        known = mine[~np.isnan(mine)]
        if len(known):
            short |= mine < SHORT * np.median(known)
    return short
