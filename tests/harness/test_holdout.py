"""Held-out source identities: who they are, that nobody trains on them, what is measured."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.catalog import DataCatalog
from harness.config import RunSpec
from harness.data import source_info, training_images
from harness.extract import Extractor
from harness.fold_masks import FoldMasks
from harness.holdout import METRICS, hold_out, objective, validated_epoch
from harness.plan import choose, plan
from methods.colour_histogram import ColourHistogram
from methods.interface import Stage
from protocols.errors import DataError, ReIDError
from protocols.labels import label_map
from protocols.registry import select
from protocols.types import Image, Split

FRACTION = 0.3


def split(people, key="MA"):
    """A split of {pid: [camid, ...]}."""
    images = [
        Image(f"{key}/{pid:04}_{n}.jpg", pid, camid)
        for pid, camids in people.items()
        for n, camid in enumerate(camids)
    ]
    return Split(key, "train", tuple(sorted(images)))


many = st.dictionaries(
    st.integers(1, 999),
    st.lists(st.integers(0, 3), min_size=1, max_size=5),
    min_size=12,
    max_size=20,
)
splits = many.map(split).filter(lambda s: len(eligible(s)) >= 2)


def eligible(one):
    return {i.pid for i in one.images if len({j.camid for j in one.images if j.pid == i.pid}) > 1}


def held_pids(held, key="MA"):
    return {image.pid for image in held.probes[key].gallery.images}


@given(splits, st.integers(0, 5))
def test_nobody_who_is_held_out_is_trained_on(one, seed):
    held = hold_out([one], FRACTION, seed)
    (training,), probe = held.training, held.probes["MA"]
    gone = held_pids(held)
    assert len(gone) >= 2
    assert len(training.pids) >= 2
    assert not gone & set(training.pids)
    assert gone <= eligible(one)
    # every image is on one side, and every image of a person on the same
    assert sorted((*training.images, *probe.gallery.images)) == list(one.images)
    first = {(i.pid, i.camid): i for i in sorted(probe.gallery.images, reverse=True)}
    assert set(probe.query.images) == set(first.values())
    assert [i for i, stays in zip(one.images, held.kept[0], strict=True) if stays] == list(
        training.images
    )


@given(splits, st.integers(0, 5), st.randoms(use_true_random=False))
def test_who_is_held_out_depends_on_the_people_alone(one, seed, random):
    images = list(one.images)
    random.shuffle(images)
    shuffled = Split("MA", "train", tuple(images))
    other = split({pid: [0, 1] for pid in range(1, 12)}, "D")
    held, again = hold_out([one], FRACTION, seed), hold_out([other, shuffled], FRACTION, seed)
    assert held.probes["MA"] == again.probes["MA"]
    assert set(held.training[0].images) == set(again.training[1].images)


def test_another_seed_holds_out_others():
    one = split({pid: [0, 1] for pid in range(1, 101)})
    first, second = (held_pids(hold_out([one], 0.2, seed)) for seed in (0, 1))
    assert len(first) == len(second) == 20
    assert first != second


def test_without_a_fraction_everything_is_trained_on():
    one = split({pid: [0, 1] for pid in range(1, 9)})
    held = hold_out([one], None, 0)
    assert held.training == (one,)
    assert held.probes == {}
    masks = FoldMasks((np.ones((16, 3, 2, 2), dtype=bool),))
    assert held.masks(masks) is masks


def test_where_nobody_is_seen_by_two_cameras_cameras_do_not_count():
    one = split({pid: [7] * (1 + pid % 3) for pid in range(1, 31)})
    held = hold_out([one], FRACTION, 0)
    query, gallery = held.probes["MA"].query.images, held.probes["MA"].gallery.images
    assert len(query) == 9
    assert all(pid % 3 for pid in held_pids(held)), "one image alone can't be found again"
    assert {i.path for i in query}.isdisjoint(i.path for i in gallery)
    assert {i.camid for i in query}.isdisjoint(i.camid for i in gallery)
    assert {i.pid for i in query} == {i.pid for i in gallery}


def test_too_few_people_are_refused_by_name():
    with pytest.raises(DataError, match=r"MA has too few people to hold 0\.3 of them out"):
        hold_out([split({1: [0, 1], 2: [0, 1], 3: [0, 1]})], FRACTION, 0)
    with pytest.raises(DataError, match="0 of them with a second image"):
        hold_out([split({pid: [0] for pid in range(1, 40)})], FRACTION, 0)
    with pytest.raises(DataError, match="2 must be left"):
        hold_out([split({pid: [0, 1] for pid in range(1, 11)})], 0.9, 0)
    for fraction in (0, 1, -0.1, float("nan")):
        with pytest.raises(ReIDError, match="between 0 and 1"):
            hold_out([split({1: [0, 1]})], fraction, 0)


def test_part_masks_go_where_their_images_go():
    sources = [split({pid: [0, 1] for pid in range(1, 11)}, key) for key in ("MA", "D")]
    rows = [
        np.array([[i.pid >> b & 1 for b in range(12)] for i in one.images], dtype=bool)
        for one in sources
    ]
    held = hold_out(sources, FRACTION, 0)
    masks = held.masks(FoldMasks(tuple(r.reshape(-1, 3, 2, 2) for r in rows)))
    for one, kept in zip(held.training, masks.sources, strict=True):
        numbers = (kept.reshape(-1, 12) << np.arange(12)).sum(1)
        assert numbers.tolist() == [i.pid for i in one.images]


def test_labels_are_of_those_who_are_left(standins):
    catalog = DataCatalog(standins)
    held = hold_out([catalog.source(key, "train") for key in ("MA", "C3")], 0.2, 0)
    labels = label_map(held.training)
    assert sorted(labels.values()) == list(range(len(labels)))
    assert source_info(held.training).num_classes == len(labels) == 48 - 10 + 44 - 9
    method = ColourHistogram(ColourHistogram.Config(), source_info(held.training))
    data = training_images(
        standins, held.training, method.transforms(), seed=0, device=torch.device("cpu")
    )
    assert set(data.labels.tolist()) == set(labels.values())


def test_the_objective_is_the_mean_over_the_sources(standins):
    catalog = DataCatalog(standins)
    held = hold_out([catalog.source(key, "train") for key in ("MA", "C3")], 0.2, 0)
    method = ColourHistogram(ColourHistogram.Config(), source_info(held.training))
    found = objective(Extractor(method, standins, torch.device("cpu")), held)
    for name in METRICS:
        each = [found["sources"][key][name] for key in ("MA", "C3")]
        assert found[name] == pytest.approx(sum(each) / 2)
        assert 0 < found[name] <= 1
    assert found["sources"]["MA"]["skipped_queries"] == 0


def test_only_epochs_of_the_last_stage_are_reported_and_not_the_last_one():
    class First(Stage):
        name, epochs = "first", 2

    class Last(Stage):
        name, epochs = "last", 3

    class Two:
        def stages(self):
            return [First(), Last()]

    entries = [{"stage": s.name, "epoch": e} for s in (First, Last) for e in range(1, s.epochs + 1)]
    told = []
    for entry in entries:
        validated_epoch(
            Two(),
            entry,
            lambda: {"mAP": 0.5, "rank1": 0.25, "sources": {}},
            "rank1",
            lambda *what: told.append(what),
        )
    assert told == [(1, 0.25), (2, 0.25)]
    assert [entry.get("validation") for entry in entries[2:]] == [
        *[{"mAP": 0.5, "rank1": 0.25}] * 2,
        None,
    ]


def spec(**more):
    return RunSpec(
        method="m",
        method_version="1",
        preset="tiny",
        config={"lr": 0.1},
        weights=(),
        sources={"MA": "p"},
        source_images="train",
        seed=0,
        precision="fp32",
        **more,
    )


def test_runs_without_a_holdout_keep_their_names():
    assert spec().id == "132ff729070d"
    assert spec(part_labels="ab").id == "948899101565"
    assert len({spec().id, spec(holdout=0.2).id, spec(holdout=0.3).id}) == 3


def test_a_plan_with_a_holdout_opens_no_target(standins):
    class Blind(DataCatalog):
        def probes(self, key):
            raise AssertionError(f"{key} was looked at")

    catalog = Blind(standins)
    rows = select("MA->D,MA->C3,MA+D->C3")
    planned = plan(choose(["colour-histogram"], "tiny"), rows, [0, 1], catalog, holdout=0.2)
    assert [(one.fold.name, one.fold.targets, one.spec.seed) for one in planned] == [
        ("MA", (), 0),
        ("MA", (), 1),
        ("MA+D", (), 0),
        ("MA+D", (), 1),
    ]
    assert {one.spec.holdout for one in planned} == {0.2}
    with pytest.raises(DataError, match="MA has too few people"):
        plan(choose(["colour-histogram"], "tiny"), rows, [0], catalog, holdout=0.97)
