"""`harness encode`: the features the harness itself computes, and what is said of bad input."""

import io

import numpy as np
import pytest
from PIL import Image as PillowImage
from rich.console import Console

from harness import extract
from harness.commands.encode import EncodeRequest, encode_command
from harness.encode import find_images, save_features
from protocols.errors import ReIDError, UnknownName


@pytest.fixture
def people(tmp_path):
    """Three images, one of them in a subfolder, and what is none."""
    root = tmp_path / "people"
    (root / "a").mkdir(parents=True)
    (root / ".hidden").mkdir()
    (root / "linked").symlink_to(root / "a")
    for i, name in enumerate(("b.JPG", "a/z.png", "a.webp", ".x.png", ".hidden/y.png")):
        PillowImage.new("RGB", (20, 40), (80 * i % 256, 90, 200)).save(root / name)
    (root / "notes.txt").write_text("none")
    return root


def read(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_features_are_those_the_harness_tests_with(harness, standins, tmp_path, monkeypatch):
    seen = {}
    batches = extract.Extractor.batches

    def watched(self, paths, *others):
        for rows, encoded in batches(self, paths, *others):
            found = encoded["features"].numpy()
            seen.update(zip((paths[row] for row in rows), found, strict=True))
            yield rows, encoded

    monkeypatch.setattr(extract.Extractor, "batches", watched)
    out = tmp_path / "runs"
    run = ("run", "--method", "vision-only", "--protocol", "C3->D", "--set", "epochs=1")
    assert harness(*run, "--out", out, "--tracking", "off")[0] == 0
    monkeypatch.setattr(extract.Extractor, "batches", batches)

    (folder,) = (p.parent for p in out.glob("*/run.json"))
    images = standins / "DukeMTMC-reID"
    status, printed = harness(
        "encode", "--method", "vision-only", "--checkpoint", folder, "--images", images,
        "--out", tmp_path / "features.npz",
    )  # fmt: skip
    assert status == 0, printed
    assert folder.name in printed and "epochs=1" in printed
    found = read(tmp_path / "features.npz")
    assert set(found) == {"features", "names"}
    names = found["names"].tolist()
    assert names == sorted(p.relative_to(images).as_posix() for p in images.rglob("*.jpg"))
    assert found["features"].dtype == np.float32
    row = {f"{images.name}/{name}": i for i, name in enumerate(names)}
    assert len(seen) > 100 and set(seen) <= set(row)
    mine = np.stack([found["features"][row[path]] for path in seen])
    # the harness meets the same images in other batches
    assert np.abs(mine - np.stack(list(seen.values()))).max() < 1e-5
    assert np.ptp(mine, axis=0).max() > 0.1


def test_a_method_that_trains_nothing_needs_no_checkpoint(harness, people, tmp_path):
    out = tmp_path / "deep" / "features.npz"
    encode = ("encode", "--method", "colour-histogram", "--images", people, "--out", out)
    status, printed = harness(*encode)
    assert status == 0, printed
    assert "1 hidden file, 1 hidden folder, 1 linked folder, 1 other file" in printed
    assert "3 x 768" in printed
    found = read(out)
    assert found["names"].tolist() == ["a.webp", "a/z.png", "b.JPG"]
    status, _ = harness(*encode, "--set", "stripes=1")
    assert status == 0
    assert read(out)["features"].shape == (3, 128)
    # one flat colour an image: one bin of each histogram
    assert (np.count_nonzero(read(out)["features"], axis=1) == 1).all()
    assert [p.name for p in out.parent.iterdir()] == ["features.npz"]


def test_options_say_how_images_are_read(people, tmp_path):
    def encode(name, **options):
        console = Console(file=io.StringIO(), width=200)
        request = EncodeRequest(
            method="colour-histogram", checkpoint=None, images=people, out=tmp_path / name,
            preset=None, overrides=(), device="cpu", loader_workers=0, **options,
        )  # fmt: skip
        encode_command(request, console)
        return read(tmp_path / name)["features"], console.file.getvalue()

    plain, _ = encode("plain.npz")
    # colours of a mirror image are the image's
    flipped, said = encode("flip.npz", flip=True)
    assert np.array_equal(flipped, 2 * plain)
    assert "mirror images added" in said
    _, said = encode("bf16.npz", precision="bf16", flip=True)
    assert "float32, computed in bf16, mirror images added" in said
    with pytest.raises(UnknownName, match="Unknown --precision 'fp16'"):
        encode("x.npz", precision="fp16")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"--method": "muav"}, "Unknown method"),
        ({"--method": "vision-only"}, "give --checkpoint"),
        ({"--checkpoint": "none.pth"}, "none.pth: there is no such file or folder"),
        ({"--images": "none"}, "--images none: there is no such folder"),
        ({"--images": "empty"}, "empty holds no image (jpg, jpeg, png"),
        ({"--out": "features.txt"}, "--out features.txt: features are written as .npz"),
        ({"--out": "folder.npz"}, "folder.npz is a folder"),
        ({"--preset": "tniy"}, "Did you mean 'tiny'"),
        ({"--set": "stripe=2"}, "Did you mean 'stripes'"),
        ({"--device": "gpu"}, "--device"),
    ],
)
def test_bad_input_is_told(harness, people, tmp_path, monkeypatch, changed, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.npz").mkdir()
    options = {"--method": "colour-histogram", "--images": people, "--out": "x.npz", **changed}
    status, printed = harness("encode", *(word for pair in options.items() for word in pair))
    assert status == 1
    assert message in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "x.npz").exists()


def test_damaged_images_are_named_and_the_old_file_stays(harness, people, tmp_path):
    out = tmp_path / "features.npz"
    encode = ("encode", "--method", "colour-histogram", "--images", people, "--out", out)
    harness(*encode)
    before = out.read_bytes()
    for name in ("b.JPG", "a/z.png"):
        (people / name).write_bytes(b"no image")
    status, printed = harness(*encode)
    assert status == 1
    assert "2 of 3 images are damaged" in printed
    assert "b.JPG" in printed and "z.png" in printed
    assert out.read_bytes() == before


def test_other_tensors_are_kept_under_their_names(tmp_path):
    import torch

    features = torch.rand(2, 3, dtype=torch.float64)
    parts = torch.rand(2, 4, 5)
    save_features(tmp_path / "x.npz", ["a", "ü"], {"features": features, "parts": parts})
    found = read(tmp_path / "x.npz")
    assert found["names"].tolist() == ["a", "ü"]
    assert found["features"].dtype == np.float32
    assert np.array_equal(found["parts"], parts.numpy())
    for wrong in ({"parts": parts}, {"features": features, "names": parts}):
        with pytest.raises(ReIDError, match="'features' must be among them"):
            save_features(tmp_path / "y.npz", ["a", "b"], wrong)
    assert not (tmp_path / "y.npz").exists()


def test_order_is_of_the_whole_path(tmp_path):
    for name in ("b/1.png", "a.png", "a/2.png", "a-b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_images(tmp_path).names == ("a-b.png", "a.png", "a/2.png", "b/1.png")
