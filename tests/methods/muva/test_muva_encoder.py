"""AM-MSA and the image encoder against the slow reference: forward and gradients, float64."""

import muva_reference as reference
import pytest
import torch
from muva_small import (
    WIDTH,
    assert_same,
    assert_same_gradients,
    normal,
    reference_encode,
    scatter,
    small_encoder,
    small_images,
    trained,
    weigh,
)
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import nn

from methods.muva.encoder import masked_block
from methods.muva.gating import stripes, visible_tokens
from methods.muva.rmp import MaskPredictionBlock


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize(("norm", "residual"), [(1, 1), (0, 1), (1, 0), (0, 0)])
def test_one_mask_prediction_block(heads, norm, residual):
    block = scatter(MaskPredictionBlock(WIDTH, 6, heads, bool(norm), bool(residual)).double())
    local = normal(2, 3, WIDTH).requires_grad_()
    patches = normal(2, 6, WIDTH, seed=1).requires_grad_()
    state = dict(block.named_parameters())
    expected = torch.stack(
        [
            reference.mask_prediction(
                local[b], patches[b], state, heads, bool(norm), bool(residual)
            )
            for b in range(2)
        ]
    )
    found = block(local, patches)
    assert_same(found, expected, "scores")
    parameters = {**state, "local": local, "patches": patches}
    assert_same_gradients(weigh([found]), weigh([expected]), parameters)


CASES = {
    "released": {},
    "plain gelu": {"quick_gelu": False, "rmp_heads": 4},
    "one part": {"parts": 1, "rmp_heads": 1, "grid": (3, 5)},
    "two parts": {"parts": 2, "grid": (2, 3), "patch": (2, 6)},
    "no part": {"parts": 0},
    "one row of patches": {"grid": (1, 5)},
    "paper": {"padding": "local-rows", "shared_positions": True},
    "padding alone": {"padding": "local-rows"},
    "positions alone": {"shared_positions": True, "parts": 2},
    "table 10": {"norm": False, "residual": False},
}


def both(options, given):
    """(encoder, found, expected) for predicted masks or random given ones."""
    encoder = small_encoder(**options)
    images = small_images(encoder)
    R, L = encoder.num_parts, encoder.visual.grid_size[0] * encoder.visual.grid_size[1]
    masks = normal(2, R, L, seed=3) > 0 if given else None
    expected = reference_encode(
        encoder,
        images,
        masks,
        rmp_heads=options.get("rmp_heads", 2),
        activation=reference.quick_gelu if options.get("quick_gelu", True) else reference.gelu,
        padding=options.get("padding", "full"),
        norm=options.get("norm", True),
        residual=options.get("residual", True),
    )
    return encoder, encoder(images, masks), expected


@pytest.mark.parametrize("case", CASES)
def test_the_encoder_with_predicted_masks(case):
    encoder, found, expected = both(CASES[case], given=False)
    assert_same(found.features, expected.features, "f")
    if encoder.num_parts:
        assert_same(found.mask_logits, expected.mask_logits, "M")
        # a mask that is all in or all out would leave the gate untested
        assert 0.1 < (expected.mask_logits > 0).double().mean() < 0.9
    else:
        assert found.mask_logits is None
    assert_same_gradients(
        weigh([found.features, found.mask_logits]),
        weigh([expected.features, expected.mask_logits]),
        trained(encoder),
    )


@pytest.mark.parametrize("case", [c for c in CASES if c != "no part"])
def test_the_encoder_with_given_masks(case):
    encoder, found, expected = both(CASES[case], given=True)
    assert found.mask_logits is None
    assert_same(found.features, expected.features, "f")
    assert_same_gradients(weigh([found.features]), weigh([expected.features]), trained(encoder))


def test_scores_add_up_over_layers():
    """M_l = M_(l-1) + what layer l says: with the last layer silenced, M_L = M_(L-1)."""
    encoder = small_encoder()
    for parameter in encoder.mask_predictor[-1].mlp[2].parameters():
        parameter.data.zero_()
    logits = encoder(small_images(encoder)).mask_logits
    assert torch.equal(logits[-1], logits[-2])
    assert logits[0].abs().sum() > 0


def test_stripes_take_the_place_of_predictions():
    grid = (4, 2)
    bands = stripes(3, (0, 1, 2), grid)
    encoder = small_encoder(grid=grid, stripes=bands)
    assert not list(encoder.mask_predictor.parameters())
    images = small_images(encoder)
    expected = reference_encode(
        encoder,
        images,
        bands.expand(2, -1, -1),
        rmp_heads=2,
        activation=reference.quick_gelu,
    )
    found = encoder(images)
    assert found.mask_logits is None
    assert_same(found.features, expected.features, "f")


def test_stripes_by_hand():
    """Every patch is in one band; 4 rows of 2 in three bands, 2 rows: the middle one is empty."""
    four = stripes(3, (0, 1, 2), (4, 2))
    assert four.int().tolist() == [
        [1, 1, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, 1],
    ]
    sixteen = stripes(3, (0, 1, 2), (16, 8)).sum(1)
    assert sixteen.tolist() == [5 * 8, 6 * 8, 5 * 8]
    assert torch.equal(stripes(3, (2,), (16, 8))[0], stripes(3, (0, 1, 2), (16, 8))[2])


