"""MSMT17 in its three layouts. V1 and V2 (faces masked) give different numbers.

Owners' layout: list_{train,val,query,gallery}.txt of `0000/0000_000_01_0303morning_0015_0.jpg 0`
(path, identity) over `train|test` (V1) or `mask_train_v2|mask_test_v2` (V2); the camera is the
third field. Or a conversion to Market-1501's folders, with either kind of file name.
"""

from __future__ import annotations

import re
from pathlib import Path

from protocols.datasets.card import Count, DatasetCard
from protocols.datasets.closed_set import (
    MARKET_FOLDERS,
    closed_set,
    parse_market_name,
)
from protocols.datasets.dataset import Dataset
from protocols.datasets.folders import (
    Place,
    half_copied,
    is_dir,
    list_names,
    read_images,
    readable,
    require_folders,
)
from protocols.errors import DataError
from protocols.types import JUNK_PID, Image

CARDS = (
    DatasetCard(
        key="MS",
        name="MSMT17",
        citation="Wei et al., Person Transfer GAN to Bridge Domain Gap, CVPR 2018",
        year=2018,
        terms="Academic research only, under the owners' signed agreement.",
        folders=(
            *(f"{up}MSMT17_{v}" for v in ("V1", "V2") for up in ("", "MSMT17/", "msmt17/")),
            "MSMT17",
            "msmt17",
        ),
        # train = list_train + list_val, as the field trains on both.
        counts={
            "train": Count(32621, 1041),
            "query": Count(11659, 3060),
            "gallery": Count(82161, 3060),
        },
        cameras=15,
    ),
)

_TRAIN_FIRST_PID = 1
_TEST_FIRST_PID = 10_001
"""Train and test are both numbered from 0 and are different people; 0 is a person here, not a
distractor. Read so, no two people share a number and none is 0 (1041 + 1 is well below 10 001)."""

_OWN_NAME = re.compile(r"(\d+)_\d+_(\d+)_")


def read(place: Place) -> Dataset:
    """MSMT17 in whichever layout it is; `version` is V1, V2 or unknown. Raises DataError."""
    root = place.root
    if is_dir(root / "mask_train_v2") or is_dir(root / "mask_test_v2"):
        return _read_lists(place, "mask_train_v2", "mask_test_v2", "V2")
    if any(is_dir(root / sub) for sub in MARKET_FOLDERS.values()):
        return _read_market(place)
    if is_dir(root / "train") or is_dir(root / "test"):
        return _read_lists(place, "train", "test", _version_of_folder(place))
    needed = ("train and test, mask_train_v2 and mask_test_v2, or bounding_box_train, query and "
              "bounding_box_test",)  # fmt: skip
    raise half_copied(place, "it has none of its folders", needed)


def _version_of_folder(place: Place) -> str:
    """V1 or V2 as the folder's name says: unmasked folder names alone do not prove V1."""
    found = re.search(r"V[12]$", place.folder, re.IGNORECASE)
    return found[0].upper() if found else "unknown"


def _parse_name(name: str) -> tuple[int, int] | None:
    own = _OWN_NAME.match(name)
    return (int(own[1]), int(own[2]) - 1) if own else parse_market_name(name)


def _renumber(images: list[Image], first: int) -> list[Image]:
    return [i._replace(pid=i.pid + first) for i in images]


def _read_market(place: Place) -> Dataset:
    require_folders(place, MARKET_FOLDERS.values())
    train, query, gallery = (read_images(place, f, _parse_name) for f in MARKET_FOLDERS.values())
    return closed_set(
        place,
        _renumber(train, _TRAIN_FIRST_PID),
        _renumber(query, _TEST_FIRST_PID),
        _renumber(gallery, _TEST_FIRST_PID),
        _version_of_folder(place),
    )


def _read_lists(place: Place, train_dir: str, test_dir: str, version: str) -> Dataset:
    lists = {n: place.root / f"list_{n}.txt" for n in ("train", "val", "query", "gallery")}
    missing = [path.name for path in lists.values() if not path.is_file()]
    missing += [sub for sub in (train_dir, test_dir) if not is_dir(place.root / sub)]
    if missing:
        raise half_copied(place, f"{', '.join(missing)} missing")
    train_files = _files(place, train_dir)
    test_files = _files(place, test_dir)
    train = _read_list(place, lists["train"], train_dir, train_files)
    train += _read_list(place, lists["val"], train_dir, train_files)
    query = _read_list(place, lists["query"], test_dir, test_files)
    gallery = _read_list(place, lists["gallery"], test_dir, test_files)
    return closed_set(
        place,
        _renumber(train, _TRAIN_FIRST_PID),
        _renumber(query, _TEST_FIRST_PID),
        _renumber(gallery, _TEST_FIRST_PID),
        version,
    )


def _files(place: Place, sub: str) -> frozenset[str]:
    """What lies in the identity folders of `sub`, as the lists write it: `0000/NAME.jpg`."""
    folder = place.root / sub
    with readable(folder):
        people = sorted(p for p in folder.iterdir() if p.is_dir())
    return frozenset(f"{p.name}/{name}" for p in people for name in list_names(p))


def _read_list(place: Place, path: Path, sub: str, files: frozenset[str]) -> list[Image]:
    """The images of one list file. Raises DataError naming file and line, or files not there."""
    images, missing = [], []
    with readable(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        file, _, pid = line.strip().rpartition(" ")
        parsed = _parse_name(file.rsplit("/", 1)[-1])
        if not pid.lstrip("-").isdecimal() or parsed is None:
            raise DataError(
                f"{path}:{number}: expected 'FOLDER/ID_N_CAMERA_NAME.jpg ID', got {line!r}."
            )
        if file not in files:
            missing.append(file)
        if int(pid) != JUNK_PID:
            images.append(Image(f"{place.folder}/{sub}/{file}", int(pid), parsed[1]))
    if missing:
        what = f"{len(missing)} images of {path.name} are not in {sub}, the first is {missing[0]}"
        raise half_copied(place, what)
    if not images and path.name != "list_val.txt":
        raise half_copied(place, f"{path.name} lists no image")
    return images
