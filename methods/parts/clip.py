"""open_clip's models, loaded and fitted to person images.

One way in for every CLIP method: `load_clip` finds the weights, `image_encoder` takes the vision
transformer out and gives it the input size and patch grid of person Re-ID.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from methods.interface import MethodConfig
from protocols.errors import ReIDError, UnknownName

if TYPE_CHECKING:
    from open_clip.model import CLIP
    from open_clip.transformer import VisionTransformer

TINY = "tiny"
"""The backbone whose weights ship with the package (methods/parts/tiny_clip)."""
SHIPPED = "shipped"
"""The tiny backbone's weights."""
RANDOM = "random"
"""Weights that are drawn from the run's seed."""

CLIP_MEAN_STD = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Re-ID on CLIP normalises with 0.5, not with CLIP's own statistics (CLIP-ReID, MUVA)."""


class ClipConfig(MethodConfig):
    """What every method on a CLIP image encoder is configured with.

    `backbone` is an open_clip model name or `tiny`; `weights` an open_clip tag, the path of a
    local file, or `random`; `image_size` is (height, width) in pixels.
    """

    backbone: str = "ViT-B-16"
    weights: str = "openai"
    quick_gelu: bool = True
    image_size: tuple[PositiveInt, PositiveInt] = (256, 128)

    @model_validator(mode="after")
    def _tiny_is_what_ships(self) -> ClipConfig:
        if self.backbone == TINY and (self.weights != SHIPPED or not self.quick_gelu):
            raise ValueError(
                "backbone=tiny has weights=shipped and quick_gelu=true only; "
                "choose another backbone, or --preset paper"
            )
        return self


TINY_PRESET: Mapping[str, Any] = {"backbone": TINY, "weights": SHIPPED, "image_size": (96, 48)}
"""The `tiny` preset of a CLIP method: weights that ship with the package, small images."""


def weights_files(config: ClipConfig) -> list[Path]:
    """The file a config's weights are in, fetched if need be; none for `random`.

    Its content is part of a run's identity. Raises ReIDError, saying how to get them, when weights
    can't be had.
    """
    if config.backbone == TINY:
        from methods.parts import tiny_clip

        return [tiny_clip.WEIGHTS]
    import open_clip

    if config.backbone not in open_clip.list_models():
        raise UnknownName("CLIP backbone", config.backbone, [TINY, *open_clip.list_models()])
    if config.weights == RANDOM:
        return []
    path = Path(config.weights).expanduser()
    if path.is_file():
        return [path]
    if path.suffix or "/" in config.weights:
        raise ReIDError(f"weights={config.weights}: there is no such file.")
    return [_download(config.backbone, config.weights)]


def load_clip(config: ClipConfig) -> CLIP:
    """A CLIP with its weights, on the CPU, float32, in eval mode.

    Weights are read from safetensors, a state dict, or OpenAI's TorchScript archive; nothing is
    unpickled freely. Raises what `weights_files` raises, and ReIDError for weights that do not fit.
    """
    files = weights_files(config)
    if config.backbone == TINY:
        from methods.parts import tiny_clip

        return tiny_clip.load()
    import open_clip

    with quiet_libraries():
        model = open_clip.create_model(config.backbone, force_quick_gelu=config.quick_gelu)
    for path in files:
        _load_state(model, read_state_dict(path), config.weights)
    return model.eval()


def patch_grid(config: ClipConfig) -> tuple[int, int]:
    """Rows and columns of patches of a config's images, without building the model.

    Raises UnknownName for an unknown backbone, ReIDError for one whose image side has no patches.
    """
    if config.backbone == TINY:
        from methods.parts import tiny_clip

        vision = tiny_clip.CONFIG["vision_cfg"]
    else:
        import open_clip

        known = open_clip.get_model_config(config.backbone)
        if known is None:
            raise UnknownName("CLIP backbone", config.backbone, [TINY, *open_clip.list_models()])
        vision = known["vision_cfg"]
    patch = vision.get("patch_size")
    if not patch or isinstance(vision.get("layers"), list | tuple):
        raise ReIDError(f"backbone={config.backbone}: its image side is not a vision transformer.")
    height, width = (patch, patch) if isinstance(patch, int) else patch
    return config.image_size[0] // height, config.image_size[1] // width


