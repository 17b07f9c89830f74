"""Parameters to the unit: 751 identities, ViT-B-16 at 256 x 128 (table 13 gives one decimal)."""

import open_clip
import pytest
import torch

from methods.interface import SourceInfo
from methods.muva import method as module
from methods.muva.config import MuvaConfig


@pytest.fixture
def build(monkeypatch):
    """Muva with shapes only: nothing is allocated or drawn."""

    def without_weights(config):
        made = open_clip.get_model_config(config.backbone)
        return open_clip.model.CLIP(**made, quick_gelu=config.quick_gelu)

    monkeypatch.setattr(module, "load_clip", without_weights)

    def muva(**changes):
        with torch.device("meta"):
            config = MuvaConfig(weights="random", **changes)
            return module.Muva(config, SourceInfo(751, ("MA",)))

    return muva


def count(method, prefix=""):
    return sum(p.numel() for n, p in method.named_parameters() if n.startswith(prefix))


def in_inference(method):
    left_out = method.training_only
    return sum(p.numel() for n, p in method.named_parameters() if not n.startswith(left_out))


def test_muva(build):
    method = build()
    parts = {
        "encoder.visual.": 86_142_720,
        "encoder.local_tokens": 2_304,
        "encoder.mask_predictor.": 29_755_392,
        "bn_neck.": 4_096,
        "text.encoder.": 38_131_200,
        "text.prompts": 6_152_192,
        "classifier.": 1_538_048,
    }
    assert {prefix: count(method, prefix) for prefix in parts} == parts
    assert in_inference(method) == 115_904_512
    assert count(method) == 161_725_952 == sum(parts.values())


@pytest.mark.parametrize(
    ("changes", "inference", "training"),
    [
        ({"parts": ()}, 86_141_440, 126_195_200),
        ({"language": False}, 115_904_512, 117_442_560),
    ],
    ids=["without AM-MSA", "without language"],
)
def test_table_13s_variants(build, changes, inference, training):
    method = build(**changes)
    assert (in_inference(method), count(method)) == (inference, training)


def test_the_paper_shares_the_positions_of_local_tokens(build):
    """Three rows of 768 fewer."""
    assert count(build()) - count(build(fidelity="paper")) == 3 * 768


@pytest.mark.parametrize("heads", [1, 2, 4, 8, 16])
def test_heads_cost_no_parameters(build, heads):
    assert count(build(rmp_heads=heads)) == 161_725_952
