"""Every switch of tables 5-12 by its published name, and the two fidelities."""

import functools

import pytest
import torch
from muva_source import SIZE, SmallSource, tiny_muva
from torch import nn

from harness.config import make_config, parse_overrides
from methods.interface import SourceInfo
from methods.muva.config import MuvaConfig
from methods.muva.method import Muva
from protocols.errors import ReIDError

DIFFERENCES = {
    "": {},
    "parts=": {"parts": ()},
    "parts=head": {"parts": ("head",)},
    "parts=upper": {"parts": ("upper",)},
    "parts=legs": {"parts": ("legs",)},
    "parts=head,upper": {"parts": ("head", "upper")},
    "parts=head,legs": {"parts": ("head", "legs")},
    "parts=upper,legs": {"parts": ("upper", "legs")},
    "language=off parts=": {"language": False, "parts": ()},
    "language=off": {"language": False},
    "prompt=part-agnostic": {"prompt": "part-agnostic"},
    "prompt=domain-specific": {"prompt": "domain-specific"},
    "partition=stripes": {"partition": "stripes"},
    "calibration=off": {"calibration": False},
    "rmp_layer_norm=off rmp_residual=off": {"rmp_layer_norm": False, "rmp_residual": False},
    "rmp_residual=off": {"rmp_residual": False},
    "rmp_layer_norm=off": {"rmp_layer_norm": False},
    "random_crop_erase=on": {"random_crop_erase": True},
    "rmp_heads=1": {"rmp_heads": 1},
    "rmp_heads=2": {"rmp_heads": 2},
    "rmp_heads=4": {"rmp_heads": 4},
    "rmp_heads=8": {"rmp_heads": 8},
    "rmp_heads=16": {"rmp_heads": 16},
}
"""`difference_from_muva` of the published ablations, and what each is to mean."""


@functools.cache
def built(text):
    overrides = {**parse_overrides(text.split()), "image_size": SIZE}
    config = make_config("muva", Muva, "tiny", overrides)
    torch.manual_seed(0)
    return Muva(config, SourceInfo(4, ("MA",)))


@pytest.mark.parametrize("text", DIFFERENCES)
def test_every_published_difference_is_a_config_that_builds(text):
    method, expected = built(text), DIFFERENCES[text]
    plain = MuvaConfig(**{**Muva.presets["tiny"], "image_size": SIZE})
    assert method.config == plain.model_copy(update=expected)
    with torch.no_grad():
        images = SmallSource([0, 1]).images
        width = (1 + len(method.config.parts)) * 128
        assert method.eval().encoder(images).features.shape == (2, width)


def test_what_the_differences_build():
    whole = built("")
    assert (whole.text.prompts.shape[1], whole.encoder.num_parts) == (4, 3)
    assert len(whole.encoder.mask_predictor) == 4
    assert built("language=off").text is None
    assert len(built("language=off").stages()) == 1
    assert built("parts=").encoder.num_parts == 0
    assert built("parts=").text.prompts.shape[1] == 1
    assert built("parts=head,legs").part_rows == (0, 2)
    assert len(built("partition=stripes").encoder.mask_predictor) == 0
    thirds = built("partition=stripes").encoder.stripes.int().tolist()
    assert thirds == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]
    assert built("partition=stripes parts=legs").encoder.stripes.int().tolist() == thirds[2:]
    bare = built("rmp_layer_norm=off rmp_residual=off").encoder.mask_predictor[0]
    assert not [m for m in bare.modules() if isinstance(m, nn.LayerNorm)]
    assert not bare.residual
    assert built("rmp_layer_norm=off").encoder.mask_predictor[0].residual
    assert built("rmp_heads=16").encoder.mask_predictor[0].cross_attn.heads == 16
    train = built("random_crop_erase=on").transforms().train
    assert (train.pad, train.erase) == (10, 0.5)
    train = whole.transforms().train
    assert (train.pad, train.erase, train.flip, train.interpolation) == (0, 0, 0.5, "bicubic")
    plain = whole.transforms().eval
    assert (plain.pad, plain.erase, plain.flip, plain.interpolation) == (0, 0, 0, "bilinear")
    assert plain.mean == plain.std == (0.5, 0.5, 0.5)


def test_what_training_is_told_of_parts():
    assert Muva.part_needs(built("").config).grid == (3, 2)
    assert Muva.part_needs(built("").config).calibrate
    assert not Muva.part_needs(built("calibration=off").config).calibrate
    assert Muva.part_needs(built("partition=stripes").config) is None
    assert Muva.part_needs(built("parts=").config) is None