def image_encoder(clip: CLIP, size: tuple[int, int]) -> VisionTransformer:
    """The vision transformer of a CLIP, for images of `size` (height, width).

    The patch convolution is frozen (MUVA section 4.2). Raises ReIDError for a size that is no
    multiple of the patch, or a CLIP whose image side is no vision transformer.
    """
    visual = clip.visual
    if not hasattr(visual, "positional_embedding") or not hasattr(visual, "conv1"):
        raise ReIDError("The image side of this backbone is not a vision transformer of open_clip.")
    patch = visual.patch_size
    if size[0] % patch[0] or size[1] % patch[1]:
        raise ReIDError(
            f"image_size {size[0]}x{size[1]} is no multiple of the patch {patch[0]}x{patch[1]}: "
            "choose a height and a width that are."
        )
    grid = (size[0] // patch[0], size[1] // patch[1])
    positions = resize_positions(visual.positional_embedding.detach(), visual.grid_size, grid)
    visual.positional_embedding = nn.Parameter(positions)
    visual.image_size, visual.grid_size = size, grid
    visual.conv1.requires_grad_(False)
    return visual


def resize_positions(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Positional embeddings [1 + old patches, D] resampled to another patch grid.

    The first row (CLS) is kept; the grid is bilinear, align_corners false, no antialiasing.
    """
    if tuple(old) == tuple(new):
        return positions.clone()
    cls, patches = positions[:1], positions[1:]
    image = patches.reshape(1, *old, -1).permute(0, 3, 1, 2)
    image = functional.interpolate(image, size=new, mode="bilinear", align_corners=False)
    return torch.cat([cls, image.permute(0, 2, 3, 1).reshape(new[0] * new[1], -1)])


def read_state_dict(path: Path) -> Mapping[str, Tensor]:
    """The state dict in a safetensors file, a torch file, or a TorchScript archive.

    Torch files are read with `weights_only`, so they can't run code. Raises ReIDError for a file
    that holds no state dict.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if _is_torchscript(path):
            with warnings.catch_warnings():
                # deprecated, but it is how OpenAI's files are made
                warnings.simplefilter("ignore", FutureWarning)
                return torch.jit.load(str(path), map_location="cpu").float().state_dict()
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own words recommend to read it without protection
        raise ReIDError(
            f"{path} holds more than tensors, so it was not read: such a file can run code. "
            "Save the state dict alone, as safetensors for example."
        ) from error
    except Exception as error:
        raise ReIDError(
            f"{path} could not be read as weights (safetensors, a state dict, or OpenAI's "
            f"TorchScript archive): {error}"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ReIDError(f"{path} holds no state dict (names with tensors).")
    return {k.removeprefix("module."): v for k, v in state.items()}


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


@cache
def _download(backbone: str, tag: str) -> Path:
    """The file of an open_clip tag, from its cache or fetched; asked for once a process."""
    import open_clip
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg

    config = get_pretrained_cfg(backbone, tag)
    if not config:
        tags = open_clip.list_pretrained_tags_by_model(backbone)
        raise UnknownName(f"weights for {backbone}", tag, [*tags, RANDOM], "Or give a path.")
    try:
        # the libraries log a warning for each retry; one message of ours says more
        with quiet_libraries():
            return Path(download_pretrained(config))
    except Exception as error:
        source = config.get("url") or "https://huggingface.co/" + config.get("hf_hub", "").strip(
            "/"
        )
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ReIDError(
            f"The weights {tag!r} of {backbone} are not on this machine and could not be fetched "
            f"({reason}). Get them where there is a network, from {source}, then give the file: "
            f"--set weights=/path/to/{backbone}.safetensors (.pt works too). "
            "To try things out without them: --preset tiny, or --set weights=random."
        ) from error


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Without what other libraries log of loading and of every retry of a download."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _load_state(model: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    wanted = model.state_dict()
    usable = {k: v for k, v in state.items() if k in wanted}
    wrong = [k for k, v in usable.items() if v.shape != wanted[k].shape]
    missing = sorted(set(wanted) - set(usable) - {"attn_mask"})
    if wrong or missing:
        detail = (
            f"{wrong[0]} is {list(state[wrong[0]].shape)}, expected {list(wanted[wrong[0]].shape)}"
            if wrong
            else f"{missing[0]} is missing ({len(missing)} of {len(wanted)} are)"
        )
        raise ReIDError(f"weights={name} do not fit this backbone: {detail}.")
    model.load_state_dict(usable, strict=False)
