"""Ranks of features against exact cosines, whichever path counts them and however it is cut."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from harness import counting, kernels, ranking
from harness.cosine import Features, exact_scores
from harness.ranking import Ranking, rank, rank_features
from protocols.errors import ReIDError
from tests.harness.both_paths import both, counted

Case = dict[str, Any]
LABELS = ("query_pids", "query_camids", "gallery_pids", "gallery_camids")


def key(query: list, item: list) -> Fraction:
    """What orders items as the cosine with a query does: the sign times the square, exactly."""
    dot = sum(Fraction(x) * Fraction(y) for x, y in zip(query, item, strict=True))
    square = sum(Fraction(y) ** 2 for y in item)
    return dot * abs(dot) / square if square else Fraction(0)


def reference(case: Case) -> list[list[int]]:
    """The ranks of every query's matches, by the definitions, in exact arithmetic."""
    ranks = []
    queries = zip(case["query"], case["query_pids"], case["query_camids"], strict=True)
    for query, pid, camid in queries:
        gallery = zip(case["gallery"], case["gallery_pids"], case["gallery_camids"], strict=True)
        kept = [
            (-key(query, item), index, g_pid == pid and pid not in (-1, 0))
            for index, (item, g_pid, g_camid) in enumerate(gallery)
            if g_pid != -1 and not (g_pid == pid and g_camid == camid)
        ]
        ranks.append([r for r, (*_, match) in enumerate(sorted(kept), start=1) if match])
    return ranks


def ranked(case: Case, path: str, dtype: type = np.float32, **options: Any) -> Ranking:
    labels = {name: case[name] for name in LABELS}
    query, gallery = (np.array(case[side], dtype) for side in ("query", "gallery"))
    with counted(path):
        return rank_features(query, gallery, **labels, **options)


