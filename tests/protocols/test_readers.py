"""Every reader on a small tree in the real data set's file names, with counts known by hand."""

import os
import random

import numpy as np
import pytest
from scipy.io import savemat

from protocols.datasets import CARDS, open_dataset
from protocols.errors import DataError, UnknownName
from protocols.types import Image


def tree(root, *paths):
    """Make files (their content does not matter to a reader), in a random order."""
    paths = list(paths)
    random.shuffle(paths)
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


def counts(dataset):
    return {p.name: (len(p.images), len(p.pids)) for p in dataset.parts}


def market(folder):
    return [
        f"{folder}/bounding_box_train/0002_c1s1_000451_03.jpg",
        f"{folder}/bounding_box_train/0002_c6s1_000001_01.jpg",
        f"{folder}/bounding_box_train/0007_c3s3_077419_03.jpg",
        f"{folder}/query/0001_c1s1_001051_00.jpg",
        f"{folder}/bounding_box_test/0001_c2s1_000301_00.jpg",
        f"{folder}/bounding_box_test/0000_c1s1_000151_01.jpg",
        f"{folder}/bounding_box_test/-1_c1s1_000401_03.jpg",
    ]


@pytest.mark.parametrize("folder", CARDS["MA"].folders)
def test_market(tmp_path, folder):
    tree(tmp_path, *market(folder))
    dataset = open_dataset("MA", tmp_path)
    assert dataset.train().images == (
        Image(f"{folder}/bounding_box_train/0002_c1s1_000451_03.jpg", 2, 0),
        Image(f"{folder}/bounding_box_train/0002_c6s1_000001_01.jpg", 2, 5),
        Image(f"{folder}/bounding_box_train/0007_c3s3_077419_03.jpg", 7, 2),
    )
    (probe,) = dataset.probes()
    assert [i.pid for i in probe.query.images] == [1]
    assert sorted(i.pid for i in probe.gallery.images) == [0, 1]  # junk gone, distractor kept
    assert probe.gallery.pids == (1,)
    assert sorted(i.pid for i in dataset.all().images) == [1, 1, 2, 2, 7]
    assert dataset.root == tmp_path / folder
    assert (dataset.key, dataset.version, dataset.notes) == ("MA", "", ())


def test_distractors_in_train_and_query_are_left_out_and_noted(tmp_path):
    tree(tmp_path, *market("Market1501"), "Market1501/query/0000_c1s1_1_1.jpg")
    tree(tmp_path, "Market1501/bounding_box_train/0000_c1s1_1_1.jpg")
    dataset = open_dataset("MA", tmp_path)
    assert counts(dataset) == {"train": (3, 2), "query": (1, 1), "gallery": (2, 1)}
    assert len(dataset.notes) == 2 and "1 distractors (identity 0) in train" in dataset.notes[0]


@pytest.mark.parametrize(
    ("key", "folder"),
    [("D", f) for f in CARDS["D"].folders]
    + [("Occluded-Duke", f) for f in CARDS["Occluded-Duke"].folders],
)
def test_duke_and_occluded_duke(tmp_path, key, folder):
    tree(
        tmp_path,
        f"{folder}/bounding_box_train/0001_c2_f0046182.jpg",
        f"{folder}/query/0005_c2_f0046985.jpg",
        f"{folder}/bounding_box_test/0005_c8_f0046985.jpg",
    )
    dataset = open_dataset(key, tmp_path)
    assert [(i.pid, i.camid) for i in dataset.all().images] == [(5, 7), (1, 1), (5, 1)]
    assert dataset.train().dataset == key


def test_cuhk03_detected_and_labeled(tmp_path):
    for boxes, train in (("detected", 1), ("labeled", 2)):
        folder = f"cuhk03-np/{boxes}"
        tree(tmp_path, f"{folder}/query/0003_c1_1.png", f"{folder}/bounding_box_test/0003_c2_6.png")
        tree(tmp_path, *(f"{folder}/bounding_box_train/0001_c1_{n}.png" for n in range(train)))
    assert open_dataset("C3", tmp_path).version == "detected"
    labeled = open_dataset("C3-labeled", tmp_path)
    assert (labeled.version, len(labeled.train().images)) == ("labeled", 2)
    assert {i.path.split("/")[1] for i in labeled.all().images} == {"labeled"}


