"""Features are kept: killed in the middle, an extraction goes on and ends with the same bits."""

import hashlib
import shutil
import threading
import weakref

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from safetensors.torch import load_file

from harness import feature_store
from harness.config import make_spec
from harness.extract import Extractor
from harness.feature_store import drop, stored, untrained
from harness.progress import Progress
from methods.colour_histogram import ColourHistogram, ColourHistogramConfig
from methods.interface import SourceInfo
from protocols.types import Fold
from protocols.variants import Degradation, Reading

CPU, BATCH, CHUNK = torch.device("cpu"), 2, 4
NAMES = [f"a/{i:02d}.png" for i in range(11)]


class Killed(Exception):
    pass


class Counting(ColourHistogram):
    """Counts the images it encodes; stops before batch `until`. Trained: it has weights."""

    same_for_all_sources = False

    def __init__(self, weight=1.0):
        super().__init__(ColourHistogramConfig(image_size=(16, 8), stripes=2), SourceInfo(0, ()))
        self.weight = torch.nn.Parameter(torch.tensor(weight))
        self.encoded, self.batches, self.until = 0, 0, None

    def encode(self, batch):
        if self.batches == self.until:
            raise Killed
        self.batches += 1
        self.encoded += len(batch.images)
        # what a batch's size does to the last digits of a matrix product
        size = 1 + len(batch.images) * 2.0**-20
        return {"features": super().encode(batch)["features"] * self.weight * size}


