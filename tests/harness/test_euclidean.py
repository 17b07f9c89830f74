"""Euclidean ranks against distances written out in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.euclidean import euclidean_rows, euclidean_score
from harness.ranking import rank, rank_features
from protocols.errors import ReIDError


def problem(seed, far=5.0, spread=3.0, queries=20, items=80, width=12):
    draw = np.random.default_rng(seed)
    gallery = (draw.standard_normal((items, width)) * spread + far).astype(np.float32)
    gallery[40:50] = gallery[7]  # ties go by index
    query = (draw.standard_normal((queries, width)) * spread + far).astype(np.float32)
    labels = {
        "query_pids": draw.integers(1, 9, queries),
        "query_camids": draw.integers(0, 3, queries),
        "gallery_pids": draw.integers(-1, 9, items),
        "gallery_camids": draw.integers(0, 3, items),
    }
    return query, gallery, labels


def distances(query, gallery):
    apart = query[:, None].astype(np.float64) - gallery[None].astype(np.float64)
    return np.sqrt((apart**2).sum(2))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from((0.0, 5.0, 300.0)), st.sampled_from((0.5, 1.0, 9.0)))
def test_ranks_are_those_of_the_distances(seed, far, spread):
    query, gallery, labels = problem(seed, far, spread)
    minus = torch.from_numpy(-distances(query, gallery))
    expected = rank(lambda start, stop: minus[start:stop], **labels)
    found = rank_features(*euclidean_rows(query, gallery), **labels)
    assert np.array_equal(found.first_hit, expected.first_hit)
    assert np.allclose(found.ap, expected.ap, atol=1e-12, equal_nan=True)


def test_scores_are_minus_the_distances():
    query, gallery, _ = problem(0)
    score = euclidean_score(torch.from_numpy(query), torch.from_numpy(gallery))
    assert np.allclose(-score(3, 20).numpy(), distances(query, gallery)[3:], atol=1e-10)


def test_it_is_not_the_cosine():
    query, gallery, labels = problem(1)
    euclidean = rank_features(*euclidean_rows(query, gallery), **labels)
    assert euclidean.mAP != rank_features(query, gallery, **labels).mAP


def test_a_row_that_is_not_finite_is_named():
    query, gallery, _ = problem(2)
    gallery[5, 3] = np.nan
    with pytest.raises(ReIDError, match=r"gallery features hold nan or inf, first in row 5"):
        euclidean_rows(query, gallery)
