"""The stand-ins' files have the real data sets' names, and the real readers read them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from protocols.datasets import open_dataset
from protocols.standin import KEYS
from protocols.standin.layouts import LAYOUTS

NAMES = {
    "MA": r"(bounding_box_(train|test)|query)/(-1|\d{4})_c[1-6]s\d_\d{6}_\d{2}\.jpg",
    "D": r"(bounding_box_(train|test)|query)/\d{4}_c[1-8]_f\d{7}\.jpg",
    "MS": r"(train|test)/(\d{4})/\2_\d{3}_(0[1-9]|1[0-5])_0303(morning|noon|afternoon)_\d{4}_0.jpg",
    "C3": r"detected/(bounding_box_(train|test)|query)/\d{4}_c[12]_\d+\.png",
    "VIPeR": r"cam_[ab]/\d{3}_(0|45|90|135|180)\.bmp",
    "PRID": r"single_shot/cam_[ab]/person_\d{4}\.png",
}
SPLITS = {
    # key: train, query, gallery as (images, identities); identity 0 is nobody
    "MA": ((288, 48), (120, 40), (224, 40)),
    "D": ((288, 48), (120, 40), (224, 48)),
    "MS": ((336, 56), (144, 48), (240, 48)),
    "C3": ((264, 44), (72, 36), (216, 36)),
}


def lay_out(key: str, root: Path) -> Path:
    """The files of a stand-in, empty: readers look at names."""
    layout = LAYOUTS[key](0)
    for path in (shot.path for shot in layout.shots):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"-")
    for path, text in layout.texts.items():
        (root / path).write_text(text)
    return root


@pytest.mark.parametrize("key", KEYS)
def test_names_are_the_real_ones(key: str) -> None:
    layout = LAYOUTS[key](0)
    paths = [shot.path for shot in layout.shots]
    assert len(set(paths)) == len(paths)
    assert len({(s.pid, s.camid, s.number) for s in layout.shots}) == len(paths), "none drawn twice"
    for path in paths:
        assert re.fullmatch(NAMES[key], path.removeprefix(layout.folder + "/")), path


@pytest.mark.parametrize("key", SPLITS)
def test_the_real_reader_finds_the_splits(key: str, tmp_path: Path) -> None:
    data = open_dataset(key, lay_out(key, tmp_path))
    (probe,) = data.probes()
    splits = (data.train(), probe.query, probe.gallery)
    assert tuple((len(s.images), len(s.pids)) for s in splits) == SPLITS[key]
    assert not set(splits[0].pids) & set(splits[1].pids)
    assert set(probe.query.pids) <= set(probe.gallery.pids)


@pytest.mark.parametrize("key", SPLITS)
def test_every_query_has_a_match_in_another_camera(key: str, tmp_path: Path) -> None:
    (probe,) = open_dataset(key, lay_out(key, tmp_path)).probes()
    seen = {(image.pid, image.camid) for image in probe.gallery.images}
    for query in probe.query.images:
        assert any(pid == query.pid and camid != query.camid for pid, camid in seen)


@pytest.mark.parametrize("key", SPLITS)
def test_readers_and_renderer_agree_on_cameras(key: str, tmp_path: Path) -> None:
    data = open_dataset(key, lay_out(key, tmp_path))
    truth = {shot.path: shot.camid for shot in LAYOUTS[key](0).shots}
    (probe,) = data.probes()
    for image in (*data.train().images, *probe.query.images, *probe.gallery.images):
        assert image.camid == truth[image.path]


def test_market_has_junk_and_distractors(tmp_path: Path) -> None:
    shots = LAYOUTS["MA"](0).shots
    assert sum("/-1_" in shot.path for shot in shots) == 8
    (probe,) = open_dataset("MA", lay_out("MA", tmp_path)).probes()
    assert sum(image.pid == 0 for image in probe.gallery.images) == 24


@pytest.mark.parametrize(("key", "queries", "gallery"), [("VIPeR", 316, 316), ("PRID", 100, 649)])
def test_ten_splits_of_the_pair_sets(key: str, queries: int, gallery: int, tmp_path: Path) -> None:
    probes = open_dataset(key, lay_out(key, tmp_path)).probes()
    assert len(probes) >= 10
    for probe in probes:
        assert len(probe.query.images) == queries
        assert len(probe.gallery.images) == gallery