def test_parts_are_a_set_in_the_papers_order():
    assert MuvaConfig(parts="legs, head").parts == ("head", "legs")
    with pytest.raises(ReIDError, match="parts"):
        make_config("muva", Muva, "tiny", {"parts": "head,feet"})


@pytest.mark.parametrize(
    ("domains", "heads"),
    [(("MA",), 2), (("D",), 2), (("C3",), 2), (("MS",), 8), (("MA", "D", "C3"), 8)],
)
def test_heads_by_protocol(domains, heads):
    method = tiny_muva(domains=domains)
    assert {b.cross_attn.heads for b in method.encoder.mask_predictor} == {heads}


DOCUMENTED = {
    "i2t_similarity": ("cosine", "dot"),
    "label_smoothing": (0.0, 0.1),
    "dice": ("per-patch", "soft"),
    "rmp_weight_decay": (1e-4, 0.0),
    "local_positions": ("shared", "separate"),
    "stage1_batches": ("identities", "pk"),
    "attention_padding": ("local-rows", "full"),
    "bn_momentum": (0.1, 0.19),
}
"""(paper, released) of every key of the fidelity table."""


@pytest.mark.parametrize("key", DOCUMENTED)
def test_each_fidelity_key(key):
    paper, released = DOCUMENTED[key]
    assert MuvaConfig().fidelity == "released"
    assert MuvaConfig().chosen(key) == released
    assert MuvaConfig(fidelity="paper").chosen(key) == paper
    # each alone, in both directions, and nothing else moves
    for fidelity, value in (("released", paper), ("paper", released)):
        alone = MuvaConfig(fidelity=fidelity, **{key: value})
        assert alone.chosen(key) == value
        for other in DOCUMENTED.keys() - {key}:
            assert alone.chosen(other) == MuvaConfig(fidelity=fidelity).chosen(other)


def test_the_fidelity_table_is_whole():
    assert set(MuvaConfig.differences) == set(DOCUMENTED)


def test_what_each_fidelity_builds():
    for fidelity, at in (("paper", 0), ("released", 1)):
        method = tiny_muva(fidelity=fidelity)
        assert method.encoder.shared_positions == (DOCUMENTED["local_positions"][at] == "shared")
        assert method.encoder.padding == DOCUMENTED["attention_padding"][at]
        assert method.bn_neck.momentum == DOCUMENTED["bn_momentum"][at]
        rmp = method.stages()[1].optimizer().param_groups[1]
        assert rmp["weight_decay"] == DOCUMENTED["rmp_weight_decay"][at]


def test_initial_values():
    """Section 2, 3 and 4.2: what the new weights are drawn from."""
    torch.manual_seed(0)
    method = Muva(
        MuvaConfig(**{**Muva.presets["tiny"], "image_size": SIZE, "rmp_init_std": 0.02}),
        SourceInfo(50, ("MA",)),
    )
    drawn = {
        "prompts": (method.text.prompts, 0.002),
        "local": (method.encoder.local_tokens, 0.02),
        "to_k": (method.encoder.mask_predictor[0].cross_attn.to_k.weight, 0.02),
        "mlp": (method.encoder.mask_predictor[3].mlp[0].weight, 0.02),
        "classifier": (method.classifier.weight, 0.001),
    }
    for name, (weight, std) in drawn.items():
        assert weight.std().item() == pytest.approx(std, rel=0.15), name
    for block in method.encoder.mask_predictor:
        assert not block.mlp[0].bias.any()
        assert not block.mlp[2].bias.any()
    rows = method.encoder.visual.positional_embedding
    assert rows.shape[0] == 1 + 3 + 6
    assert all(torch.equal(rows[i], rows[0]) for i in range(1, 4))
    assert not torch.equal(rows[4], rows[0])


@pytest.mark.parametrize(
    "typed",
    [
        ["language=off", "prompt=part-agnostic"],
        ["partition=stripes", "rmp_heads=4"],
        ["parts=", "rmp_layer_norm=off"],
        ["partition=stripes", "part_labels=boxes.safetensors"],
    ],
)
def test_a_switch_without_effect_is_refused(typed):
    with pytest.raises(ReIDError, match="does nothing with"):
        make_config("muva", Muva, "tiny", parse_overrides(typed))
