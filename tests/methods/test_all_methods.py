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

    def losses(self, outputs, batch):
        self.steps += 1
        return {"id": super().losses(outputs, batch)["id"] * self.steps}


class ForgetfulMethod(VisionOnly):
    def stages(self):
        return [ForgetsState(self)]


class LooksAround(IdentityStage):
    """What it computes of an image depends on the images beside it."""

    def forward(self, batch):
        features = super().forward(batch)["features"]
        return {"features": features - features.mean(0)}


class LooksAroundMethod(VisionOnly):
    def stages(self):
        return [LooksAround(self)]


class Normalises(IdentityStage):
    """Its BN neck is where a part of a batch would be normalised on its own."""

    def forward(self, batch):
        return {"features": self.method.neck_features(batch.images)}


class NormalisesMethod(VisionOnly):
    def stages(self):
        return [Normalises(self)]


class CountsImages(IdentityStage):
    """Right for a batch that comes whole, and for no other."""

    def forward(self, batch):
        self.size = len(batch)
        return super().forward(batch)

    def losses(self, outputs, batch):
        return {"id": super().losses(outputs, batch)["id"] * self.size}


class CountsImagesMethod(VisionOnly):
    def stages(self):
        return [CountsImages(self)]


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
        (LooksAroundMethod, "forward: features depends on the other images"),
        (NormalisesMethod, "forward: features depends on the other|forward changes bn_neck"),
        (CountsImagesMethod, "when the batch goes through forward in parts"),
        (HidesWeights, "not determined by the state dict"),
    ],
)
def test_the_suite_finds_what_is_wrong(method, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_method(method)