def test_the_attention_table_by_hand():
    """Tokens CLS, a, b, 1, 2. First image: a = {1}, b = {1, 2}; second: a = {1}, b empty."""
    masks = torch.tensor([[[1, 0], [1, 1]], [[1, 0], [0, 0]]]).bool()
    #   CLS a  b  1  2
    full = [
        [
            [1, 1, 1, 1, 1],
            [1, 1, 0, 1, 0],
            [1, 0, 1, 1, 1],
            [1, 1, 1, 1, 1],
            [1, 0, 1, 1, 1],
        ],
        [
            [1, 1, 1, 1, 1],
            [1, 1, 0, 1, 0],
            [1, 0, 1, 0, 0],
            [1, 1, 0, 1, 1],
            [1, 0, 0, 1, 1],
        ],
    ]
    local_rows = [
        [
            [1, 1, 1, 1, 1],
            [1, 1, 1, 1, 0],
            [1, 1, 1, 1, 1],
            [1, 1, 1, 1, 1],
            [1, 1, 1, 1, 1],
        ],
        [
            [1, 1, 1, 1, 1],
            [1, 1, 1, 1, 0],
            [1, 1, 1, 0, 0],
            [1, 1, 1, 1, 1],
            [1, 1, 1, 1, 1],
        ],
    ]
    for padding, table in (("full", full), ("local-rows", local_rows)):
        assert visible_tokens(masks, padding).int().tolist() == table
        for b in range(2):
            assert reference.allowed_attention(masks[b], padding).int().tolist() == table[b]


def test_the_gate_opens_strictly_above_the_threshold():
    """P = 0.5 exactly, which is what silenced predictors give, keeps every patch out."""
    encoder = small_encoder()
    for block in encoder.mask_predictor:
        for parameter in block.mlp[2].parameters():
            parameter.data.zero_()
    images = small_images(encoder)
    nothing = torch.zeros(2, 3, 8, dtype=torch.bool)
    assert torch.equal(encoder(images).features, encoder(images, nothing).features)
    encoder.mask_predictor[0].mlp[2].bias.data.fill_(1e-6)
    everything = torch.ones(2, 3, 8, dtype=torch.bool)
    assert torch.equal(encoder(images).features, encoder(images, everything).features)


# ------------------------------------------------------- fast forms equal the plain ones, float32


@pytest.mark.parametrize("heads", [1, 2, 8])
def test_folded_projections_equal_plain_cross_attention(heads):
    """torch's own multi-head attention with the same weights, at the width of a real model."""
    D, R, L = 768, 3, 128
    torch.manual_seed(0)
    cross = MaskPredictionBlock(D, L, heads).cross_attn
    scatter(cross, std=0.04)
    plain = nn.MultiheadAttention(D, heads, batch_first=True)
    weights = [cross.to_q.weight, cross.to_k.weight, cross.to_v.weight]
    plain.in_proj_weight.data.copy_(torch.cat(weights))
    plain.in_proj_bias.data.zero_()
    plain.out_proj.load_state_dict(cross.to_out[0].state_dict())
    local = normal(2, R, D, dtype=torch.float32).requires_grad_()
    patches = normal(2, L, D, seed=1, dtype=torch.float32).requires_grad_()
    found, expected = cross(local, patches), plain(local, patches, patches)[0]
    assert_same(found, expected, "output", 1e-5)
    one = torch.autograd.grad(weigh([found]), [*weights, cross.to_out[0].weight, local, patches])
    other = torch.autograd.grad(
        weigh([expected]), [plain.in_proj_weight, plain.out_proj.weight, local, patches]
    )
    for name, a, b in zip("qkvoxy", one, [*other[0].chunk(3), *other[1:]], strict=True):
        assert_same(a, b, name, 1e-5)


@pytest.mark.parametrize("queries", [None, 4])
def test_one_fused_attention_equals_open_clips_block(queries):
    """open_clip's block takes the mask as an additive one for each head."""
    D, heads, R, L, B = 64, 4, 3, 12, 3
    torch.manual_seed(0)
    block = scatter(ResidualAttentionBlock(D, heads, act_layer=QuickGELU), std=0.1)
    x = normal(B, 1 + R + L, D, dtype=torch.float32).requires_grad_()
    visible = visible_tokens(normal(B, R, L, seed=1) > 0)
    additive = torch.zeros(visible.shape).masked_fill(~visible, -torch.inf)
    expected = block(x, attn_mask=additive.repeat_interleave(heads, dim=0))[:, :queries]
    found = masked_block(block, x, visible, queries)
    assert_same(found, expected, "output", 1e-5)
    parameters = {**trained(block), "x": x}
    for name, a, b in zip(
        parameters,
        torch.autograd.grad(weigh([found]), list(parameters.values())),
        torch.autograd.grad(weigh([expected]), list(parameters.values())),
        strict=True,
    ):
        assert_same(a, b, name, 1e-5)