class Free(Counting):
    """The same without anything to train."""

    same_for_all_sources = True


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(feature_store, "CHUNK", CHUNK)
    for module in ("extract", "feature_store"):
        monkeypatch.setattr(f"harness.{module}.BATCH_SIZE", BATCH)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    (folder / "a").mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        pixels = rng.integers(0, 256, (16, 8, 3), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(folder / name)
    return folder


def spec(config, seed=0):
    fold = Fold(("A",), "train", ())
    return make_spec("counting", Counting, config, preset="tiny", fold=fold,
                     fingerprints={"A": "a"}, seed=seed, precision="fp32")  # fmt: skip


class Seen(Progress):
    def __init__(self):
        self.units = 0.0

    def advance(self, units, doing):
        self.units += units


def kept(method, root, out, seed=0, progress=None):
    """The features of a method below `root`, kept below `out`."""

    def digests(paths):
        return {p: hashlib.sha256((root / p).read_bytes()).hexdigest() for p in paths}

    extractor = Extractor(method, root, CPU, progress=progress or Progress())
    return stored(extractor, out, spec(method.config, seed), digests)


def alone(method, root, names=NAMES, **how):
    return Extractor(method, root, CPU)(names, how=Reading(**how))["features"]


@pytest.mark.parametrize(("until", "left"), [(0, 11), (1, 11), (2, 7), (3, 7), (4, 3), (5, 3)])
def test_killed_in_the_middle_it_goes_on_with_the_same_bits(root, tmp_path, until, left):
    killed = Counting()
    killed.until = until
    with pytest.raises(Killed):
        kept(killed, root, tmp_path)(NAMES)
    again, progress = Counting(), Seen()
    found = kept(again, root, tmp_path, progress=progress)(NAMES)["features"]
    assert again.encoded == left
    assert progress.units == len(NAMES)
    assert torch.equal(found, alone(Counting(), root))
    third = Counting()
    assert torch.equal(kept(third, root, tmp_path)(NAMES)["features"], found)
    assert third.encoded == 0


def test_a_list_has_the_same_bits_whatever_was_there_before(root, tmp_path):
    others = [NAMES[3:], NAMES[:7], NAMES[::-1], NAMES[:1]]
    for names in others:
        kept(Counting(), root, tmp_path)(names)
    method = Counting()
    assert torch.equal(kept(method, root, tmp_path)(NAMES)["features"], alone(Counting(), root))
    # the first four images were the first four of a list before
    assert method.encoded == len(NAMES) - CHUNK


@pytest.mark.parametrize("damage", [b"", b"cut", None])
def test_a_damaged_chunk_is_computed_again(root, tmp_path, damage):
    kept(Counting(), root, tmp_path)(NAMES)
    file = sorted(tmp_path.rglob("*.safetensors"))[0]
    rows = len(load_file(file)["features"])
    file.unlink() if damage is None else file.write_bytes(damage)
    method = Counting()
    assert torch.equal(kept(method, root, tmp_path)(NAMES)["features"], alone(Counting(), root))
    assert method.encoded == rows


def test_other_weights_and_other_readings_are_other_features(root, tmp_path):
    readings = [{}, {"flip": True}, {"bf16": True}, {"degradation": Degradation("light", 5)},
                {"degradation": Degradation("light", 1)}]  # fmt: skip
    for weight in (1.0, 2.0):
        for how in readings:
            method = Counting(weight)
            found = kept(method, root, tmp_path)(NAMES, how=Reading(**how))["features"]
            assert method.encoded == len(NAMES) * (2 if "flip" in how else 1)
            assert torch.equal(found, alone(Counting(weight), root, **how))


def test_the_same_images_elsewhere_are_the_same_features(root, tmp_path):
    kept(Counting(), root, tmp_path / "out")(NAMES)
    degraded = Reading(Degradation("occluded", 3))
    kept(Counting(), root, tmp_path / "out")(NAMES, how=degraded)
    shutil.copytree(root / "a", tmp_path / "other" / "b" / "c")
    names = [name.replace("a/", "b/c/") for name in NAMES]
    for how in (Reading(), degraded):
        method = Counting()
        found = kept(method, tmp_path / "other", tmp_path / "out")(names, how=how)["features"]
        assert method.encoded == 0
        assert torch.equal(found, Extractor(Counting(), root, CPU)(NAMES, how=how)["features"])
    # what an occluder is drawn from is the file's name
    (tmp_path / "other" / names[0]).rename(tmp_path / "other" / "renamed.png")
    for how, encoded in ((Reading(), 0), (degraded, CHUNK)):
        method = Counting()
        kept(method, tmp_path / "other", tmp_path / "out")(["renamed.png", *names[1:]], how=how)
        assert method.encoded == encoded


def test_a_changed_image_is_encoded_again(root, tmp_path):
    shutil.copytree(root, tmp_path / "mine")
    kept(Counting(), tmp_path / "mine", tmp_path)(NAMES)
    shutil.copy(root / NAMES[5], tmp_path / "mine" / NAMES[0])
    method = Counting()
    found = kept(method, tmp_path / "mine", tmp_path)(NAMES)["features"]
    assert method.encoded == CHUNK
    assert torch.equal(found, alone(Counting(), tmp_path / "mine"))


def test_features_of_a_run_go_and_those_of_an_untrained_method_stay(root, tmp_path):
    assert untrained(Free()) and not untrained(Counting())
    mine, other, free = Counting(), Counting(2.0), Free()
    for method, seed in ((mine, 0), (other, 1), (free, 0)):
        kept(method, root, tmp_path, seed)(NAMES)
    drop(tmp_path, spec(mine.config, 0))
    for method, seed, encoded in ((mine, 0, 22), (other, 1, 11), (free, 2, 11)):
        kept(method, root, tmp_path, seed)(NAMES)
        assert method.encoded == encoded


def test_two_at_once_compute_everything_once(root, tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Free):
        def encode(self, batch):
            begun.set()
            assert go_on.wait(20)
            return super().encode(batch)

    first, second, found = Slow(), Free(), []
    features = [kept(method, root, tmp_path, seed) for seed, method in enumerate((first, second))]
    threads = [threading.Thread(target=lambda f=f: found.append(f(NAMES))) for f in features]
    threads[0].start()
    assert begun.wait(20)
    threads[1].start()
    threads[1].join(0.3)
    go_on.set()
    for thread in threads:
        thread.join()
    assert (first.encoded, second.encoded) == (len(NAMES), 0)
    assert torch.equal(found[0]["features"], found[1]["features"])


def test_no_more_is_held_than_the_result_and_one_chunk(root, tmp_path, monkeypatch):
    alive, most = set(), []
    load = feature_store.read_tensors

    def watched(path):
        kept = load(path)
        if kept:
            tensor = kept[0]["features"]
            alive.add(id(tensor))
            most.append(len(alive))
            weakref.finalize(tensor, alive.discard, id(tensor))
        return kept

    kept(Counting(), root, tmp_path)(NAMES)
    monkeypatch.setattr(feature_store, "read_tensors", watched)
    kept(Counting(), root, tmp_path)(NAMES)
    assert max(most) <= 2 < len(most)
