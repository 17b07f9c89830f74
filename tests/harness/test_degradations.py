"""Degraded images: the same everywhere, worse at every level, and as much covered as is said."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from harness.commands.show_degradations import DegradationsRequest, degradations_command
from harness.degradations import COVERED, FACTORS, degrade
from harness.occluders import occlude
from harness.seeds import generator
from protocols.errors import ReIDError, UnknownName
from protocols.variants import KINDS, LEVELS, Degradation

GOLDEN = {
    "occluded": "1d5eca831a0b2383",
    "blurred": "a79f1f66fc614374",
    "low-resolution": "cdee5f8075e6d67e",
    "light": "3ca14ef14400a8d1",
}
"""Beginning of the SHA-256 of all levels of a picture; another one needs a new VERSION."""


def picture(width=64, height=128, seed=0):
    """Spots of colour, and noise."""
    rng = np.random.default_rng(seed)
    spots = Image.fromarray(rng.integers(40, 220, (23, 11, 3), dtype=np.uint8))
    noise = rng.integers(-30, 31, (height, width, 3))
    pixels = np.asarray(spots.resize((width, height))) + noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def degraded(kind, image, name="a.jpg"):
    """All levels [5, H, W, 3]."""
    found = [degrade(image, Degradation(kind, level), name) for level in LEVELS]
    return np.stack([np.asarray(one) for one in found])


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_name_is_the_same_image_and_the_original_stays(kind):
    image = picture()
    before = image.tobytes()
    first = degraded(kind, image)
    assert image.tobytes() == before
    assert np.array_equal(first, degraded(kind, picture()))
    both = degrade(image, Degradation(kind, 3, both=True), "a.jpg")
    assert np.array_equal(first[2], np.asarray(both))


@pytest.mark.parametrize("kind", KINDS)
def test_every_level_is_worse_than_the_one_before_on_average(kind):
    errors = np.zeros(len(LEVELS))
    for i in range(12):
        image = picture(seed=i)
        pixels = np.asarray(image).astype(float)
        errors += ((degraded(kind, image, f"{i}.jpg") - pixels) ** 2).mean((1, 2, 3)) ** 0.5 / 12
    assert errors[0] > 1 and (np.diff(errors) > 0.02 * errors[-1]).all(), errors


@pytest.mark.parametrize("kind", GOLDEN)
def test_pixels_are_those_of_this_version(kind):
    """Of machines and of releases of numpy and Pillow; JPEG is the encoder's."""
    found = b"".join(degraded(kind, picture(), f"{i}.jpg").tobytes() for i in range(8))
    assert hashlib.sha256(found).hexdigest()[:16] == GOLDEN[kind]


@pytest.mark.parametrize("kind", ("occluded", "blurred", "light"))
def test_another_name_is_another_draw(kind):
    names = {degraded(kind, picture(), f"{i}.jpg")[4].tobytes() for i in range(8)}
    # lines of motion end on whole pixels; of light there are two: darker and brighter
    assert len(names) == {"occluded": 8, "blurred": 7, "light": 2}[kind]


@given(
    kind=st.sampled_from(KINDS),
    level=st.sampled_from(LEVELS),
    size=st.tuples(st.integers(8, 40), st.integers(8, 40)),
)
@settings(max_examples=40, deadline=None)
def test_an_image_of_any_size_keeps_it(kind, level, size):
    found = degrade(picture(*size), Degradation(kind, level), "a.jpg")
    assert found.size == size and found.mode == "RGB"


def test_large_and_tiny_images_can_be_degraded():
    for size in ((8, 16), (16, 8), (1, 2), (500, 300)):
        for kind in KINDS:
            assert degrade(picture(*size), Degradation(kind, 5), "a.jpg").size == size


