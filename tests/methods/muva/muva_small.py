"""Small random models and comparisons for the tests of MUVA."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import muva_reference as reference
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor, nn

from methods.muva.encoder import Encoded, PartEncoder
from methods.muva.rmp import MaskPredictionBlock

WIDTH, LAYERS, HEADS, JOINT = 16, 2, 2, 6


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def scatter(module: nn.Module, seed: int = 0, std: float = 0.3) -> nn.Module:
    """Move every weight away from its initial value, so that none is 0 or 1 by chance."""
    for i, (_, parameter) in enumerate(sorted(module.named_parameters())):
        noise = normal(*parameter.shape, seed=1000 * seed + i, dtype=parameter.dtype)
        parameter.data.add_(noise, alpha=std)
    return module


def small_encoder(
    parts: int = 3,
    grid: tuple[int, int] = (4, 2),
    patch: tuple[int, int] = (4, 4),
    *,
    rmp_heads: int = 2,
    quick_gelu: bool = True,
    norm: bool = True,
    residual: bool = True,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    **options: object,
) -> PartEncoder:
    """A PartEncoder of two layers with weights from `seed`."""
    visual = VisionTransformer(
        image_size=(grid[0] * patch[0], grid[1] * patch[1]),
        patch_size=patch,
        width=WIDTH,
        layers=LAYERS,
        heads=HEADS,
        mlp_ratio=2.0,
        output_dim=JOINT,
        act_layer=QuickGELU if quick_gelu else nn.GELU,
    )
    encoder = PartEncoder(
        visual,
        parts,
        lambda width, patches: MaskPredictionBlock(width, patches, rmp_heads, norm, residual),
        **options,
    )
    return scatter(encoder.to(dtype), seed)


def small_images(encoder: PartEncoder, count: int = 2, seed: int = 7) -> Tensor:
    dtype = encoder.visual.proj.dtype
    return normal(count, 3, *encoder.visual.image_size, seed=seed, dtype=dtype)


def reference_encode(
    encoder: PartEncoder, images: Tensor, masks: Tensor | None = None, **options: object
) -> Encoded:
    """The reference's answer with the very parameters of `encoder`, so gradients reach them."""
    clip = dict(encoder.visual.named_parameters())
    rows, R = clip["positional_embedding"], encoder.num_parts
    if encoder.shared_positions:
        local_positions = rows[:1].expand(R, -1)
    else:
        local_positions = rows[1 : 1 + R]
        clip["positional_embedding"] = torch.cat([rows[:1], rows[1 + R :]])
    found = reference.encode_images(
        images,
        clip,
        encoder.local_tokens if R else rows[:0],
        local_positions,
        [dict(block.named_parameters()) for block in encoder.mask_predictor],
        patch=encoder.visual.patch_size,
        layers=len(encoder.visual.transformer.resblocks),
        heads=encoder.visual.transformer.resblocks[0].attn.num_heads,
        masks=masks,
        **options,
    )
    return Encoded(*found)


def trained(module: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def gradients(loss: Tensor, parameters: Iterable[Tensor]) -> list[Tensor]:
    """d loss / d each parameter; zeros where the loss does not depend on it."""
    parameters = list(parameters)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def assert_same(found: Tensor, expected: Tensor, what: str = "", tolerance: float = 1e-10) -> None:
    """Equal to `tolerance` of the largest expected value; where that is 0, exactly 0."""
    assert found.shape == expected.shape, f"{what}: {found.shape}, expected {expected.shape}"
    assert torch.isfinite(found).all(), f"{what} is not finite"
    if expected.numel():
        found, expected = found.detach(), expected.detach()
        error, scale = float((found - expected).abs().max()), float(expected.abs().max())
        assert error <= tolerance * scale, f"{what}: off by {error:.2g}, largest value {scale:.2g}"


def assert_same_gradients(
    found: Tensor, expected: Tensor, parameters: dict[str, Tensor], tolerance: float = 1e-10
) -> None:
    """Two scalars are equal, and so are their gradients in all of `parameters`."""
    assert_same(found, expected, "loss", tolerance)
    pairs = zip(
        parameters,
        gradients(found, parameters.values()),
        gradients(expected, parameters.values()),
        strict=True,
    )
    for name, one, other in pairs:
        assert_same(one, other, name, tolerance)


def weigh(tensors: Sequence[Tensor | None], seed: int = 99) -> Tensor:
    """One scalar that depends on every entry of all tensors, each in its own way."""
    given = [t for t in tensors if t is not None]
    return torch.stack(
        [(t * normal(*t.shape, seed=seed + i).to(t.dtype)).sum() for i, t in enumerate(given)]
    ).sum()
