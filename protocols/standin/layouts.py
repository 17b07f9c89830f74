"""Which pictures a stand-in data set has, and the path the real data set would give each.

A layout is a list of shots and a few text files. Nothing is drawn here. Sizes are chosen so that
16 rows of results take minutes on two cores.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from protocols.standin.domains import DOMAINS
from protocols.standin.render import stream

LAYOUT = 4  # the kind of random stream, after those of protocols.standin.render
NOBODY = 100_000  # distractors and junk: identities from here on, met nowhere else


@dataclass(frozen=True)
class Shot:
    """One file to make. `pid` is the identity rendered, whatever the file's name says."""

    path: str
    pid: int
    camid: int
    number: int
    spoilt: bool = False


@dataclass(frozen=True)
class Layout:
    """One data set: `folder` under the data root, its shots and its text files (path -> text).

    Paths are relative to the data root.
    """

    folder: str
    shots: tuple[Shot, ...]
    texts: Mapping[str, str] = field(default_factory=dict)


class _Seen(NamedTuple):
    """Identity `pid` before camera `camid`, for the `number`-th time there (from 0)."""

    pid: int
    camid: int
    number: int


def _sightings(key: str, pids: Iterable[int], per_pid: int, seed: int) -> list[_Seen]:
    """`per_pid` pictures of every identity, spread over 3 to 5 of the cameras, or all there are."""
    domain = DOMAINS[key]
    seen = []
    for pid in pids:
        rng = stream(seed, domain.number, LAYOUT, pid)
        cameras = rng.permutation(domain.cameras)[: rng.integers(3, 6)]
        for i in range(per_pid):
            number, turn = divmod(i, len(cameras))
            seen.append(_Seen(pid, int(cameras[turn]), number))
    return sorted(seen)


def _split_queries(seen: list[_Seen]) -> tuple[list[_Seen], list[_Seen]]:
    """Queries (a person's first picture in each of up to 3 cameras) and the gallery, the rest."""
    queries: list[_Seen] = []
    for _, mine in itertools.groupby(seen, key=lambda one: one.pid):
        queries += [one for one in mine if one.number == 0][:3]
    return queries, [one for one in seen if one not in set(queries)]


def _market(seed: int) -> Layout:
    root = "Market-1501-v15.09.15"
    train = _sightings("MA", range(2, 98, 2), 6, seed)
    query, gallery = _split_queries(_sightings("MA", range(1, 81, 2), 8, seed))

    def shot(folder: str, one: _Seen, name: str = "", spoilt: bool = False) -> Shot:
        frame = 151 + 25 * (one.pid % 997) + 475 * one.number
        name = f"{name or f'{one.pid:04d}'}_c{one.camid + 1}s1_{frame:06d}_{one.number:02d}.jpg"
        return Shot(f"{root}/{folder}/{name}", one.pid, one.camid, one.number, spoilt)

    distractors = [_Seen(NOBODY + i, i % 6, 1) for i in range(24)]
    junk = [_Seen(NOBODY + 100 + i, i % 6, 1) for i in range(8)]
    test = "bounding_box_test"
    return Layout(
        root,
        (
            *(shot("bounding_box_train", one) for one in train),
            *(shot("query", one) for one in query),
            *(shot(test, one) for one in gallery),
            *(shot(test, one, "0000", i % 2 == 0) for i, one in enumerate(distractors)),
            *(shot(test, one, "-1", True) for one in junk),
        ),
    )


def _duke(seed: int) -> Layout:
    root = "DukeMTMC-reID"
    train = _sightings("D", range(1, 49), 6, seed)
    query, gallery = _split_queries(_sightings("D", range(101, 141), 8, seed))
    only_gallery = _sightings("D", range(201, 209), 3, seed)

    def shot(folder: str, one: _Seen) -> Shot:
        frame = 44_000 + 120 * one.pid + 60 * one.number
        path = f"{root}/{folder}/{one.pid:04d}_c{one.camid + 1}_f{frame:07d}.jpg"
        return Shot(path, one.pid, one.camid, one.number)

    return Layout(
        root,
        (
            *(shot("bounding_box_train", one) for one in train),
            *(shot("query", one) for one in query),
            *(shot("bounding_box_test", one) for one in gallery + only_gallery),
        ),
    )