def msmt(root, folder, train="train", test="test"):
    lists = {
        "train": ["0000/0000_000_01_0303morning_0015_0.jpg 0"],
        "val": ["0001/0001_000_15_0303noon_0015_0.jpg 1"],
        "query": ["0000/0000_001_02_0303morning_0008_0.jpg 0"],
        "gallery": ["0000/0000_002_03_0303morning_0008_1.jpg 0", ""],
    }
    for name, lines in lists.items():
        sub = train if name in ("train", "val") else test
        tree(root, *(f"{folder}/{sub}/{line.split()[0]}" for line in lines if line))
        (root / folder / f"list_{name}.txt").write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("folder", "train", "test", "version"),
    [
        ("MSMT17_V1", "train", "test", "V1"),
        ("MSMT17_V2", "mask_train_v2", "mask_test_v2", "V2"),
        ("MSMT17/MSMT17_V2", "mask_train_v2", "mask_test_v2", "V2"),
        ("MSMT17", "mask_train_v2", "mask_test_v2", "V2"),
        ("MSMT17", "train", "test", "unknown"),
    ],
)
def test_msmt17_lists(tmp_path, folder, train, test, version):
    msmt(tmp_path, folder, train, test)
    dataset = open_dataset("MS", tmp_path)
    assert dataset.version == version
    assert counts(dataset) == {"train": (2, 2), "query": (1, 1), "gallery": (1, 1)}
    assert {i.camid for i in dataset.train().images} == {0, 14}  # the third field, from 0
    # Train's 0 and test's 0 are two people, and neither is a distractor.
    assert len(dataset.all().pids) == 3 and len(dataset.all().images) == 4
    assert dataset.probes()[0].query.pids == dataset.probes()[0].gallery.pids


def test_msmt17_in_market_folders(tmp_path):
    tree(
        tmp_path,
        "MSMT17/bounding_box_train/0000_c1_0002.jpg",
        "MSMT17/bounding_box_train/0001_000_15_0303noon_0015_0.jpg",
        "MSMT17/query/0000_c4_0002.jpg",
        "MSMT17/bounding_box_test/0000_c5_0002.jpg",
    )
    dataset = open_dataset("MS", tmp_path)
    assert dataset.version == "unknown"
    assert {i.camid for i in dataset.train().images} == {0, 14}
    assert len(dataset.all().pids) == 3


def test_msmt17_lists_are_checked(tmp_path):
    msmt(tmp_path, "MSMT17_V1")
    listed = tmp_path / "MSMT17_V1/list_query.txt"
    listed.write_text("0000/0000_009_02_0303morning_0008_0.jpg 0\n")
    with pytest.raises(DataError, match=r"1 images of list_query.txt are not in test.*_009_"):
        open_dataset("MS", tmp_path)
    listed.write_text("0000/0000_001_02_0303morning_0008_0.jpg\n")
    with pytest.raises(DataError, match=r"list_query.txt:1: expected"):
        open_dataset("MS", tmp_path)
    listed.unlink()
    with pytest.raises(DataError, match=r"half-copied: list_query\.txt missing"):
        open_dataset("MS", tmp_path)


@pytest.mark.parametrize("folder", CARDS["C2"].folders)
def test_cuhk02(tmp_path, folder):
    for pair in range(1, 6):
        for cam in (1, 2):
            tree(tmp_path, *(f"{folder}/P{pair}/cam{cam}/001_{cam}_{n}.png" for n in (1, 2)))
    dataset = open_dataset("C2", tmp_path)
    assert counts(dataset) == {"train": (20, 5)}  # every pair's 001 is someone else
    assert {i.camid for i in dataset.train().images} == set(range(10))
    assert dataset.all().images == dataset.train().images
    with pytest.raises(DataError, match="can not be a target"):
        dataset.probes()


@pytest.mark.parametrize("folder", CARDS["CS"].folders)
def test_cuhk_sysu(tmp_path, folder):
    names = ["p0_s1_1.jpg", "p0_s2_1.jpg", "p11_s1_1.jpg", "p-1_s1_2.jpg"]
    tree(tmp_path, *(f"{folder}/{n}" for n in names))
    assert counts(open_dataset("CS", tmp_path)) == {"train": (3, 2)}


def viper(root, people):
    for pid in people:
        tree(root, f"VIPeR/cam_a/{pid:03d}_45.bmp", f"VIPeR/cam_b/{pid:03d}_135.bmp")


def test_viper(tmp_path):
    viper(tmp_path, [*range(300), *range(400, 732)])  # 632 people, with a gap as in the real one
    there, back = open_dataset("VIPeR", tmp_path), open_dataset("VIPeR-ba", tmp_path)
    assert counts(there) == {"cam_a": (632, 632), "cam_b": (632, 632)}
    assert len(there.probes()) == 10
    for probe, reverse in zip(there.probes(), back.probes(), strict=True):
        assert len(probe.query.images) == len(probe.gallery.images) == 316
        assert probe.query.pids == probe.gallery.pids == reverse.query.pids
        assert {i.camid for i in probe.query.images} == {0}
        assert probe.query.images == reverse.gallery.images
        assert probe.gallery.images == reverse.query.images
    assert len({p.query.images for p in there.probes()}) == 10
    assert "VIPeR/cam_a/000_45.bmp" in {i.path for p in there.probes() for i in p.query.images}
    with pytest.raises(DataError, match="can not be a source"):
        there.train()
    with pytest.raises(DataError, match="can not be a source"):
        there.all()


