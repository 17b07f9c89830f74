"""Image files as pixels: whatever decodes them, they are Pillow's, and so are the errors."""

import io

import numpy as np
import pytest
from PIL import Image as PillowImage

from harness import decoding
from harness.decoding import decode
from protocols.errors import DataError


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1", "LA"])
def test_any_colour_mode_becomes_rgb(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    PillowImage.new("RGB", (8, 16), (200, 30, 90)).convert(mode).save(tmp_path / f"a.{suffix}")
    image = decode(tmp_path / f"a.{suffix}")
    assert (image.mode, image.size) == ("RGB", (8, 16))


def test_sixteen_bits_keep_their_greys(tmp_path):
    grey = (np.arange(128, dtype=np.uint16) * 500).reshape(16, 8)
    PillowImage.fromarray(grey).save(tmp_path / "a.png")
    found = np.asarray(decode(tmp_path / "a.png"))[:, :, 0]
    assert np.abs(found.astype(float) - grey / 257).max() <= 0.5


def test_floating_point_pixels_are_refused(tmp_path):
    PillowImage.new("F", (8, 16), 0.5).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match="floating-point"):
        decode(tmp_path / "a.tiff")


@pytest.mark.parametrize("content", [b"", b"this is no image", b"\xff\xd8\xff\xe0 cut"])
def test_what_is_no_image_is_named(tmp_path, content):
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.jpg could not be decoded"):
        decode(tmp_path / "bad.jpg")


def test_a_truncated_image_is_named(tmp_path):
    path = tmp_path / "cut.jpg"
    rng = np.random.default_rng(0)
    PillowImage.fromarray(rng.integers(0, 255, (64, 32, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(DataError, match=r"cut\.jpg could not be decoded"):
        decode(path)


def photo(height=37, width=21):
    """Colours that change slowly, with some noise: what a JPEG is made for."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 3, 3), dtype=np.uint8)
    smooth = PillowImage.fromarray(coarse).resize((width, height), PillowImage.Resampling.BICUBIC)
    noisy = np.asarray(smooth) + rng.normal(0, 6, (height, width, 3))
    return PillowImage.fromarray(noisy.clip(0, 255).astype(np.uint8))


def jpeg(image, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(content):
    """Pixels, or None where Pillow takes the file for damaged."""
    try:
        with PillowImage.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    except Exception:
        return None


JPEGS = {
    "420": jpeg(photo(), quality=80),
    "422": jpeg(photo(), subsampling=1),
    "444": jpeg(photo(), subsampling=0),
    "progressive": jpeg(photo(), progressive=True),
    "restarts": jpeg(photo(), restart_marker_blocks=2),
    "RGB": jpeg(photo(), keep_rgb=True),
    "grey": jpeg(photo().convert("L")),
    "CMYK": jpeg(photo().convert("CMYK")),
    "one pixel": jpeg(photo(1, 1)),
    "followed by something": jpeg(photo()) + b"more",
}


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_has_pillows_pixels(tmp_path, monkeypatch, kind):
    (tmp_path / "a.png").write_bytes(JPEGS[kind])  # whatever its name says
    if kind != "CMYK":
        monkeypatch.setattr(decoding.PillowImage, "open", None)  # it is not asked
    found = decode(tmp_path / "a.png")
    monkeypatch.undo()
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found), by_pillow(JPEGS[kind]))


def test_what_pillow_takes_for_damaged_is_damaged_and_nothing_else(tmp_path):
    rng, path, seen = np.random.default_rng(0), tmp_path / "a.jpg", {True: 0, False: 0}
    whole = JPEGS["420"]
    for i in range(120):
        content = bytearray(whole)
        if i % 3 == 0:
            del content[rng.integers(1, len(content)) :]
        else:
            for at in rng.integers(0, len(content), 1 + i % 2):
                content[at] = rng.integers(0, 256)
        path.write_bytes(content)
        expected = by_pillow(bytes(content))
        seen[expected is None] += 1
        if expected is None:
            with pytest.raises(DataError, match=r"a\.jpg could not be decoded"):
                decode(path)
        else:
            assert np.array_equal(np.asarray(decode(path)), expected), i
    assert min(seen.values()) > 20


def test_a_jpeg_that_claims_to_be_huge_takes_no_memory(tmp_path):
    content = bytearray(JPEGS["420"])
    size = content.index(b"\xff\xc0") + 5
    content[size : size + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "bomb.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"bomb\.jpg could not be decoded"):
        decode(tmp_path / "bomb.jpg")
