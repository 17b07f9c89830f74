"""timm's models, with ImageNet's weights, fitted to person images.

One way in for every method on such a backbone: `weights_files` finds the weights, `load_backbone`
gives a module from images to one feature vector each.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import PositiveInt, field_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from methods.interface import MethodConfig
from methods.parts.clip import RANDOM, quiet_libraries, read_state_dict, resize_positions
from protocols.errors import ReIDError, UnknownName

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

IMAGENET = "imagenet"
"""The weights that the literature starts from: the tag of `USUAL`, or timm's own first."""
SCRATCH = "scratch"
"""Another word for `random`: weights that are drawn from the run's seed."""
USUAL: Mapping[str, str] = {
    "resnet50": "tv_in1k",
    "vit_base_patch16_224": "orig_in21k_ft_in1k",
}
"""timm's tags of torchvision's first ResNet-50 (BoT) and of the first ViT-B/16 (TransReID)."""


class ImageNetConfig(MethodConfig):
    """What every method on a timm backbone is configured with.

    `backbone` is a timm model name; `weights` is `imagenet`, a timm tag, the path of a local file,
    or `random`, which `scratch` is read as; `image_size` is (height, width) in pixels.
    """

    backbone: str = "resnet50"
    weights: str = IMAGENET
    image_size: tuple[PositiveInt, PositiveInt] = (256, 128)

    @field_validator("weights")
    @classmethod
    def _one_word(cls, weights: str) -> str:
        # of two words for the same weights a run's identity must hold one
        return RANDOM if weights == SCRATCH else weights


def weights_files(config: ImageNetConfig) -> list[Path]:
    """The file a config's weights are in, fetched if need be; none for `random`.

    Its content is part of a run's identity. Raises ReIDError, saying how to get them, when weights
    can't be had.
    """
    _require_known(config.backbone)
    if config.weights == RANDOM:
        return []
    path = Path(config.weights).expanduser()
    if path.is_file():
        return [path]
    if _is_path(config.weights):
        raise ReIDError(f"weights={config.weights}: there is no such file.")
    return [_download(config.backbone, _tag(config))]


