"""The tiny CLIP of the `tiny` preset: a true open_clip model, small enough for two cores.

`model.safetensors` is made by `python -m harness.make_tiny_clip` from rendered studio pictures: no
photograph, and no person or style of any stand-in data set. Of the 49408 token embeddings only
those of the training sentences and the prompts are stored; the others come from a fixed seed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from open_clip.model import CLIP

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / "model.safetensors"
CONFIG: dict[str, Any] = json.loads((FOLDER / "config.json").read_text("utf-8"))
"""The arguments of `open_clip.model.CLIP`: embed_dim, vision_cfg, text_cfg, quick_gelu."""

TOKENS = "token_embedding.weight"
TOKEN_IDS, TOKEN_ROWS = "token_embedding.ids", "token_embedding.rows"
UNSEEN_SEED, UNSEEN_STD = 0, 0.02


def build() -> CLIP:
    """The model without its weights: untrained, float32, on the CPU."""
    from open_clip.model import CLIP

    return CLIP(**CONFIG)


def load(path: Path = WEIGHTS) -> CLIP:
    """The model with its weights: evaluation mode, float32, on the CPU.

    The global random state is left as it was. Raises RuntimeError when `path` holds other weights
    than `CONFIG` describes.
    """
    import torch
    from safetensors.torch import load_file

    with torch.random.fork_rng(devices=[]):
        model = build()
    state = load_file(path)
    ids, rows = state.pop(TOKEN_IDS), state.pop(TOKEN_ROWS)
    state = {name: value.float() for name, value in state.items()}
    state[TOKENS] = unseen_rows()
    state[TOKENS][ids.long()] = rows.float()
    model.load_state_dict(state)
    return model.eval()


def unseen_rows() -> torch.Tensor:
    """Token embeddings as an untrained CLIP draws them, from a fixed seed: [vocabulary, width]."""
    import torch

    shape = (CONFIG["text_cfg"]["vocab_size"], CONFIG["text_cfg"]["width"])
    generator = torch.Generator().manual_seed(UNSEEN_SEED)
    return torch.randn(shape, generator=generator) * UNSEEN_STD
