"""A gallery ranked in ranges: exactly the ranks of one process, however it is cut."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.evaluate import ProbeLabels
from harness.feature_files import FeatureFile, read_all
from harness.labelled import Labelled
from harness.mapped import Stacked
from harness.progress import Progress
from harness.ranking import rank_features, ranking_of
from harness.sharded import Job, Part, count, merged, opened, ranges, rank_sharded, score
from protocols.errors import DataError
from protocols.variants import parse


def drawn(seed: int, queries: int = 12, items: int = 90, width: int = 40) -> Labelled:
    """Features with many copies, so that ties go over the borders of ranges."""
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((items, width)).astype(np.float32)
    rows[draw.integers(0, items, items)] = rows[draw.integers(0, items // 8, items)]
    known: ProbeLabels = {
        "query_pids": draw.integers(-1, 7, queries),
        "query_camids": draw.integers(0, 3, queries),
        "gallery_pids": draw.integers(-1, 9, items),
        "gallery_camids": draw.integers(0, 3, items),
    }
    known["query_pids"][0], known["query_camids"][0] = 5, 0
    known["gallery_pids"][-1], known["gallery_camids"][-1] = 5, 1
    query = FeatureFile(Path("q"), rows[draw.integers(0, items, queries)] + 0.5, None, None, None)
    gallery = FeatureFile(Path("g"), Stacked([rows[:17], rows[17:]]), None, None, None)
    return Labelled(query, gallery, known)


def assert_same(got, want):
    for name in ("ap", "inp", "first_hit", "matches", "valid"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.sets(st.integers(1, 89)), data=st.data())
def test_ranges_put_together_are_the_whole(seed, cuts, data):
    files = drawn(seed)
    query, gallery, people = files.engine()

    def do(parts, scores):
        for part in data.draw(st.permutations(parts)):
            yield part, score(files, part) if scores is None else count(files, part, scores)

    found = merged(people, query.D, list(pairwise([0, *sorted(cuts), 90])), do)
    got = ranking_of(found, people.counts(), 50)
    assert_same(got, rank_features(query.values, gallery.values, **files.known))


def test_several_blocks_of_queries(monkeypatch):
    from harness import counting

    monkeypatch.setattr(counting, "QUERY_BYTES", 4 * 40 * 5)  # five at a time
    files = drawn(3)
    query, gallery, people = files.engine()

    def do(parts, scores):
        return [(p, score(files, p) if scores is None else count(files, p, scores)) for p in parts]

    got = ranking_of(merged(people, 40, ranges(90, 2), do), people.counts(), 50)
    assert_same(got, rank_features(query.values, gallery.values, **files.known))


@pytest.mark.parametrize(("items", "workers"), [(1, 4), (7, 2), (100, 3), (10**6, 16)])
def test_every_item_is_in_one_range(items, workers):
    cut = ranges(items, workers)
    assert [last for _, last in cut[:-1]] == [first for first, _ in cut[1:]]
    assert (cut[0][0], cut[-1][1]) == (0, items)
    assert min(items, workers) <= len(cut) <= 4 * workers


@pytest.fixture
def files(tmp_path):
    """The same as files: the gallery in three shards."""
    made = drawn(1, items=91)
    known = made.known
    np.savez(tmp_path / "q.npz", features=made.query.features, pids=known["query_pids"],
             camids=known["query_camids"])  # fmt: skip
    (tmp_path / "g").mkdir()
    for i, rows in enumerate((slice(0, 30), slice(30, 31), slice(31, 91))):
        pids, camids = known["gallery_pids"][rows], known["gallery_camids"][rows]
        features = made.gallery.features[rows]
        np.savez(tmp_path / "g" / f"{i}.npz", features=features, pids=pids, camids=camids)
    return tmp_path


def test_over_ray(files, monkeypatch):
    monkeypatch.chdir(files)  # what is typed may be relative
    job = Job.of(["q.npz"], ["g/*.npz"], parse("no-distractors"))

    class Counted(Progress):
        units = 0.0

        def advance(self, units, doing):
            self.units += units

    progress = Counted()
    got = rank_sharded(job, 2, None, 50, progress)
    query, gallery = read_all(["q.npz"], "query"), read_all(["g"], "gallery")
    (pids, camids), (gallery_pids, gallery_camids) = query.labels(), gallery.labels()
    kept = gallery_pids != 0
    assert not kept.all()
    want = rank_features(
        query.features,
        gallery.features[np.flatnonzero(kept)],
        query_pids=pids,
        query_camids=camids,
        gallery_pids=gallery_pids[kept],
        gallery_camids=gallery_camids[kept],
    )
    assert_same(got, want)
    assert progress.units == 91


def test_rows_that_are_not_finite_are_placed(files):
    with np.load(files / "g" / "2.npz") as file:
        arrays = dict(file)
    arrays["features"][4, 2] = np.inf
    np.savez(files / "g" / "2.npz", **arrays)
    job = Job((str(files / "q.npz"),), (str(files / "g"),))
    with pytest.raises(DataError, match=r"2.npz, row 4: the features hold nan or inf, and no gall"):
        count(opened(job), Part(0, 12, 31, 91), np.zeros(1))