def pixel_statistics(
    config: ImageNetConfig,
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation that images are normalised with: those of the weights' tag.

    ImageNet's for ResNets, 0.5 for the first vision transformers. For a file and for `random`
    they are those of the tag that `imagenet` stands for.
    """
    known = _pretrained(config.backbone, _tag(config))
    (r, g, b), (dr, dg, db) = known.mean, known.std
    return (r, g, b), (dr, dg, db)


def load_backbone(config: ImageNetConfig, drop_path: float = 0.0) -> nn.Module:
    """A timm model with its weights, without its classifier: [B, 3, H, W] to [B, D].

    A ResNet gives its pooled last map, a vision transformer its CLS token behind the last norm, any
    other what timm classifies on. `drop_path` is the rate of stochastic depth. Raises what
    `weights_files` raises, and ReIDError for weights or an image size that do not fit.
    """
    files = weights_files(config)
    import timm

    options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    if _pretrained(config.backbone, _tag(config)).fixed_input_size:
        options["img_size"] = tuple(config.image_size)
    model = timm.create_model(config.backbone, pretrained=False, num_classes=0, **options)
    _require_whole_patches(model, config)
    for path in files:
        _load_state(model, read_state_dict(path), config)
    return model


def feature_width(backbone: nn.Module) -> int:
    """D of what `load_backbone` gives."""
    known: Any = backbone
    return int(getattr(known, "head_hidden_size", None) or known.num_features)


def normalises_batches(backbone: nn.Module) -> bool:
    """Whether an image's features depend, in training, on the images beside it."""
    return any(isinstance(module, _BatchNorm) for module in backbone.modules())


def undo_last_stride(resnet: nn.Module, name: str) -> None:
    """Give a ResNet's last stage stride 1, which doubles height and width of its map, in place.

    `name` is what a message calls it. Raises ReIDError for a backbone whose last stage is unknown.
    """
    unknown = ReIDError(
        f"backbone={name}: last_stride=1 is known for timm's plain ResNets only. "
        "--set last_stride=2 leaves the backbone as it is."
    )
    stage = getattr(resnet, "layer4", None)
    if not isinstance(stage, nn.Sequential):
        raise unknown
    for module in stage[0].modules():
        # a block keeps a note of its stride, which nothing computes with
        if any(module.children()) or getattr(module, "stride", 1) in (1, (1, 1)):
            continue
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
        elif isinstance(module, nn.AvgPool2d):
            # it stands before a 1 x 1 convolution, to do the striding alone
            module.kernel_size = module.stride = 1
        else:
            raise unknown


def _require_known(backbone: str) -> None:
    import timm

    if backbone not in timm.list_models():
        hint = "The names are timm's, without a tag; a tag goes into weights."
        raise UnknownName("backbone", backbone, timm.list_models(), hint)


def _require_whole_patches(model: nn.Module, config: ImageNetConfig) -> None:
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if patch and any(side % p for side, p in zip(config.image_size, patch, strict=True)):
        height, width = config.image_size
        raise ReIDError(
            f"image_size {height}x{width} is no multiple of the patch {patch[0]}x{patch[1]} of "
            f"{config.backbone}: choose a height and a width that are."
        )


def _is_path(weights: str) -> bool:
    path = Path(weights).expanduser()
    return path.is_file() or bool(path.suffix) or "/" in weights


def _tag(config: ImageNetConfig) -> str | None:
    """timm's tag of a config's weights; None for the first that timm knows."""
    if config.weights in (IMAGENET, RANDOM) or _is_path(config.weights):
        return USUAL.get(config.backbone)
    return config.weights


@cache
def _pretrained(backbone: str, tag: str | None) -> PretrainedCfg:
    """What timm knows of a tag. Raises UnknownName for an unknown one."""
    import timm
    from timm.models import PretrainedCfg, get_pretrained_cfg

    _require_known(backbone)
    tags = [name.split(".", 1)[1] for name in timm.list_pretrained(f"{backbone}.*")]
    if tag is not None and tag not in tags:
        raise UnknownName(
            f"weights for {backbone}", tag, [*tags, IMAGENET, RANDOM], "Or give a path."
        )
    known = get_pretrained_cfg(backbone if tag is None else f"{backbone}.{tag}")
    return known or PretrainedCfg()


@cache
def _download(backbone: str, tag: str | None) -> Path:
    """The file of a timm tag, from the hub's cache or fetched; asked for once a process."""
    known = _pretrained(backbone, tag)
    by_hand = (
        f"then give the file: --set weights=/path/to/{backbone}.safetensors (.pth works too, and "
        "torchvision's for a ResNet). To train without them: --set weights=scratch, or try things "
        "out with --preset tiny."
    )
    if not known.hf_hub_id:
        where = known.url or "the model's authors"
        raise ReIDError(
            f"timm has no weights of {backbone} on the hub. Get some from {where}, {by_hand}"
        )
    import huggingface_hub

    file = known.hf_hub_filename or "model.safetensors"
    try:
        # the hub logs a warning for each retry; one message of ours says more
        with quiet_libraries():
            return Path(huggingface_hub.hf_hub_download(known.hf_hub_id, file))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ReIDError(
            f"The weights {known.tag!r} of {backbone} are not on this machine and could not be "
            f"fetched ({reason}). Get {file} where there is a network, from "
            f"https://huggingface.co/{known.hf_hub_id}, {by_hand}"
        ) from error


def _load_state(model: nn.Module, state: Mapping[str, Tensor], config: ImageNetConfig) -> None:
    wanted = model.state_dict()
    usable = {name: value for name, value in state.items() if name in wanted}
    if "pos_embed" in usable:
        usable["pos_embed"] = _positions(usable["pos_embed"], model)
    wrong = [name for name, value in usable.items() if value.shape != wanted[name].shape]
    # files from before torch counted batches have no such counts, and nothing reads them
    missing = [n for n in wanted if n not in usable and not n.endswith("num_batches_tracked")]
    if wrong or missing:
        detail = (
            f"{wrong[0]} is {list(usable[wrong[0]].shape)}, expected {list(wanted[wrong[0]].shape)}"
            if wrong
            else f"{missing[0]} is missing ({len(missing)} of {len(wanted)} are)"
        )
        raise ReIDError(
            f"weights={config.weights} do not fit backbone={config.backbone}: {detail}. Expected "
            "are timm's names and shapes."
        )
    model.load_state_dict(usable, strict=False)


def _positions(positions: Tensor, model: Any) -> Tensor:
    """Positional embeddings [1, n, D] of a square grid for the grid of `model`; else as they are.

    Rows of a CLS token are kept; the grid is bilinear (TransReID's code), as for CLIP's.
    """
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if grid is None or positions.ndim != 3 or positions.shape == model.pos_embed.shape:
        return positions
    prefix = 0 if getattr(model, "no_embed_class", False) else model.num_prefix_tokens
    side = int((positions.shape[1] - prefix) ** 0.5)
    if side * side != positions.shape[1] - prefix:
        return positions
    kept, patches = positions[0, :prefix], positions[0, prefix:].float()
    # its first row, of a CLS token, is not resampled
    resized = resize_positions(torch.cat([patches[:1], patches]), (side, side), grid)[1:]
    return torch.cat([kept, resized.to(kept.dtype)])[None]