def assert_same(got: Ranking, want: Ranking) -> None:
    for field in dataclasses.fields(Ranking):
        np.testing.assert_array_equal(getattr(got, field.name), getattr(want, field.name))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few people, cameras and values: ties, duplicates, zero rows, all-junk galleries abound.

    Lengths are powers of two, or zero, so that equal cosines are equal in float64, too.
    """
    Q, G = draw(st.integers(1, 5)), draw(st.integers(1, 14))
    big = 2**40  # beyond 32 bits: cut to them, these are the others
    pid, camid = st.sampled_from([-1, 0, 1, 2, big, big + 1]), st.integers(0, 2)
    rows = st.sampled_from(
        [
            (0, 0, 0, 0),
            (1, 1, 1, 1),
            (2, 2, 2, 2),
            (1, -1, 1, 1),
            (-1, -1, -1, -1),
            (4, 0, 0, 0),
            (0, 0, 1, 0),
            (1, 5, 1, 3),  # of length 6: ties with its own copies alone
        ]
    )

    def some(strategy: st.SearchStrategy, size: int) -> list:
        return draw(st.lists(strategy, min_size=size, max_size=size))

    return {
        "query": some(rows, Q),
        "gallery": some(rows, G),
        "query_pids": some(pid, Q),
        "query_camids": some(camid, Q),
        "gallery_pids": some(pid, G),
        "gallery_camids": some(camid, G),
    }


def assert_is(got: Ranking, want: list[list[int]]) -> None:
    """Every number of a ranking follows from the ranks."""
    for q, ranks in enumerate(want):
        assert got.matches[q] == len(ranks)
        assert bool(got.valid[q]) == bool(ranks)
        if ranks:
            precision = math.fsum((k + 1) / r for k, r in enumerate(ranks)) / len(ranks)
            assert got.ap[q] == pytest.approx(precision, abs=1e-12)
            assert (got.first_hit[q], got.inp[q]) == (ranks[0], len(ranks) / ranks[-1])


@both
@settings(max_examples=80, deadline=None)
@given(
    case=cases(),
    tile=st.integers(1, 15),
    rows=st.integers(1, 6),
    chunk=st.integers(1, 2),
    dtype=st.sampled_from([np.float16, np.float32]),
)
def test_ranks_are_those_of_exact_cosines(
    path: str, case: Case, tile: int, rows: int, chunk: int, dtype: type
) -> None:
    want = reference(case)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "QUERY_ROWS", rows)
        patch.setattr(counting, "QUERY_BYTES", 4 * 4 * rows * chunk)
        if not any(want):
            with pytest.raises(ReIDError, match="None of the"):
                ranked(case, path, dtype, tile=tile)
            return
        assert_is(ranked(case, path, dtype, tile=tile), want)


@both
@settings(max_examples=40, deadline=None)
@given(case=cases(), data=st.data())
def test_a_permuted_gallery_gives_its_own_exact_ranks(
    path: str, case: Case, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(case["gallery"]))))
    names = ("gallery", "gallery_pids", "gallery_camids")
    shuffled = case | {name: [case[name][i] for i in order] for name in names}
    want = reference(shuffled)
    if any(want):
        assert_is(ranked(shuffled, path), want)


def drawn(queries: int, items: int, width: int) -> Case:
    """Features of real values, a third of the gallery copied from the rest."""
    draw = np.random.default_rng(0)
    gallery = draw.standard_normal((items, width)).astype(np.float32)
    gallery[draw.integers(0, items, items // 3)] = gallery[draw.integers(0, items, items // 3)]
    return {
        "query": draw.standard_normal((queries, width)).astype(np.float32),
        "gallery": gallery,
        "query_pids": draw.integers(-1, 9, queries),
        "query_camids": draw.integers(0, 4, queries),
        "gallery_pids": draw.integers(-1, 12, items),
        "gallery_camids": draw.integers(0, 4, items),
    }


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("width", [1, 31, 300])
def test_tiles_threads_and_paths_give_the_same_bits(threads: None, width: int) -> None:
    case = drawn(40, 700, width)
    want = ranked(case, "plain")
    for tile in (33, 256, None):
        for number in (1, 2):
            torch.set_num_threads(number)
            assert_same(ranked(case, "compiled", tile=tile), want)
            assert torch.get_num_threads() == number  # put back


def test_many_scores_that_float32_cannot_tell_apart() -> None:
    case = drawn(20, 400, 64)
    base = case["gallery"][:1]
    steps = np.random.default_rng(1).integers(-3, 4, case["gallery"].shape)
    case["gallery"] = base * (1 + steps.astype(np.float32) * 2.0**-22).astype(np.float32)
    want = ranked(case, "plain")
    assert_same(ranked(case, "compiled"), want)
    coarse = case["query"] @ (case["gallery"] / np.linalg.norm(case["gallery"], axis=1)[:, None]).T
    labels = {name: case[name] for name in LABELS}
    in_float32 = rank(lambda start, stop: torch.from_numpy(coarse[start:stop]), **labels)
    assert in_float32.ap.tolist() != want.ap.tolist()  # the case is hard


@pytest.mark.parametrize("most", [5, 400])
def test_a_collapsed_model_and_many_copies(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows, over and over: what is alike is scored once, whoever is asked, wherever it lies."""
    case = drawn(20, 700, 64)
    case["gallery"] = case["gallery"][np.random.default_rng(1).integers(0, most, 700)]
    if most == 5:  # nearly one
        case["gallery"] = case["gallery"][:1] + case["gallery"] * np.float32(2.0**-20)
    case["query_pids"], case["gallery_pids"] = (case[name] % 3 for name in LABELS[::2])
    want = ranked(case, "plain")
    asked = []
    real = kernels.first_alike
    monkeypatch.setattr(
        kernels, "first_alike", lambda *rows: asked.append(real(*rows)) or asked[-1]
    )
    for tile in (33, 700):
        assert_same(ranked(case, "compiled", tile=tile), want)
    for c in range(0, 700, kernels.CHUNK):
        chunk = case["gallery"][c : c + kernels.CHUNK]
        assert len(np.unique(asked[-1][c : c + kernels.CHUNK])) == len(np.unique(chunk, axis=0))


def test_blocks_of_queries_are_about_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "QUERY_BYTES", 4 * 8 * 39)
    people = counting.People(*(drawn(80, 60, 8)[name] for name in LABELS))
    sizes = [stop - start for start, stop in counting.query_blocks(people, 8)]
    assert sizes == [27, 27, 26]


def test_no_score_is_further_off_than_its_bound() -> None:
    draw = np.random.default_rng(0)
    for width in (5, 64, 1000):
        x, y = (np.abs(draw.standard_normal((n, width)).astype(np.float32)) for n in (30, 40))
        want = x.astype(np.float64) @ y.astype(np.float64).T
        lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)
        product = counting.Product(torch.device("cpu"))
        off = np.abs(product(product.factor(x), product.factor(y)) - want) / lengths
        assert off.max() <= counting._bound(width)
        near = np.array([[kernels._near(a, b) for b in y] for a in x])
        assert (np.abs(near - want) / lengths).max() <= counting._bound(min(width, 256))


