"""Verification, open-set and single-shot rates against definitions that loop and enumerate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.metrics import roc_auc_score, roc_curve

from harness import measure_tiles, open_set, verification
from harness.measures import NAMES, Measures, measure_features, measure_scores
from harness.ranking import Score, rank_features
from harness.single_shot import RANKS
from protocols.errors import ReIDError, UnknownName
from tests.harness.both_paths import both, counted

Case = dict[str, Any]
"""A matrix of `scores` and the four lists of labels."""
BIG = 2**40


def table(values: Any) -> Score:
    """A score that looks up rows of a given matrix."""
    matrix = torch.as_tensor(np.array(values, np.float32))
    return lambda start, stop: matrix[start:stop]


def labels(case: Case) -> Case:
    return {key: value for key, value in case.items() if key.endswith("ids")}


def measured(case: Case, path: str, which: Any = NAMES) -> Measures:
    with counted(path):
        return measure_scores(table(case["scores"]), **labels(case), which=which)


# ---- the definitions ----------------------------------------------------------------------------


def kept(case: Case) -> Iterator[tuple[int, list[tuple[float, int, int, bool]]]]:
    """Every query that is not junk with its items in order: (-score, index, pid, match)."""
    for q, row in enumerate(case["scores"]):
        pid, camid = case["query_pids"][q], case["query_camids"][q]
        items = [
            (-score, g, g_pid, g_pid == pid and pid not in (-1, 0))
            for g, (score, g_pid, g_camid) in enumerate(
                zip(row, case["gallery_pids"], case["gallery_camids"], strict=True)
            )
            if g_pid != -1 and (g_pid, g_camid) != (pid, camid)
        ]
        if pid == 0:  # nobody: an image of nobody in its camera is somebody else's
            items = [(-s, g, p, False) for g, (s, p) in
                     enumerate(zip(row, case["gallery_pids"], strict=True)) if p != -1]  # fmt: skip
        if pid != -1:
            yield q, sorted(items)


def share(found: list[float], least: float, of: int) -> float:
    return sum(score >= least for score in found) / of


def conservative(right: list[float], of: int, wrong: list[float], rate: float) -> float:
    """The share of the right ones above the lowest threshold that lets at most `rate` through."""
    allowed = [t for t in {*right, *wrong, math.inf} if share(wrong, t, len(wrong)) <= rate]
    return share(right, min(allowed), of)


def single_shot_cmc(case: Case) -> list[float]:
    """The mean over every gallery with one image of each person, drawn one by one."""
    found = []
    for _, items in kept(case):
        matches = [item for item in items if item[3]]
        persons: dict[Any, list] = {}
        for item in items:
            if not item[3]:
                persons.setdefault(item[2] or ("nobody", item[1]), []).append(item)
        ranks = [
            1 + sum(other < match for other in drawn)
            for match in matches
            for drawn in itertools.product(*persons.values())
        ]
        if matches:
            found.append([np.mean([rank <= k for rank in ranks]) for k in range(1, RANKS + 1)])
    return list(np.mean(found, axis=0))


def pairs(case: Case) -> tuple[list[float], list[float]]:
    """Scores of genuine and impostor pairs of valid queries."""
    valid = [items for _, items in kept(case) if any(match for *_, match in items)]
    every = [item for items in valid for item in items]
    return [-s for s, *_, m in every if m], [-s for s, *_, m in every if not m]


def open_set_of(case: Case, rates: Any) -> list[float]:
    right, wrong, valid = [], [], 0
    for _, items in kept(case):
        valid += any(match for *_, match in items)
        right += [-items[0][0]] if items and items[0][3] else []
        wrong.append(max([-s for s, *_, match in items if not match], default=-math.inf))
    return [
        math.nan if rate < 1 / len(wrong) else conservative(right, valid, wrong, rate)
        for rate in rates
    ]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few people, cameras and scores: ties, all-junk galleries and queries without a match."""
    Q, G = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    pid = st.sampled_from([-1, 0, 1, 2, BIG, BIG + 1])  # cut to 32 bits, these are the others
    camid, score = st.integers(0, 2), st.sampled_from([-3.0, -0.25, 0.0, 0.125, 0.5, 7.0])

    def some(strategy: st.SearchStrategy, size: int) -> list:
        return draw(st.lists(strategy, min_size=size, max_size=size))

    case = {
        "scores": [some(score, G) for _ in range(Q)],
        "query_pids": some(pid, Q),
        "query_camids": some(camid, Q),
        "gallery_pids": some(pid, G),
        "gallery_camids": some(camid, G),
    }
    # one query surely has a match
    case["query_pids"][0], case["query_camids"][0] = 1, 0
    case["gallery_pids"][-1], case["gallery_camids"][-1] = 1, 1
    return case