def test_viper_people_in_one_camera_are_noted(tmp_path):
    viper(tmp_path, range(60))
    tree(tmp_path, "VIPeR/cam_a/099_45.bmp")
    dataset = open_dataset("VIPeR", tmp_path)
    assert "1 identities are in one camera only" in dataset.notes[0]
    assert all(p.query.pids == p.gallery.pids and 100 not in p.query.pids for p in dataset.probes())


@pytest.mark.parametrize("folder", ["prid_2011/single_shot", "PRID/single_shot", "PRID"])
def test_prid(tmp_path, folder):
    tree(tmp_path, *(f"{folder}/cam_a/person_{n:04d}.png" for n in range(1, 386)))
    tree(tmp_path, *(f"{folder}/cam_b/person_{n:04d}.png" for n in range(1, 750)))
    dataset = open_dataset("PRID", tmp_path)
    assert counts(dataset) == {"cam_a": (385, 385), "cam_b": (749, 749)}
    assert len(dataset.probes()) == 10
    for probe in dataset.probes():
        assert (len(probe.query.images), len(probe.gallery.images)) == (100, 649)
        assert max(probe.query.pids) <= 200
        assert set(probe.query.pids) == {p for p in probe.gallery.pids if p <= 200}
        assert set(range(201, 750)) <= set(probe.gallery.pids)
        assert {i.camid for i in probe.query.images} == {0}


def partitions(layout):
    """trainIdxAll as MATLAB's cell of structs, a struct array, or a cell of plain lists."""
    rng = np.random.default_rng(0)
    splits = [np.sort(rng.permutation(250)[:125] + 1) for _ in range(10)]
    other = [np.arange(126, 251) for _ in range(10)]
    cell = np.empty((1, 10), dtype=object)
    for i, people in enumerate(splits):
        record = {"probe": other[i], "gallery": other[i] - 5, "people": people}
        cell[0, i] = {"cell": record, "plain": people, "short": {"people": people}}.get(layout)
    if layout == "structs":
        kind = [("probe", object), ("gallery", object), ("people", object)]
        rows = [(other[i], other[i] - 5, splits[i]) for i in range(10)]
        cell = np.array([rows], dtype=kind)
    return cell, splits


@pytest.mark.parametrize("layout", ["cell", "structs", "plain", "short"])
def test_grid(tmp_path, layout):
    people = [f"{n:04d}_1_25004_107_32_106_221.jpeg" for n in range(1, 251)]
    tree(tmp_path, *(f"underground_reid/probe/{n}" for n in people))
    tree(tmp_path, *(f"underground_reid/gallery/{n.replace('_1_', '_8_', 1)}" for n in people))
    strangers = (f"underground_reid/gallery/0000_2_{n}_1_1_1_1.jpeg" for n in range(775))
    tree(tmp_path, *strangers)
    cell, splits = partitions(layout)
    savemat(tmp_path / "underground_reid/features_and_partitions.mat", {"trainIdxAll": cell})
    dataset = open_dataset("GRID", tmp_path)
    assert counts(dataset) == {"probe": (250, 250), "gallery": (1025, 250)}
    assert len(dataset.probes()) == 10
    for probe, training in zip(dataset.probes(), splits, strict=True):
        assert (len(probe.query.images), len(probe.gallery.images)) == (125, 900)
        assert set(probe.query.pids) == set(range(1, 251)) - set(training.tolist())
        assert {i.camid for i in probe.query.images} == {0}
        assert {i.camid for i in probe.gallery.images} == {1, 7}


def test_grid_needs_its_partitions(tmp_path):
    folder = tmp_path / "GRID"
    tree(tmp_path, "GRID/probe/0001_1_1_1_1_1_1.jpeg", "GRID/gallery/0001_2_1_1_1_1_1.jpeg")
    with pytest.raises(DataError, match=r"features_and_partitions.mat is missing"):
        open_dataset("GRID", tmp_path)
    (folder / "features_and_partitions.mat").write_text("no MATLAB file")
    with pytest.raises(DataError, match="can not be read"):
        open_dataset("GRID", tmp_path)
    savemat(folder / "features_and_partitions.mat", {"trainIdxAll": np.arange(10)})
    with pytest.raises(DataError, match="0 of 10 splits understood"):
        open_dataset("GRID", tmp_path)


