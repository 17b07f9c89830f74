import colorsys

import pytest
import torch

from methods.colour_histogram import ColourHistogram, ColourHistogramConfig, hsv
from methods.interface import Batch, SourceInfo


def test_hsv_equals_the_standard_librarys():
    pixels = torch.rand(1, 3, 20, 10, generator=torch.Generator().manual_seed(0))
    pixels[0, :, 0, 0] = 0.5
    pixels[0, :, 1, 1] = 0.0
    found = hsv(pixels)
    for y in range(20):
        for x in range(10):
            expected = colorsys.rgb_to_hsv(*pixels[0, :, y, x].tolist())
            assert found[0, :, y, x].tolist() == pytest.approx(expected, abs=1e-5)


def test_stripes_and_bins_by_hand():
    config = ColourHistogramConfig(image_size=(4, 1), stripes=2, bins=(1, 1, 2))
    method = ColourHistogram(config, SourceInfo(0, ()))
    # rows: black, white | white, white; bins: dark, bright
    column = torch.tensor([0.0, 1.0, 1.0, 1.0]).reshape(1, 1, 4, 1).expand(1, 3, 4, 1)
    features = method.encode(Batch(column))["features"]
    assert features[0].tolist() == pytest.approx([0.5**0.5, 0.5**0.5, 0.0, 1.0])