def assert_is(found: Measures, case: Case) -> None:
    """Everything is as the definitions have it."""
    cmc = found.curves["single_shot_cmc"]
    assert cmc == pytest.approx(single_shot_cmc(case), abs=1e-12)
    assert [found.metrics[f"single_shot_rank{k}"] for k in (1, 5, 10)] == [cmc[0], cmc[4], cmc[9]]
    wanted = open_set_of(case, open_set.RATES)
    assert found.curves["open_set"] == pytest.approx(wanted, nan_ok=True)
    genuine, impostor = pairs(case)
    assert ("roc" in found.curves) == ("auc" in found.metrics) == bool(impostor)
    if impostor:
        wanted = [
            math.nan if 1 / len(impostor) > rate
            else conservative(genuine, len(genuine), impostor, rate)
            for rate in verification.RATES
        ]  # fmt: skip
        assert found.curves["roc"] == pytest.approx(wanted, nan_ok=True)
        truth = [1] * len(genuine) + [0] * len(impostor)
        assert found.metrics["auc"] == pytest.approx(roc_auc_score(truth, genuine + impostor))
        fpr, tpr, _ = roc_curve(truth, genuine + impostor, drop_intermediate=False)
        off = brentq(lambda x: 1 - x - np.interp(x, fpr, tpr), 0, 1, xtol=1e-9)
        assert found.metrics["eer"] == pytest.approx(off, abs=1e-8)


NOBODY_ELSE: Case = {"scores": [[0.5]], "query_pids": [1], "query_camids": [0],
                     "gallery_pids": [1], "gallery_camids": [1]}  # fmt: skip

NOBODY_ASKS: Case = {"scores": [[0.125, -0.25], [-3, 7], [-3, 7]],
                     "query_pids": [1, 0, 0], "query_camids": [0] * 3,
                     "gallery_pids": [1, 0], "gallery_camids": [1, 0]}  # fmt: skip


@both
@settings(max_examples=25, deadline=None, derandomize=True)
@given(case=cases())
@example(case=NOBODY_ELSE)
@example(case=NOBODY_ASKS)
def test_everything_is_as_the_definitions_have_it(path, case):
    assert_is(measured(case, path), case)


@both
def test_by_hand(path):
    # query 0's match has .9, below nobody; query 1's has .4, below .8 of person 3 and nobody's .5
    case = {
        "scores": [[0.9, 0.1, 0.2, 0.3, 0.0], [0.3, 0.4, 0.8, 0.2, 0.5]],
        "query_pids": [1, 2], "query_camids": [0, 0],
        "gallery_pids": [1, 2, 3, 3, 0], "gallery_camids": [1, 1, 1, 1, 1],
    }  # fmt: skip
    found = measured(case, path)
    # person 3 is before .4 where the .8 is drawn, nobody always: rank 2 or 3, as often
    assert found.curves["single_shot_cmc"][:4] == pytest.approx([0.5, 0.75, 1, 1])
    # above .8, one of two genuine pairs is accepted, above .5 none more, above .3 both
    assert found.metrics["tpr_at_fpr_0.1"] == 0.5 if "tpr_at_fpr_0.1" in found.metrics else True
    assert found.metrics["auc"] == pytest.approx((8 + 6) / 16)
    # alarms are .3 and .8: one may pass, so .3 is too low and .9 is right
    assert found.curves["open_set"][-1] == 0.5
    assert_is(found, case)


@both
def test_a_constant_score_tells_nothing_apart(path):
    case = {
        "scores": np.full((3, 40), 0.25), "query_pids": [1, 2, 3], "query_camids": [0] * 3,
        "gallery_pids": np.arange(40) % 4 + 1, "gallery_camids": [1] * 40,
    }  # fmt: skip
    found = measured(case, path)
    assert found.metrics["auc"] == found.metrics["eer"] == 0.5
    # accepting anything accepts everything
    assert found.metrics["tpr_at_fpr_0.1"] == 0 and found.curves["roc"][-1] == 1
    assert found.curves["roc"][-2] == 0


def features(noise: float = 1.2) -> tuple[np.ndarray, np.ndarray, Case]:
    """Made-up features with copies among them, and their labels."""
    draw = np.random.default_rng(0)
    case = {
        "query_pids": draw.integers(-1, 13, 50), "query_camids": draw.integers(0, 3, 50),
        "gallery_pids": draw.integers(-1, 13, 300), "gallery_camids": draw.integers(0, 3, 300),
    }  # fmt: skip
    centres = draw.standard_normal((13, 16))
    query, gallery = (
        centres[np.maximum(case[f"{side}_pids"], 0)]
        + noise * draw.standard_normal((len(case[f"{side}_pids"]), 16))
        for side in ("query", "gallery")
    )
    gallery[100:110] = gallery[:10]  # of other persons
    return query.astype(np.float32), gallery.astype(np.float32), case


