"""Stand-in data: what is drawn, and that it lands on disk whole."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from protocols import standin
from protocols.errors import DataError, UnknownName
from protocols.standin import make
from protocols.standin.canvas import PARTS
from protocols.standin.domains import DOMAINS
from protocols.standin.layouts import LAYOUTS
from protocols.standin.render import person, render
from protocols.standin.studio import STUDIO

LEVELS = {
    # (domain, identity, camera, shot): mean red, green, blue of the upper, middle, lower third.
    # Written down once, so that a change of what is drawn does not go unnoticed (then VERSION
    # goes up). Pillow may round differently by release: a tolerance of 1.5 levels.
    ("MA", 2, 0, 0): [179.3, 158.4, 131.4, 157.4, 146.3, 149.9, 188.2, 152.8, 151.1],
    ("D", 5, 3, 1): [72.0, 76.6, 84.5, 62.4, 64.2, 70.9, 92.5, 97.4, 116.0],
    ("VIPeR", 7, 1, 0): [137.9, 134.7, 73.3, 152.4, 155.9, 103.8, 180.9, 191.2, 129.7],
}


@pytest.fixture(scope="module")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the smallest stand-in."""
    return standin.data_root(tmp_path_factory.mktemp("cache"), ("C3",))


def levels(picture: Image.Image) -> np.ndarray:
    """Mean colours of three horizontal thirds: [9]."""
    thirds = np.array_split(np.asarray(picture, float), 3)
    return np.concatenate([third.mean((0, 1)) for third in thirds])


@pytest.mark.parametrize("shot", LEVELS)
def test_pictures_are_those_that_were_written_down(shot: tuple[str, int, int, int]) -> None:
    key, *numbers = shot
    drawn = levels(render(DOMAINS[key], *numbers).picture)
    np.testing.assert_allclose(drawn, LEVELS[shot], atol=1.5)


def test_a_picture_depends_on_its_own_numbers_only() -> None:
    first = render(DOMAINS["MS"], 3, 2, 0)
    render(DOMAINS["MS"], 4, 1, 0)
    again, other = render(DOMAINS["MS"], 3, 2, 0), render(DOMAINS["MS"], 3, 2, 1)
    assert first.boxes == again.boxes
    assert np.array_equal(first.picture, again.picture)
    assert not np.array_equal(first.picture, other.picture)
    assert not np.array_equal(first.picture, render(DOMAINS["MS"], 3, 2, 0, seed=1).picture)


def test_boxes_hold_what_they_say() -> None:
    width, height = DOMAINS["PRID"].size
    for pid in range(40):
        drawn = render(DOMAINS["PRID"], pid, pid % 2, 0)
        for x0, y0, x1, y1 in drawn.boxes.values():
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
        middles = [(drawn.boxes[part][1] + drawn.boxes[part][3]) / 2 for part in PARTS]
        assert middles == sorted(middles), "head above upper body above legs"
        left, _, right, _ = drawn.boxes["upper body"]
        assert right - left > 8
        assert abs((left + right) / 2 - width / 2) < 20


def test_boxes_follow_the_clothes() -> None:
    """The box of the upper body has more of the top's colour than the rest of the picture."""
    red = [p for p in range(400) if person(0, STUDIO, p).top.cloth.name == "red"]
    for pid in red[:10]:
        drawn = render(STUDIO, pid, 0, 0)
        pixels = np.asarray(drawn.picture, float)
        reddish = pixels[..., 0] > 1.8 * pixels[..., 1:].max(2)
        x0, y0, x1, y1 = drawn.boxes["upper body"]
        inside = np.zeros_like(reddish)
        inside[y0:y1, x0:x1] = True
        assert reddish[inside].mean() > 2 * reddish[~inside].mean()


def test_spoilt_pictures_miss_most_of_the_person() -> None:
    for pid in range(10):
        whole = render(DOMAINS["MA"], pid, 0, 0).boxes
        spoilt = render(DOMAINS["MA"], pid, 0, 0, spoilt=True).boxes
        area = [
            sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in b.values()) for b in (whole, spoilt)
        ]
        assert area[1] < 0.6 * area[0]


def test_no_person_is_in_two_splits_or_domains() -> None:
    """Over train and test, over domains, and the studio that the tiny CLIP is trained on."""
    people = {}
    for key in LAYOUTS:
        for shot in LAYOUTS[key](0).shots:
            folder = Path(shot.path).parts
            people.setdefault(person(0, DOMAINS[key], shot.pid), set()).add(
                (key, any("train" in f for f in folder))
            )
    assert all(len(places) == 1 for places in people.values())
    studio = {person(0, STUDIO, pid) for pid in range(2000)}
    assert not studio & set(people)


def test_coarse_attributes_are_shared() -> None:
    """No single part names the person: parts must be put together."""
    test = {s.pid for s in LAYOUTS["MA"](0).shots if "/query/" in s.path}
    who = [person(0, DOMAINS["MA"], pid) for pid in sorted(test)]
    tops = {(p.top.cloth.name, p.top.garment) for p in who}
    legs = {(p.bottom_cloth.name, p.bottom) for p in who}
    heads = {(p.hair.name, p.hair_style, p.hat) for p in who}
    assert max(len(tops), len(legs), len(heads)) < 0.8 * len(who)


