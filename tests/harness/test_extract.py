"""Features of images that are read in some way: degraded, flipped, in bfloat16."""

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from harness.augment import apply
from harness.config import make_config
from harness.decoding import decode
from harness.degradations import degrade
from harness.extract import Extractor, gathered
from harness.progress import Progress
from harness.seeds import generator, seed_everything
from methods import registry
from methods.colour_histogram import ColourHistogram, ColourHistogramConfig
from methods.interface import Batch, SourceInfo
from protocols.errors import DataError, ReIDError
from protocols.variants import Degradation, Reading

CPU = torch.device("cpu")
NAMES = [f"a/{i}.png" for i in range(4)] + ["a/mirror.png"]
SIZE = (24, 12)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Noise, and the mirror image of the first."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "a").mkdir()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8) for _ in range(4)]
    for name, pixels in zip(NAMES, [*images, images[0][:, ::-1]], strict=True):
        PillowImage.fromarray(pixels).save(folder / name)
    return folder


def tiny(name, **changes):
    cls = registry.load(name)
    seed_everything(0, "initial weights")
    return cls(make_config(name, cls, "tiny", changes), SourceInfo(4, ("A", "B"))).eval()


@pytest.fixture(scope="module")
def clip():
    return tiny("vision-only", image_size=list(SIZE))


def by_hand(method, root, change=lambda image, name: image, names=NAMES):
    """The images as `encode` gets them, one after the other."""
    transform = method.transforms().eval
    images = [change(decode(root / name), name.split("/")[1]) for name in names]
    return torch.stack([apply(transform, image, generator(0)) for image in images])


@torch.no_grad()
def encode(method, images):
    return method.encode(Batch(images))["features"].float()


@pytest.mark.parametrize("workers", [0, 2])
def test_plain_features_are_what_encode_returns_to_the_bit(clip, root, workers):
    found = Extractor(clip, root, CPU, workers)(NAMES)["features"]
    assert torch.equal(found, encode(clip, by_hand(clip, root)))
    assert not found.requires_grad


def test_features_of_mirror_images_are_added_up(clip, root):
    images = by_hand(clip, root)
    found = Extractor(clip, root, CPU)(NAMES, how=Reading(flip=True))["features"]
    assert torch.equal(found, encode(clip, images) + encode(clip, images.flip(3)))
    # an image and its mirror image have the same ones
    assert torch.equal(found[0], found[4])
    plain = Extractor(clip, root, CPU)(NAMES)["features"]
    assert not torch.allclose(plain[0], plain[4], atol=1e-3)


def test_images_are_degraded_before_the_transform_by_their_own_name(clip, root):
    how = Degradation("occluded", 3)
    found = Extractor(clip, root, CPU)(NAMES, how=Reading(how))["features"]
    images = by_hand(clip, root, lambda image, name: degrade(image, how, name))
    assert torch.equal(found, encode(clip, images))
    assert not torch.equal(images, by_hand(clip, root))
    # the folder's name is nothing to go by
    assert torch.equal(found, Extractor(clip, root / "a", CPU)(
        [name.split("/")[1] for name in NAMES], how=Reading(how))["features"])  # fmt: skip


@pytest.mark.parametrize("name", sorted(registry.BUILT_IN))
def test_every_method_encodes_in_bfloat16(root, name):
    method = tiny(name)
    plain, found = (
        Extractor(method, root, CPU)(NAMES, how=Reading(bf16=bf16))["features"]
        for bf16 in (False, True)
    )
    assert found.dtype == plain.dtype == torch.float32
    near = torch.nn.functional.cosine_similarity(plain, found)
    # MUVA's gates of an untrained model stand in the middle, where a last digit opens them
    assert near.min() > (0.8 if name == "muva" else 0.999)
    if name != "colour-histogram":  # which multiplies no matrices
        assert not torch.equal(plain, found)


class Own(ColourHistogram):
    """A method with a score of its own."""

    def score(self, queries, gallery):
        return -torch.cdist(queries["features"], gallery["features"])


def test_flipping_is_refused_where_features_are_not_all_there_is_to_a_score(root):
    own = Own(ColourHistogramConfig(image_size=SIZE), SourceInfo(0, ()))
    with pytest.raises(ReIDError, match="'flip' adds up features, and Own has a score of its own"):
        Extractor(own, root, CPU)(NAMES, how=Reading(flip=True))
    Extractor(own, root, CPU)(NAMES, how=Reading(bf16=True))


def test_a_damaged_image_is_named(clip, root, tmp_path):
    content = (root / NAMES[0]).read_bytes()
    (tmp_path / "whole.png").write_bytes(content)
    (tmp_path / "cut.png").write_bytes(content[:-200])
    with pytest.raises(DataError, match=r"cut\.png could not be decoded"):
        Extractor(clip, tmp_path, CPU)(["whole.png", "cut.png"])


def test_progress_counts_every_image(clip, root, monkeypatch):
    class Counting(Progress):
        units = 0.0

        def advance(self, units, doing):
            assert doing == "testing"
            self.units += units

    progress = Counting()
    monkeypatch.setattr("harness.extract.BATCH_SIZE", 2)
    Extractor(clip, root, CPU, progress=progress)(NAMES, "testing")
    assert progress.units == len(NAMES)


def test_parts_are_put_where_they_belong():
    parts = [(torch.tensor([2, 0]), {"a": torch.tensor([[2.0], [0.0]])}),
             (torch.tensor([1]), {"a": torch.tensor([[1.0]])})]  # fmt: skip
    assert gathered(3, iter(parts))["a"].tolist() == [[0.0], [1.0], [2.0]]
