"""Every registered method passes the conformance suite, and the suite itself can fail."""

import pytest
import torch

from harness.testing import check_method
from methods import registry
from methods.colour_histogram import ColourHistogram
from methods.interface import Batch
from methods.vision_only import IdentityStage, VisionOnly


@pytest.mark.parametrize("name", registry.locations())
def test_conforms(name):
    check_method(name)


class DependsOnBatch(ColourHistogram):
    def encode(self, batch: Batch):
        features = super().encode(batch)["features"]
        return {"features": features - features.mean(0)}


class Random(ColourHistogram):
    def encode(self, batch: Batch):
        return {"features": torch.rand(len(batch.images), 8)}


class ForgetsState(IdentityStage):
    """Keeps something from epoch to epoch that it does not save."""

    steps = 0

    def losses(self, batch):
        self.steps += 1
        return {"id": super().losses(batch)["id"] * self.steps}


class ForgetfulMethod(VisionOnly):
    def stages(self):
        return [ForgetsState(self)]


class HidesWeights(VisionOnly):
    def __init__(self, config, sources):
        super().__init__(config, sources)
        self.scale = [torch.rand(self.image_encoder.output_dim)]

    def encode(self, batch: Batch):
        return {"features": super().encode(batch)["features"] * self.scale[0]}


@pytest.mark.parametrize(
    ("method", "complaint"),
    [
        (DependsOnBatch, "depends on the other images"),
        (Random, "differs when encoded again"),
        (ForgetfulMethod, "differs"),
        (HidesWeights, "not determined by the state dict"),
    ],
)
def test_the_suite_finds_what_is_wrong(method, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_method(method)