def test_a_product_coarser_than_its_bound_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = counting.Product.__call__

    def coarse(self: counting.Product, query: torch.Tensor, gallery: torch.Tensor) -> np.ndarray:
        return real(self, query, gallery) * np.float32(1.01)

    monkeypatch.setattr(counting.Product, "__call__", coarse)
    with pytest.raises(ReIDError, match="less exact than float32"):
        ranked(drawn(40, 700, 31), "compiled")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_of_ones_own_are_counted_alike(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    case = drawn(30, 500, 1)
    labels = {name: case[name] for name in LABELS}
    scores = torch.randn(30, 500, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    scores, kept = scores.to(dtype), scores.to(dtype).clone()
    want = rank(lambda start, stop: scores[start:stop], **labels)
    monkeypatch.setattr(ranking, "COMPILED_PAIRS", 0)
    monkeypatch.setattr(counting, "SCORE_COLUMNS", 77)
    for block in (None, 7):
        assert_same(rank(lambda start, stop: scores[start:stop], **labels, block=block), want)
    assert torch.equal(scores, kept)  # the method's memory is not written to


@both
def test_average_precision_is_scikit_learns_where_nothing_ties(path: str) -> None:
    case = drawn(12, 90, 16)
    case["gallery"] = np.random.default_rng(5).standard_normal((90, 16)).astype(np.float32)
    got = ranked(case, path)
    scores = exact_scores(Features("query", case["query"]), Features("gallery", case["gallery"]))
    for q in np.flatnonzero(got.valid):
        same = case["gallery_pids"] == case["query_pids"][q]
        kept = ~(same & (case["gallery_camids"] == case["query_camids"][q]))
        kept &= case["gallery_pids"] != -1
        want = average_precision_score(same[kept], scores(q, q + 1)[0].numpy()[kept])
        assert got.ap[q] == pytest.approx(want, abs=1e-12)


@both
def test_features_of_any_float_type_are_ranked_by_their_own_values(path: str) -> None:
    case = drawn(10, 60, 8)
    coarse = {side: torch.from_numpy(case[side]).bfloat16() for side in ("query", "gallery")}
    labels = {name: case[name] for name in LABELS}
    want = ranked(case | {side: x.float().numpy() for side, x in coarse.items()}, path)
    read_only = coarse["gallery"].float().numpy()
    read_only.flags.writeable = False
    with counted(path):
        for gallery in (coarse["gallery"], coarse["gallery"].float().T.clone().T, read_only):
            assert_same(rank_features(coarse["query"], gallery, **labels), want)


@both
def test_extreme_lengths_do_not_matter(path: str) -> None:
    case = drawn(10, 60, 8)
    long = case | {"query": case["query"] * np.float32(2.0**120)}
    long["gallery"] = case["gallery"] * np.float32(2.0**-100)
    assert_same(ranked(long, path), ranked(case, path))


@both
@pytest.mark.parametrize("side", ["query", "gallery"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_name_side_and_row(path: str, side: str, bad: float) -> None:
    case = drawn(10, 60, 8)
    case[side][[4, 7], 3] = bad
    with pytest.raises(ReIDError, match=f"{side} features hold nan or inf, first in row 4"):
        ranked(case, path, tile=7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": np.zeros((2, 3))}, "one row a label and one width"),
        ({"gallery": np.zeros((2, 8))}, "one row a label and one width"),
        ({"query": np.zeros(3)}, "query features must be a floating-point"),
        ({"gallery_pids": [-1] * 60}, "None of the 10 queries has a match"),
    ],
)
def test_bad_input_is_refused_in_words(change: Case, message: str) -> None:
    with pytest.raises(ReIDError, match=message):
        ranked(drawn(10, 60, 8) | change, "plain")


@pytest.mark.parametrize("option", ["tile", "max_rank"])
def test_options_below_one_are_refused(option: str) -> None:
    with pytest.raises(ReIDError, match="at least 1"):
        ranked(drawn(10, 60, 8), "plain", **{option: 0})


def test_compiled_code_is_kept_where_the_cache_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(kernels.config, "CACHE_DIR", "")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    assert kernels._keep()
    assert str(tmp_path / "numba") == kernels.config.CACHE_DIR
    (tmp_path / "file").touch()
    monkeypatch.setattr(kernels.config, "CACHE_DIR", "")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    assert not kernels._keep()  # compiled in every process, then