def test_occluders_cover_what_is_said_and_grow_where_they_stand():
    black = np.zeros((64, 32, 3), np.uint8)
    for i in range(25):
        before = np.zeros((64, 32), bool)
        texture = occlude(black, 1.0, generator(0, i))
        for share in COVERED:
            found = occlude(black, share, generator(0, i))
            covered = found.any(2)
            assert abs(covered.mean() - share) < 0.002
            assert covered[before].all()
            assert np.array_equal(found[covered], texture[covered])
            before = covered
        assert np.asarray(black).sum() == 0


def test_occluders_leave_the_rest_as_it_is():
    pixels = np.asarray(picture())
    black = np.zeros_like(pixels)
    for i in range(5):
        covered = occlude(black, 0.3, generator(0, i)).any(2)
        found = occlude(pixels, 0.3, generator(0, i))
        assert np.array_equal(found[~covered], pixels[~covered])


def test_a_blur_leaves_one_colour_alone_and_the_mean_of_an_inner_point():
    grey = Image.new("RGB", (64, 128), (10, 120, 250))
    assert (degraded("blurred", grey) == np.array([10, 120, 250])).all()
    pixels = np.zeros((128, 64, 3), np.uint8)
    pixels[60:68, 28:36] = 255
    sums = degraded("blurred", Image.fromarray(pixels)).astype(int).sum((1, 2))
    assert sums == pytest.approx(64 * 255, rel=0.02)


def test_low_resolution_holds_no_more_than_its_pixels():
    image = picture(60, 120)
    for level, factor in zip(LEVELS, FACTORS, strict=True):
        small = (60 // factor, 120 // factor)
        found = degrade(image, Degradation("low-resolution", level), "a.jpg")
        bicubic = Image.Resampling.BICUBIC
        again = image.resize(small, bicubic).resize(image.size, bicubic)
        unlike = np.abs(np.asarray(found).astype(int) - np.asarray(again))
        # Pillow has no pixels beyond an edge, ours go on as they end
        assert unlike[12:-12, 12:-12].max() <= 2 and unlike.mean() < 1


def test_light_is_a_factor_of_linear_light():
    grey = Image.new("RGB", (2, 2), (188, 188, 188))
    values = {int(degraded("light", grey, f"{i}.jpg")[4, 0, 0, 0]) for i in range(8)}
    # 188 is half the light of 255: 0.503 * 2 ** -3.5 is 0.0444, sRGB 59; twice is white already
    assert values == {59, 255}


def request(**given):
    return DegradationsRequest(**{"images": None, "kinds": (), "count": 2, **given})


def test_a_sheet_of_a_folder_is_the_same_again(tmp_path):
    for i in range(3):
        picture(16, 32, i).save(tmp_path / f"{i}.png")
    files = [tmp_path / name for name in ("a.svg", "b.svg")]
    for file in files:
        asked = request(images=tmp_path, kinds=("light", "occluded"), file=file)
        assert degradations_command(asked, Console(quiet=True)) == 0
    text = files[0].read_text()
    assert text == files[1].read_text() and text.count("<image") == 2 * 2 * 6
    assert "0.png" in text and "1.png" in text and "stand-in" not in text
    assert text.index(">light<") < text.index(">occluded<")


def test_a_sheet_of_stand_ins_says_so(tmp_path, standin_cache):
    file = tmp_path / "a.svg"
    degradations_command(request(count=1, kinds=("jpeg",), file=file), Console(quiet=True))
    assert "embedded stand-ins" in file.read_text()


def test_a_sheet_refuses_what_is_not_there(tmp_path):
    with pytest.raises(UnknownName, match="occluded"):
        degradations_command(request(kinds=("ocluded",), file=tmp_path / "a.png"), Console())
    with pytest.raises(ReIDError, match=r"ends in \.png"):
        degradations_command(request(file=tmp_path / "a.gif"), Console())
    with pytest.raises(ReIDError, match="no such folder"):
        missing = request(images=tmp_path / "no", file=tmp_path / "a.png")
        degradations_command(missing, Console())
