"""Lets the tests of this folder import the reference and the small models beside them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def small_resnet(tmp_path_factory):
    """`RN-small`, a ResNet that open_clip knows by name while the tests of a file run."""
    import json

    import open_clip
    from open_clip import factory

    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}
    values = {"embed_dim": 12, "vision_cfg": vision | {"patch_size": None}, "text_cfg": text}
    path = tmp_path_factory.mktemp("open_clip") / "RN-small.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    open_clip.add_model_config(path)
    yield {"backbone": "RN-small", "weights": "random", "image_size": (64, 32)}
    path.unlink()
    factory._MODEL_CONFIG_PATHS.remove(path)
    factory._rescan_model_configs()
