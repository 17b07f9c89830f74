"""Ranking against hand-computed cases and against a slow reference that sorts and loops."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import ranking, scores
from harness.ranking import Ranking, Score, cosine_score, rank
from protocols.errors import ReIDError

Case = dict[str, Any]
"""A matrix of `scores` and the four lists of labels that `rank` takes."""

# ---- the reference ------------------------------------------------------------------------------


def reference(case: Case, max_rank: int = 50) -> Case:
    """The definitions, one sentence a line. No numpy, no counting trick."""
    per_query = []
    for q, row in enumerate(case["scores"]):
        pid, camid = case["query_pids"][q], case["query_camids"][q]
        kept = []
        gallery = zip(case["gallery_pids"], case["gallery_camids"], strict=True)
        for g, (g_pid, g_camid) in enumerate(gallery):
            if g_pid == -1 or (g_pid == pid and g_camid == camid):
                continue
            kept.append((-row[g], g, g_pid == pid and pid not in (-1, 0)))
        ranks = [r for r, (_, _, match) in enumerate(sorted(kept), start=1) if match]
        if not ranks:
            per_query.append({"ap": math.nan, "first_hit": 0, "inp": math.nan, "matches": 0})
            continue
        precisions = [(k + 1) / r for k, r in enumerate(ranks)]
        per_query.append(
            {
                "ap": sum(precisions) / len(ranks),
                "first_hit": ranks[0],
                "inp": len(ranks) / ranks[-1],
                "matches": len(ranks),
            }
        )
    counted = [p for p in per_query if p["matches"]]
    return {
        "per_query": per_query,
        "valid": len(counted),
        "mAP": sum(p["ap"] for p in counted) / len(counted) if counted else None,
        "mINP": sum(p["inp"] for p in counted) / len(counted) if counted else None,
        "cmc": [
            sum(p["first_hit"] <= k for p in counted) / len(counted)
            for k in range(1, max_rank + 1)
            if counted
        ],
    }


def table(values: list, dtype: torch.dtype = torch.float32) -> Score:
    """A score that looks up rows of a given matrix."""
    matrix = torch.tensor(values, dtype=dtype)
    return lambda start, stop: matrix[start:stop]


def ranked(case: Case, **options: Any) -> Ranking:
    labels = {k: v for k, v in case.items() if k != "scores"}
    return rank(table(case["scores"]), **labels, **options)


def one_query(gallery: list[tuple[float, int, int]], pid: int = 7, camid: int = 0) -> Case:
    """A case of one query and a gallery of (score, pid, camid)."""
    return {
        "scores": [[s for s, _, _ in gallery]],
        "query_pids": [pid],
        "query_camids": [camid],
        "gallery_pids": [p for _, p, _ in gallery],
        "gallery_camids": [c for _, _, c in gallery],
    }


def assert_same(got: Ranking, want: Ranking) -> None:
    for field in dataclasses.fields(Ranking):
        np.testing.assert_array_equal(getattr(got, field.name), getattr(want, field.name))


# ---- by hand ------------------------------------------------------------------------------------


def test_hand_computed_ranks() -> None:
    # Order: other, MATCH, other, MATCH -> ranks 2 and 4, precisions 1/2 and 2/4.
    got = ranked(one_query([(0.9, 1, 1), (0.8, 7, 1), (0.7, 2, 0), (0.6, 7, 2)]))
    assert got.ap.tolist() == [0.5]
    assert got.first_hit.tolist() == [2]
    assert got.inp.tolist() == [0.5]
    assert got.matches.tolist() == [2]
    assert (got.rank1, got.rank5, got.rank10) == (0.0, 1.0, 1.0)
    assert got.ap.dtype == got.inp.dtype == got.cmc.dtype == np.float64
    assert got.first_hit.dtype == got.matches.dtype == np.int64


def test_same_camera_and_junk_are_removed_and_distractors_stay() -> None:
    best = [
        (0.99, 7, 0),  # same person, same camera: removed
        (0.98, -1, 1),  # junk: removed
        (0.97, 0, 1),  # a distractor: the only thing before the match
        (0.50, 7, 1),  # the match: rank 2
    ]
    got = ranked(one_query(best))
    assert got.first_hit.tolist() == [2]
    assert got.matches.tolist() == [1]
    assert got.mAP == 0.5


def test_matches_with_negative_scores_count() -> None:
    got = ranked(one_query([(-0.1, 1, 1), (-0.2, 7, 1), (-0.9, 7, 1), (-1.0, 3, 1)]))
    assert got.mAP == pytest.approx((1 / 2 + 2 / 3) / 2, abs=1e-15)
    assert got.mINP == pytest.approx(2 / 3, abs=1e-15)


@pytest.mark.parametrize(
    ("pids", "ranks"),
    [
        ([7, 1, 7, 2], [1, 3]),
        ([1, 7, 2, 7], [2, 4]),
        ([1, 2, 7, 7], [3, 4]),
        ([7, 7, 1, 2], [1, 2]),
    ],
)
def test_equal_scores_go_by_gallery_index(pids: list[int], ranks: list[int]) -> None:
    got = ranked(one_query([(0.5, pid, 1) for pid in pids]))
    assert got.first_hit.tolist() == [ranks[0]]
    assert got.mAP == (1 / ranks[0] + 2 / ranks[1]) / 2
    assert got.mINP == 2 / ranks[1]


def test_minus_zero_ties_with_zero() -> None:
    assert ranked(one_query([(-0.0, 1, 1), (0.0, 7, 1)])).first_hit.tolist() == [2]
    assert ranked(one_query([(-0.0, 7, 1), (0.0, 1, 1)])).first_hit.tolist() == [1]


def test_queries_without_a_match_are_skipped_and_counted() -> None:
    got = rank(
        table([[0.1, 0.9, 0.5, 0.7]] * 5),
        query_pids=[7, 8, -1, 0, 9],  # valid, only in its own camera, junk, distractor, absent
        query_camids=[0, 1, 0, 0, 0],
        gallery_pids=[7, 8, -1, 0],
        gallery_camids=[1, 1, 1, 1],
    )
    assert got.valid.tolist() == [True, False, False, False, False]
    assert (got.valid_queries, got.skipped_queries) == (1, 4)
    assert got.first_hit.tolist() == [3, 0, 0, 0, 0]  # behind pid 8 and the distractor
    assert got.matches.tolist() == [1, 0, 0, 0, 0]
    assert np.isnan(got.ap[1:]).all() and np.isnan(got.inp[1:]).all()
    assert got.mAP == got.mINP == pytest.approx(1 / 3, abs=1e-15)


def test_cmc_goes_on_past_the_gallery() -> None:
    got = ranked(one_query([(0.9, 1, 1), (0.8, 7, 1)]), max_rank=5)
    assert got.cmc.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0]
    assert ranked(one_query([(0.9, 1, 1), (0.8, 7, 1)])).cmc.shape == (50,)
    short = ranked(one_query([(0.9, 1, 1), (0.8, 7, 1)]), max_rank=1)
    assert (short.cmc.tolist(), short.rank5) == ([0.0], 1.0)


def test_person_ids_beyond_32_bits_stay_apart() -> None:
    big = 2**40 + 7  # equal to 7 when cut to 32 bits
    got = ranked(one_query([(0.9, 7, 1), (0.8, big, 1)], pid=big))
    assert got.first_hit.tolist() == [2]


def test_scores_closer_than_float32_are_told_apart_in_float64() -> None:
    case = one_query([(1.0, 1, 1), (1.0 + 1e-12, 7, 1)])
    labels = {k: v for k, v in case.items() if k != "scores"}
    assert rank(table(case["scores"], torch.float64), **labels).first_hit.tolist() == [1]
    assert rank(table(case["scores"], torch.float32), **labels).first_hit.tolist() == [2]


def test_the_scores_of_a_method_are_not_written_to() -> None:
    matrix = torch.tensor([[0.9, 0.8, 0.7]])
    before = matrix.clone()
    rank(
        lambda start, stop: matrix[start:stop],
        query_pids=[7],
        query_camids=[0],
        gallery_pids=[7, -1, 7],
        gallery_camids=[0, 0, 1],
    )
    assert torch.equal(matrix, before)


def test_labels_may_be_lists_arrays_or_tensors() -> None:
    case = one_query([(0.9, 1, 1), (0.8, 7, 1)])
    for convert in (tuple, np.array, torch.tensor):
        other = {k: v if k == "scores" else convert(v) for k, v in case.items()}
        assert_same(ranked(other), ranked(case))


# ---- against the reference ----------------------------------------------------------------------


@st.composite
def cases(draw: st.DrawFn, distinct: bool = False) -> Case:
    """Small instances; few distinct scores (so ties abound) unless `distinct`."""
    Q, G = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    pid, camid = st.sampled_from([-1, 0, 1, 2, 3]), st.integers(0, 2)
    if distinct:
        row = st.permutations([g / 16 - 0.3 for g in range(G)])
    else:
        row = st.lists(st.sampled_from([-0.5, 0.0, 0.25, 1.0]), min_size=G, max_size=G)
    return {
        "scores": draw(st.lists(row, min_size=Q, max_size=Q)),
        "query_pids": draw(st.lists(pid, min_size=Q, max_size=Q)),
        "query_camids": draw(st.lists(camid, min_size=Q, max_size=Q)),
        "gallery_pids": draw(st.lists(pid, min_size=G, max_size=G)),
        "gallery_camids": draw(st.lists(camid, min_size=G, max_size=G)),
    }


@pytest.mark.parametrize("count_up_to", [ranking.COUNT_UP_TO, 0], ids=["counted", "sorted"])
@settings(max_examples=150, deadline=None)
@given(case=cases(), block=st.integers(1, 8), max_rank=st.integers(1, 20))
def test_agrees_with_the_reference(count_up_to: int, case: Case, block: int, max_rank: int) -> None:
    want = reference(case, max_rank)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "COUNT_UP_TO", count_up_to)
        if not want["valid"]:
            with pytest.raises(ReIDError, match="None of the"):
                ranked(case, block=block, max_rank=max_rank)
            return
        got = ranked(case, block=block, max_rank=max_rank)
    for name in ("ap", "first_hit", "inp", "matches"):
        expected = [p[name] for p in want["per_query"]]
        np.testing.assert_allclose(getattr(got, name), expected, rtol=0, atol=1e-12, err_msg=name)
    assert got.mAP == pytest.approx(want["mAP"], abs=1e-12)
    assert got.mINP == pytest.approx(want["mINP"], abs=1e-12)
    np.testing.assert_allclose(got.cmc, want["cmc"], rtol=0, atol=1e-12)
    assert got.valid_queries == want["valid"]
    assert got.skipped_queries == len(case["query_pids"]) - want["valid"]


@settings(max_examples=100, deadline=None)
@given(case=cases(distinct=True), data=st.data())
def test_the_order_of_the_gallery_does_not_matter_without_ties(
    case: Case, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(case["gallery_pids"]))))
    shuffled = case | {
        "scores": [[row[g] for g in order] for row in case["scores"]],
        "gallery_pids": [case["gallery_pids"][g] for g in order],
        "gallery_camids": [case["gallery_camids"][g] for g in order],
    }
    if reference(case)["valid"]:
        assert_same(ranked(shuffled), ranked(case))


@settings(max_examples=100, deadline=None)
@given(case=cases(), extra=st.lists(st.sampled_from([-2.0, 0.0, 0.25, 2.0]), max_size=4))
def test_appended_junk_changes_nothing(case: Case, extra: list[float]) -> None:
    padded = case | {
        "scores": [list(row) + extra for row in case["scores"]],
        "gallery_pids": case["gallery_pids"] + [-1] * len(extra),
        "gallery_camids": case["gallery_camids"] + list(range(len(extra))),
    }
    if reference(case)["valid"]:
        assert_same(ranked(padded), ranked(case))


# ---- cosine scores ------------------------------------------------------------------------------


def features(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_cosine_is_the_cosine() -> None:
    query, gallery = features(5, 33, 0) * 1e-3, features(9, 33, 1) * 100
    got = cosine_score(query, gallery)(0, 5)
    q, g = query.double().numpy(), gallery.double().numpy()
    want = (q @ g.T) / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(g, axis=1)
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=1e-6)


def test_cosine_of_zero_vectors_and_extreme_lengths() -> None:
    query = torch.tensor([[0.0, 0.0], [3e38, 3e38], [1e-30, 0.0]])
    got = cosine_score(query, torch.tensor([[1.0, 0.0], [0.0, 0.0]]))(0, 3)
    torch.testing.assert_close(got, torch.tensor([[0.0, 0.0], [0.5**0.5, 0.0], [1.0, 0.0]]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_upcast_before_the_product(dtype: torch.dtype) -> None:
    query, gallery = features(4, 64, 0).to(dtype), features(6, 64, 1).to(dtype)
    got = cosine_score(query, gallery)(0, 4)
    assert got.dtype == torch.float32
    assert torch.equal(got, cosine_score(query.float(), gallery.float())(0, 4))


def test_float64_features_stay_float64() -> None:
    assert cosine_score(features(2, 3, 0).double(), features(2, 3, 1))(0, 2).dtype == torch.float64


def test_autocast_and_matmul_precision_do_not_reach_the_scores() -> None:
    query, gallery = features(4, 64, 0), features(6, 64, 1)
    want = cosine_score(query, gallery)(0, 4)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = cosine_score(query, gallery)(0, 4)
        with scores.full_precision("cpu"):  # not every processor shows it in the numbers
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"  # put back
    finally:
        torch.set_float32_matmul_precision(before)
    assert got.dtype == torch.float32
    assert torch.equal(got, want)


@pytest.mark.parametrize("tile_rows", [1, 16, 37, 1000])
def test_cosine_scores_do_not_depend_on_the_block(
    monkeypatch: pytest.MonkeyPatch, tile_rows: int
) -> None:
    Q, G = 101, 203
    monkeypatch.setattr(scores, "BLOCK_BYTES", 4 * G * tile_rows)
    score = cosine_score(features(Q, 130, 0), features(G, 130, 1))
    whole = score(0, Q).clone()
    for block in (1, 2, 16, 50, Q):
        parts = [score(start, min(start + block, Q)) for start in range(0, Q, block)]
        assert torch.equal(torch.cat(parts), whole)


def test_the_ranking_of_features_does_not_depend_on_the_block() -> None:
    # Coarse features: many cosines equal but for rounding, so a rounding difference would show.
    draw = np.random.default_rng(0)
    query = torch.tensor(draw.integers(0, 3, (60, 8)), dtype=torch.float32)
    gallery = torch.tensor(draw.integers(0, 3, (150, 8)), dtype=torch.float32)
    labels: Case = {
        "query_pids": draw.integers(1, 6, 60),
        "query_camids": draw.integers(0, 3, 60),
        "gallery_pids": draw.integers(-1, 6, 150),
        "gallery_camids": draw.integers(0, 3, 150),
    }
    score = cosine_score(query, gallery)
    want = rank(score, **labels)
    for block in (1, 7, 59, 1000):
        assert_same(rank(score, **labels, block=block), want)


def test_no_block_is_larger_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    matrix = torch.zeros(25, 10)

    def score(start: int, stop: int) -> torch.Tensor:
        asked.append((start, stop))
        return matrix[start:stop]

    monkeypatch.setattr(scores, "BLOCK_BYTES", 4 * 10 * 8)  # 8 rows
    pids, camids = [1] * 25, [0] * 25
    rank(
        score, query_pids=pids, query_camids=camids, gallery_pids=[1] * 10, gallery_camids=[1] * 10
    )
    assert asked == [(0, 8), (8, 16), (16, 24), (24, 25)]
    assert scores.block_rows(10**9) == 1


# ---- errors -------------------------------------------------------------------------------------

GOOD = one_query([(0.9, 1, 1), (0.8, 7, 1)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_pids": [], "query_camids": []}, "query pids must be a list of at least one"),
        ({"gallery_pids": [], "gallery_camids": []}, "gallery pids must be a list of at least one"),
        ({"gallery_camids": [1]}, "2 gallery pids but 1 camids"),
        ({"query_pids": [7.0]}, "query pids must be integers, not float64"),
        ({"query_camids": ["c1"]}, "query camids must be integers"),
        ({"query_pids": [-1]}, "None of the 1 queries has a match"),
        ({"query_camids": [1]}, "None of the 1 queries has a match"),
        ({"scores": [[0.1, 0.2, 0.3]]}, r"queries 0 to 0 has shape \[1, 3\].*\[1, 2\]"),
    ],
)
def test_bad_input_is_refused_in_words(change: Case, message: str) -> None:
    with pytest.raises(ReIDError, match=message):
        ranked(GOOD | change)


@pytest.mark.parametrize("option", ["block", "max_rank"])
def test_options_below_one_are_refused(option: str) -> None:
    with pytest.raises(ReIDError, match="at least 1"):
        ranked(GOOD, **{option: 0})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_scores_coarser_than_float32_are_refused(dtype: torch.dtype) -> None:
    labels = {k: v for k, v in GOOD.items() if k != "scores"}
    with pytest.raises(ReIDError, match="float32 or float64"):
        rank(table([[1, 2]], dtype), **labels)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_name_the_query(bad: float) -> None:
    case = {
        "scores": [[0.1, 0.2], [0.1, 0.2], [0.3, bad]],
        "query_pids": [1, 1, 1],
        "query_camids": [0, 0, 0],
        "gallery_pids": [1, 2],
        "gallery_camids": [1, 1],
    }
    with pytest.raises(
        ReIDError, match=r"query row 2 is not finite: -?(nan|inf) for gallery row 1"
    ):
        ranked(case, block=2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_name_side_and_row(bad: float) -> None:
    good, broken = features(4, 3, 0), features(4, 3, 1)
    broken[2, 1] = bad
    with pytest.raises(ReIDError, match="query features hold nan or inf, first in row 2"):
        cosine_score(broken, good)
    with pytest.raises(ReIDError, match="gallery features hold nan or inf, first in row 2"):
        cosine_score(good, broken)


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), "one width"),
        (torch.zeros(3), torch.zeros(2, 3), "query features must be"),
        (torch.zeros(2, 3), torch.zeros(0, 3), "gallery features must be"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3), "query features must be"),
    ],
)
def test_features_of_the_wrong_shape_are_refused(
    query: torch.Tensor, gallery: torch.Tensor, message: str
) -> None:
    with pytest.raises(ReIDError, match=message):
        cosine_score(query, gallery)
