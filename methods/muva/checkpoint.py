"""The authors' stage-2 checkpoint: a flat state dict whose names are put into ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

NAMES = {
    "image_encoder.": "encoder.visual.",
    "local_token": "encoder.local_tokens",
    "residual_mask_predictor.blocks.": "encoder.mask_predictor.",
    "bnneck.": "bn_neck.",
    "fc.": "classifier.",
    "prompt_learner.learnable_ctx": "text.prompts",
    "text_encoder.": "text.encoder.",
}
OTHERS = "text."
"""What is none of these belongs to the text side, under whatever name; images need none of it."""
MARKS = ("image_encoder.", "bnneck.")
"""Every such checkpoint has both, and none of this project's has any."""


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the released code in the names of `Muva`; any other as it is."""
    if not all(any(name.startswith(mark) for name in state) for mark in MARKS):
        return dict(state)
    renamed = {_rename(name): value.float() for name, value in state.items()}
    # only training counts batches, and exports often leave the count out
    renamed.setdefault("bn_neck.num_batches_tracked", torch.tensor(0))
    tokens = "encoder.local_tokens"
    if tokens in renamed:
        renamed[tokens] = renamed[tokens].reshape(-1, renamed[tokens].shape[-1])
    return renamed


def _rename(name: str) -> str:
    for theirs, ours in NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return OTHERS + name
