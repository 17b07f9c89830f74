"""MUVA written slowly from its equations: what the implementation is compared with.

One image, one head, one sentence at a time; no fused attention, no cut sentences, no folded
projections. Weights come in as `state`, a name -> tensor mapping in the names of CLIP and of the
authors' checkpoints, so that gradients flow to the very parameters of the model under test.

L patches, R parts, D width, E width of the joint space, C identities, T = 1 + R + L tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

State = Mapping[str, Tensor]
Activation = Callable[[Tensor], Tensor]


# ------------------------------------------------------------------------------- small pieces


def under(state: State, prefix: str) -> dict[str, Tensor]:
    """The entries whose names start with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), CLIP's."""
    return x / (1 + torch.exp(-1.702 * x))


def gelu(x: Tensor) -> Tensor:
    """x * Phi(x)."""
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def layer_norm(x: Tensor, state: State, name: str) -> Tensor:
    """Over the last axis, eps 1e-5."""
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(x: Tensor, state: State, name: str) -> Tensor:
    """x W^T, and + b where there is one."""
    y = x @ state[f"{name}.weight"].T
    return y + state[f"{name}.bias"] if f"{name}.bias" in state else y


def unit(x: Tensor) -> Tensor:
    """x / ||x|| of every row."""
    return x / (x * x).sum(-1, keepdim=True).sqrt()


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, allowed: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D / heads) + A) v, head by head; A is 0 where allowed, else -inf.

    q: [Q, D]; k, v: [K, D]; allowed: [Q, K] bool. Returns [Q, D].
    """
    size = q.shape[1] // heads
    outputs = []
    for h in range(heads):
        own = slice(h * size, (h + 1) * size)
        scores = q[:, own] @ k[:, own].T / math.sqrt(size)
        additive = torch.zeros_like(scores).masked_fill(~allowed, -math.inf)
        outputs.append(torch.softmax(scores + additive, dim=1) @ v[:, own])
    return torch.cat(outputs, dim=1)


def transformer_block(
    x: Tensor, state: State, heads: int, allowed: Tensor, activation: Activation
) -> Tensor:
    """A pre-norm block of CLIP on one sequence [T, D]; allowed: [T, T]."""
    y = layer_norm(x, state, "ln_1")
    q, k, v = (y @ state["attn.in_proj_weight"].T + state["attn.in_proj_bias"]).chunk(3, dim=1)
    x = x + linear(attend(q, k, v, heads, allowed), state, "attn.out_proj")
    y = activation(linear(layer_norm(x, state, "ln_2"), state, "mlp.c_fc"))
    return x + linear(y, state, "mlp.c_proj")


# ---------------------------------------------------------------------------- AM-MSA (3.2)


def mask_prediction(
    local: Tensor,
    patches: Tensor,
    state: State,
    heads: int,
    norm: bool = True,
    residual: bool = True,
) -> Tensor:
    """MLP(LN(CrossAttn(LN(r), LN(F)) + r)) of Eq. 5, before M_(l-1) is added, for one image.

    local: r [R, D]; patches: F [L, D]. Returns [R, L]. Without `norm` every LN is left out; without
    `residual` the "+ r" is (table 10).
    """

    def ln(x: Tensor, name: str) -> Tensor:
        return layer_norm(x, state, name) if norm else x

    seen = ln(patches, "ln_attn2")
    q = linear(ln(local, "ln_attn1"), state, "cross_attn.to_q")
    k = linear(seen, state, "cross_attn.to_k")
    v = linear(seen, state, "cross_attn.to_v")
    everything = torch.ones(len(local), len(patches), dtype=torch.bool)
    y = linear(attend(q, k, v, heads, everything), state, "cross_attn.to_out.0")
    if residual:
        y = y + local
    return linear(quick_gelu(linear(ln(y, "ln_mlp"), state, "mlp.0")), state, "mlp.2")


def allowed_attention(masks: Tensor, padding: str) -> Tensor:
    """Who may look at whom in one image. masks: [R, L] bool. Returns [T, T] bool, query x key.

    `full` is the released code's table; `local-rows` the paper's Pad(A), which closes nothing but
    a part's own view of the patches outside its mask.
    """
    parts, patches = masks.shape
    total = 1 + parts + patches
    table = torch.ones(total, total, dtype=torch.bool)
    for p in range(parts):
        for i in range(patches):
            inside = bool(masks[p, i])
            table[1 + p, 1 + parts + i] = inside
            if padding == "full":
                table[1 + parts + i, 1 + p] = inside
        for other in range(parts):
            if padding == "full" and other != p:
                table[1 + p, 1 + other] = False
    return table


def encode_images(
    images: Tensor,
    clip: State,
    local_token: Tensor,
    local_positions: Tensor,
    mask_predictors: Sequence[State],
    *,
    patch: tuple[int, int],
    layers: int,
    heads: int,
    rmp_heads: int,
    activation: Activation,
    masks: Tensor | None = None,
    padding: str = "full",
    norm: bool = True,
    residual: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """The image encoder with AM-MSA in every layer (section 3.2).

    images: [B, 3, H, W]; clip: CLIP's visual weights, positions [1 + L, D] of CLS and patches;
    local_token, local_positions: [R, D]; mask_predictors: one state a layer; masks: [B, R, L] to
    use in place of predictions. Returns f [B, (1 + R) E], and M [layers, B, R, L] if predicted.
    """
    parts = len(local_token)
    features, all_scores = [], []
    for b, image in enumerate(images):
        x = embed(image, clip, local_token, local_positions, patch)
        scores = torch.zeros(parts, len(x) - 1 - parts, dtype=x.dtype)
        of_layers = []
        for layer in range(layers):
            if masks is None and parts:
                local, patches = x[1 : 1 + parts], x[1 + parts :]
                predictor = mask_predictors[layer]
                scores = scores + mask_prediction(
                    local, patches, predictor, rmp_heads, norm, residual
                )
                of_layers.append(scores)
                mask = torch.sigmoid(scores.detach()) > 0.5  # Eq. 6
            else:
                mask = masks[b] if masks is not None else scores > 0
            block = under(clip, f"transformer.resblocks.{layer}.")
            x = transformer_block(x, block, heads, allowed_attention(mask, padding), activation)
        x = layer_norm(x[: 1 + parts], clip, "ln_post") @ clip["proj"]
        features.append(torch.cat(list(x)))
        if of_layers:
            all_scores.append(torch.stack(of_layers))
    f = torch.stack(features)
    return f, (torch.stack(all_scores, dim=1) if all_scores else None)


def embed(
    image: Tensor,
    clip: State,
    local_token: Tensor,
    local_positions: Tensor,
    patch: tuple[int, int],
) -> Tensor:
    """[CLS, parts, patches row by row] with positions, after ln_pre: [T, D]."""
    kernel = clip["conv1.weight"].flatten(1)
    height, width = patch
    patches = []
    for top in range(0, image.shape[1], height):
        for left in range(0, image.shape[2], width):
            square = image[:, top : top + height, left : left + width]
            patches.append(kernel @ square.flatten())
    cls = (clip["class_embedding"] + clip["positional_embedding"][0])[None]
    local = local_token + local_positions
    grid = torch.stack(patches) + clip["positional_embedding"][1:]
    return layer_norm(torch.cat([cls, local, grid]), clip, "ln_pre")


# ---------------------------------------------------------------------------- prompts (3.1.1)


def encode_prompts(
    prompts: Tensor,
    tokens: Tensor,
    clip: State,
    *,
    first: int,
    heads: int,
    layers: int,
    activation: Activation,
) -> Tensor:
    """t of every identity, from whole sentences of the text encoder's full context length.

    prompts: [C, G, N, W] learnable vectors; tokens: [C, G, context] ids, whose positions `first` to
    `first` + N - 1 hold placeholders; clip: CLIP's text weights. Returns [C, G E], unit rows.
    """
    rows = []
    for of_identity, sentences in zip(prompts, tokens, strict=True):
        grains = []
        for vectors, ids in zip(of_identity, sentences, strict=True):
            x = clip["token_embedding.weight"][ids]
            x = torch.cat([x[:first], vectors, x[first + len(vectors) :]])
            x = x + clip["positional_embedding"]
            causal = torch.ones(len(x), len(x), dtype=torch.bool).tril()
            for layer in range(layers):
                block = under(clip, f"transformer.resblocks.{layer}.")
                x = transformer_block(x, block, heads, causal, activation)
            end = int(ids.argmax())  # the end-of-text token has the largest id
            grains.append(layer_norm(x, clip, "ln_final")[end] @ clip["text_projection"])
        rows.append(torch.cat(grains))
    return unit(torch.stack(rows))