def test_every_picture_is_written_with_its_annotation(small_root: Path) -> None:
    notes = standin.truth(small_root, "C3")
    files = sorted(small_root.glob("cuhk03-np/**/*.png"))
    assert [f.relative_to(small_root).as_posix() for f in files] == list(notes)
    for file, note in zip(files, notes.values(), strict=True):
        with Image.open(file) as picture:
            assert picture.size == DOMAINS["C3"].size
        assert note["caption"].endswith(".")
        assert list(note["parts"]) == ["head", "legs", "upper body"]
        assert all(sentence.startswith("A photo of a") for sentence in note["parts"].values())
    captions = {note["caption"] for note in notes.values()}
    assert len(captions) > 100
    assert standin.is_standin(small_root)
    assert json.loads((small_root / "STANDIN.json").read_text())["version"] == standin.VERSION


def test_one_process_writes_what_two_do(
    small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "_may_fork", lambda: False)
    alone = standin.data_root(tmp_path, ("C3",))
    ours, theirs = ([*sorted(root.rglob("*"))] for root in (alone, small_root))
    assert [p.name for p in ours] == [p.name for p in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.is_dir() or mine.read_bytes() == other.read_bytes(), mine


def test_made_once(small_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "_draw", lambda *_: pytest.fail("drawn again"))
    assert standin.data_root(small_root.parent, ("C3",)) == small_root


def test_interrupted_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = make.render, itertools.count()

    def interrupted(*args: object, **kwargs: object) -> object:
        if next(calls) == 20:
            raise KeyboardInterrupt
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(make, "_may_fork", lambda: False)
    monkeypatch.setattr(make, "render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        standin.data_root(tmp_path, ("C3",))
    left = sorted(p.name for p in tmp_path.glob("*/*"))
    assert left == ["STANDIN.json", "annotations"]


def test_a_helper_that_dies_is_stood_in_for(
    small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "_draw_to", lambda *_: os._exit(9))
    root = standin.data_root(tmp_path, ("C3",))
    assert standin.truth(root, "C3") == standin.truth(small_root, "C3")
    assert len([*root.rglob("*.png")]) == len([*small_root.rglob("*.png")])


def test_killed_then_again(small_root: Path, tmp_path: Path) -> None:
    """kill -9 in the middle, then the same call: whole, with the same bytes, nothing left over."""
    code = "from protocols import standin; standin.data_root(keys=['C3'])"
    killed = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "HARNESS_CACHE": str(tmp_path)},
    )
    deadline = time.monotonic() + 30
    while not [*tmp_path.glob("*/.making-C3-*/**/*.png")] and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not [*tmp_path.glob("*/cuhk03-np")]
    root = standin.data_root(tmp_path, ("C3",))
    for file in small_root.rglob("*.png"):
        assert (root / file.relative_to(small_root)).read_bytes() == file.read_bytes()


def test_what_killed_processes_left_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = standin.data_root(tmp_path, ())
    (root / ".making-MA-x").mkdir()
    standin.data_root(tmp_path, ())
    assert (root / ".making-MA-x").exists(), "young: somebody may be at work on it"
    monkeypatch.setattr(make, "STALE_SECONDS", -1.0)
    standin.data_root(tmp_path, ())
    assert not (root / ".making-MA-x").exists()


def test_another_process_was_first(
    small_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(layout: object, key: str, seed: int, scratch: Path) -> object:
        (scratch.parent / "cuhk03-np").mkdir()
        (scratch.parent / "cuhk03-np" / "theirs").touch()
        return {}

    monkeypatch.setattr(make, "_draw_all", overtaken)
    root = standin.data_root(tmp_path, ("C3",))
    assert [p.name for p in (root / "cuhk03-np").iterdir()] == ["theirs"]


def test_helpful_errors(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'VIPeR'"):
        standin.data_root(tmp_path, ("viper",))
    with pytest.raises(DataError, match="holds no stand-in MA"):
        standin.truth(tmp_path, "MA")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="HARNESS_CACHE"):
        standin.data_root(tmp_path / "file", ("C3",))


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert make.cache_folder() == Path("/somewhere/dg-reid-harness")
    monkeypatch.setenv("HARNESS_CACHE", "/elsewhere")
    assert make.cache_folder() == Path("/elsewhere")


def test_what_a_cleaner_left_is_made_again(small_root: Path, tmp_path: Path) -> None:
    root = shutil.copytree(small_root, tmp_path / small_root.name)
    before = {p: p.read_bytes() for p in sorted(root.rglob("*.png"))}
    first, last = min(before), max(before)
    for damage in (first.unlink, lambda: last.write_bytes(before[last][:50])):
        damage()
        assert standin.data_root(tmp_path, ["C3"]) == root
        assert {p: p.read_bytes() for p in sorted(root.rglob("*.png"))} == before