@pytest.mark.parametrize("folder", CARDS["iLIDS"].folders)
def test_ilids(tmp_path, folder):
    tree(
        tmp_path,
        *(f"{folder}/{p:04d}{n:03d}.jpg" for p in range(1, 120) for n in range(1, 3 + p % 6)),
    )
    dataset = open_dataset("iLIDS", tmp_path)
    assert len(dataset.probes()) == 10
    for probe in dataset.probes():
        assert len(probe.query.images) == len(probe.gallery.images) == 60
        assert probe.query.pids == probe.gallery.pids and len(probe.query.pids) == 60
        assert not {i.path for i in probe.query.images} & {i.path for i in probe.gallery.images}
        # No cameras: whatever is the same person must not be removed as the same camera.
        assert {i.camid for i in probe.query.images} != {i.camid for i in probe.gallery.images}


def test_foreign_files_are_passed_over(tmp_path):
    folder = "Market1501/bounding_box_train"
    tree(tmp_path, *market("Market1501"))
    tree(tmp_path, f"{folder}/Thumbs.db", f"{folder}/._0002_c1s1_000451_03.jpg", f"{folder}/a.txt")
    (tmp_path / folder / "0009_c1s1_1_1.jpg").mkdir()
    assert len(open_dataset("MA", tmp_path).train().images) == 3


def test_any_case_of_suffix_is_an_image(tmp_path):
    tree(tmp_path, *market("Market1501"), "Market1501/query/0003_c1s1_1_1.JPG")
    assert counts(open_dataset("MA", tmp_path))["query"] == (2, 2)


def test_strange_names_are_named(tmp_path):
    tree(tmp_path, *market("Market1501"), *(f"Market1501/query/cat{n}.jpg" for n in range(5)))
    with pytest.raises(DataError, match=r"5 file name.*cat0.jpg, cat1.jpg, cat2.jpg and 2 more"):
        open_dataset("MA", tmp_path)


def test_half_copied_says_which_folder(tmp_path):
    tree(tmp_path, "Market1501/bounding_box_train/0002_c1s1_000451_03.jpg")
    (tmp_path / "Market1501/query").mkdir()
    with pytest.raises(DataError) as caught:
        open_dataset("MA", tmp_path)
    message = str(caught.value)
    assert "query holds no image" in message and "bounding_box_test is missing" in message
    assert "bounding_box_train is" not in message
    (tmp_path / "cuhk02/P1/cam1").mkdir(parents=True)
    with pytest.raises(DataError, match="P5/cam2 is missing"):
        open_dataset("C2", tmp_path)


def test_absent_says_where_it_looked(tmp_path):
    with pytest.raises(DataError) as caught:
        open_dataset("MA", tmp_path)
    assert all(folder in str(caught.value) for folder in CARDS["MA"].folders)
    with pytest.raises(DataError, match="nowhere does not exist"):
        open_dataset("MA", tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is not a folder"):
        open_dataset("MA", tmp_path / "file")
    with pytest.raises(UnknownName, match="'VIPeR'"):
        open_dataset("VIPR", tmp_path)


def test_a_root_that_is_the_data_set_itself_is_recognised(tmp_path):
    tree(tmp_path, *market("Market1501"))
    with pytest.raises(DataError, match="give the folder above it"):
        open_dataset("MA", tmp_path / "Market1501")


def test_a_second_copy_is_noted(tmp_path):
    msmt(tmp_path, "MSMT17_V1")
    msmt(tmp_path, "MSMT17_V2", "mask_train_v2", "mask_test_v2")
    dataset = open_dataset("MS", tmp_path)
    assert dataset.version == "V1" and "MSMT17_V2" in dataset.notes[0]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder(tmp_path):
    tree(tmp_path, *market("Market1501"))
    locked = tmp_path / "Market1501/query"
    locked.chmod(0)
    try:
        with pytest.raises(DataError, match="No permission to read"):
            open_dataset("MA", tmp_path)
    finally:
        locked.chmod(0o755)


def test_permission_errors_are_data_errors(tmp_path, monkeypatch):
    """The same, for whoever runs the tests as root."""
    tree(tmp_path, *market("Market1501"))
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("query"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"No permission to read .*query"):
        open_dataset("MA", tmp_path)


@pytest.mark.parametrize("key", CARDS)
def test_every_card_is_filled_in(key):
    card = CARDS[key]
    assert card.key == key and card.folders and card.citation and card.terms and card.counts
    assert card.family in CARDS and set(card.overlaps) <= set(CARDS)
    assert card.can_be_source or card.can_be_target
    if card.can_be_source:
        assert card.counts["train"].images > card.counts["train"].identities