def test_features_are_measured_by_their_cosines_whichever_way():
    query, gallery, case = features()
    unit = [rows / np.linalg.norm(rows.astype(float), axis=1)[:, None] for rows in (query, gallery)]
    with counted("plain"):
        wanted = measure_scores(table(unit[0] @ unit[1].T), **case)
        found = measure_features(query, gallery, **case)
        # a query's own length does not count, between queries either
        scaled = query * np.linspace(0.1, 9, 50, dtype=np.float32)[:, None]
        longer = measure_features(torch.from_numpy(scaled), gallery, **case)
    for one in (found, longer):
        assert one.metrics == pytest.approx(wanted.metrics, abs=1e-9)
        for name, curve in wanted.curves.items():
            assert one.curves[name] == pytest.approx(curve, nan_ok=True, abs=1e-9)


def test_tiles_decide_nothing(monkeypatch):
    query, gallery, case = features()
    with counted("plain"):
        plain = measure_features(query, gallery, **case)
    for rows, block, matches in ((4096, 512, 2**17), (7, 3, 40)):
        monkeypatch.setattr("harness.counting.tile_rows", lambda gallery, rows=rows: rows)
        monkeypatch.setattr(measure_tiles, "MATCHES", matches)
        monkeypatch.setattr("harness.counting.QUERY_ROWS", block)
        with counted("compiled"):
            found = measure_features(query, gallery, **case)
        same = ("single_shot_cmc", "open_set")
        for name in same:
            assert found.curves[name] == pytest.approx(plain.curves[name], nan_ok=True, abs=1e-12)
        # bins of 2^-19 hold a few of the pairs at a threshold
        assert found.curves["roc"] == pytest.approx(plain.curves["roc"], nan_ok=True, abs=2e-3)
        assert found.metrics["auc"] == pytest.approx(plain.metrics["auc"], abs=1e-5)


def test_a_persons_place_in_the_gallery_does_not_matter():
    query, gallery, case = features()
    order = np.random.default_rng(1).permutation(100)  # without copies, which go by place
    found = []
    for kept in (np.arange(100), order):
        mine = {key: value[kept] if "gallery" in key else value for key, value in case.items()}
        with counted("compiled"):
            found.append(measure_features(query, gallery[kept], **mine))
    for name in ("single_shot_cmc", "open_set"):
        np.testing.assert_array_equal(found[0].curves[name], found[1].curves[name])
    assert found[0].curves["roc"] == pytest.approx(found[1].curves["roc"], abs=2e-3, nan_ok=True)


def test_rank_1_of_the_open_set_at_any_alarm_is_rank_1():
    query, gallery, case = features()
    assert measure_features(query, gallery, **case).curves["open_set"][-1] == pytest.approx(
        rank_features(query, gallery, **case).rank1
    )


def test_hopeless_matches_are_not_followed_and_lose_nothing(monkeypatch):
    query, gallery, case = features(noise=9)
    # everybody alone: ranks go far beyond 50
    case["gallery_pids"] = np.where(np.arange(300) % 3, np.arange(300) + 100, case["gallery_pids"])
    with counted("plain"):
        plain = measure_features(query, gallery, **case, which=["single-shot"])
    with counted("compiled"):
        found = measure_features(query, gallery, **case, which=["single-shot"])
    assert 0.1 < plain.curves["single_shot_cmc"][-1] < 0.9
    assert found.curves["single_shot_cmc"] == pytest.approx(
        plain.curves["single_shot_cmc"], abs=1e-12
    )
    assert set(found.curves) == {"single_shot_cmc"}


# ---- what can't be ------------------------------------------------------------------------------


@both
def test_what_there_is_too_little_of_is_left_out(path):
    found = measured(NOBODY_ELSE, path)
    assert set(found.curves) == {"single_shot_cmc", "open_set"}
    assert set(found.metrics) == {f"single_shot_rank{k}" for k in (1, 5, 10)}
    assert found.curves["single_shot_cmc"] == [1.0] * RANKS
    query, gallery, case = features()
    named = measured({"scores": query @ gallery.T, **case}, path).metrics
    assert "tpr_at_fpr_0.001" in named and "dir_at_far_0.1" in named
    assert "dir_at_far_0.01" not in named  # fewer than 100 queries


@both
def test_what_ranking_refuses_is_refused(path):
    case = {**NOBODY_ELSE, "gallery_pids": [-1]}
    with pytest.raises(ReIDError, match="None of the 1 queries has a match"):
        measured(case, path)
    with pytest.raises(ReIDError, match="not finite"):
        measured({**NOBODY_ELSE, "scores": [[math.nan]]}, path)
    with pytest.raises(UnknownName, match="open-set"):
        measured(NOBODY_ELSE, path, ["open-sets"])
    query, gallery, case = features()
    gallery[250, 3] = math.inf
    with (
        counted(path),
        pytest.raises(ReIDError, match="gallery features hold nan or inf, first in row 250"),
    ):
        measure_features(query, gallery, **case)
    with counted(path), pytest.raises(ReIDError, match="labels"):
        measure_features(query, gallery[1:], **case)