def _msmt(seed: int) -> Layout:
    """MSMT17 numbers identities from 0 in `train` and again in `test`."""
    root = "MSMT17_V1"
    test_from = 1000  # the identity rendered for test/0000
    train = _sightings("MS", range(56), 6, seed)
    test = _sightings("MS", range(test_from, test_from + 48), 8, seed)
    query, gallery = _split_queries(test)
    hours = ("morning", "noon", "afternoon")

    def name(one: _Seen, pid: int) -> str:
        index = 20 * one.number + one.camid  # unlike in any other picture of the identity
        hour = hours[one.number % 3]
        return f"{pid:04d}/{pid:04d}_{index:03d}_{one.camid + 1:02d}_0303{hour}_{index:04d}_0.jpg"

    def shots(seen: list[_Seen], folder: str, first: int) -> list[Shot]:
        return [Shot(f"{root}/{folder}/{name(one, one.pid - first)}", *one) for one in seen]

    def listing(seen: list[_Seen], first: int) -> str:
        return "".join(f"{name(one, one.pid - first)} {one.pid - first}\n" for one in seen)

    held = [one for one in train if one.number == 1]  # the list called val is trained on as well
    rest = [one for one in train if one.number != 1]
    return Layout(
        root,
        (*shots(train, "train", 0), *shots(test, "test", test_from)),
        {
            f"{root}/list_train.txt": listing(rest, 0),
            f"{root}/list_val.txt": listing(held, 0),
            f"{root}/list_query.txt": listing(query, test_from),
            f"{root}/list_gallery.txt": listing(gallery, test_from),
        },
    )


def _cuhk03(seed: int) -> Layout:
    root = "cuhk03-np"
    train = _sightings("C3", range(1, 45), 6, seed)
    query, gallery = _split_queries(_sightings("C3", range(101, 137), 8, seed))

    def shot(folder: str, one: _Seen) -> Shot:
        name = f"{one.pid:04d}_c{one.camid + 1}_{5 * one.camid + one.number + 1}.png"
        return Shot(f"{root}/detected/{folder}/{name}", *one)

    return Layout(
        root,
        (
            *(shot("bounding_box_train", one) for one in train),
            *(shot("query", one) for one in query),
            *(shot("bounding_box_test", one) for one in gallery),
        ),
    )


def _viper(seed: int) -> Layout:
    """632 pairs. The second field of a name is the angle in degrees, as in the real set."""
    angles = (0, 45, 90, 135, 180)
    shots = []
    for pid in range(632):
        rng = stream(seed, DOMAINS["VIPeR"].number, LAYOUT, pid)
        for camid, folder in enumerate(("cam_a", "cam_b")):
            angle = angles[rng.integers(len(angles))]
            shots.append(Shot(f"VIPeR/{folder}/{pid:03d}_{angle}.bmp", pid, camid, 0))
    return Layout("VIPeR", tuple(shots))


def _prid(seed: int) -> Layout:
    """385 people seen by camera a, 749 by camera b; the first 200 of each are the same."""
    del seed  # nothing is drawn
    shots = []
    for camid, (folder, count) in enumerate((("cam_a", 385), ("cam_b", 749))):
        for number in range(1, count + 1):
            pid = number if number <= 200 else number + 1000 * (camid + 1)
            path = f"prid_2011/single_shot/{folder}/person_{number:04d}.png"
            shots.append(Shot(path, pid, camid, 0))
    return Layout("prid_2011", tuple(shots))


LAYOUTS: Mapping[str, Callable[[int], Layout]] = {
    "MA": _market,
    "D": _duke,
    "MS": _msmt,
    "C3": _cuhk03,
    "VIPeR": _viper,
    "PRID": _prid,
}
"""Key of a data set -> its layout for a seed."""
