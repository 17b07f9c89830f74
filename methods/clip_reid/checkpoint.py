"""The authors' checkpoint: a flat state dict whose names are put into ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from methods.clip_reid.config import NO_SIE
from protocols.errors import ReIDError

NAMES = {
    "image_encoder.": "encoder.visual.",
    "bottleneck_proj.": "bn_neck_p.",
    "bottleneck.": "bn_neck.",
    "classifier_proj.": "classifier_p.",
    "classifier.": "classifier.",
    "prompt_learner.cls_ctx": "text.prompts",
    # the fixed words around them, which follow from the backbone
    "prompt_learner.": "text.",
    "text_encoder.": "text.encoder.",
}
"""The first that fits. A name that none fits stays, and is refused as unknown where it is read."""
MARKS = ("image_encoder.", "bottleneck.")
"""Every such checkpoint has both, and none of this project's has any."""
CAMERAS = "cv_embed"
COUNT, COUNTED = "num_batches_tracked", "running_var"


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the released code in the names of `ClipReid`; any other as it is.

    Raises ReIDError for weights that were trained with camera embeddings.
    """
    if not all(any(name.startswith(mark) for name in state) for mark in MARKS):
        return dict(state)
    if CAMERAS in state:
        raise ReIDError(
            f"These weights were trained with SIE, an embedding of {len(state[CAMERAS])} cameras, "
            f"and can't be used: {NO_SIE}: weights that were trained without it can be read."
        )
    renamed = {}
    for name, value in state.items():
        theirs = next((n for n in NAMES if name.startswith(n)), "")
        ours = NAMES.get(theirs, "") + name.removeprefix(theirs)
        renamed[ours] = value.float() if value.is_floating_point() else value
    prompts = "text.prompts"
    if prompts in renamed and renamed[prompts].ndim == 3:
        renamed[prompts] = renamed[prompts][:, None]
    for name in [n for n in renamed if n.endswith(COUNTED)]:
        # only training counts batches, and exports often leave the count out
        renamed.setdefault(name.removesuffix(COUNTED) + COUNT, torch.tensor(0))
    return renamed
