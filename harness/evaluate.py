"""From a trained method and a target to ranks: features once per image, then each probe split.

`encode` gets images alone: no identity, no camera. Features are float32 and stay on the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor

from harness.encode import FEATURES
from harness.euclidean import euclidean_rows, euclidean_score
from harness.extract import Encoded
from harness.measures import Measures, measure_features, measure_scores
from harness.ranking import Ranking, Score, cosine_score, exact_score, rank, rank_features
from harness.record import QUERY_COLUMNS
from methods.interface import Method
from protocols.errors import ReIDError
from protocols.types import Image, Probe
from protocols.variants import ALL_CAMERAS, EUCLIDEAN, Reading, Side, Variant

MAX_RANK = 50
SIDES: tuple[Side, Side] = ("query", "gallery")


@dataclass(frozen=True)
class TargetResult:
    """Rankings per probe split and the means over them.

    `metrics` are fractions in 0..1 and counts of queries; `cmc[k-1]` is Rank-k; `curves` are those
    of `harness.measures`.
    """

    probes: tuple[tuple[Probe, Ranking], ...]
    metrics: dict[str, float]
    cmc: list[float]
    images: int
    seconds: float
    curves: dict[str, list[float]] = field(default_factory=dict)


class Features(Protocol):
    """What `evaluate` asks for features of images: an Extractor, or somebody who kept some."""

    @property
    def method(self) -> Method | None:
        """Whose features they are, which says how they are compared; None for the cosine."""
        ...

    def __call__(
        self, paths: Sequence[str], doing: str = "features", how: Reading = Reading()
    ) -> Encoded:
        """What `encode` returned, [N, ...] each, in the order of `paths`."""
        ...


def evaluate(
    features: Features,
    probes: Sequence[Probe],
    doing: str = "features",
    variant: Variant = Variant(),
    measured: Sequence[str] = (),
) -> TargetResult:
    """Rank every probe split of a target. Images that several splits share are encoded once.

    `measured` names what is measured besides, some of `harness.measures.NAMES`. Raises
    ReIDError for a `variant` that the method or the target can't have.
    """
    started = time.perf_counter()
    ranked, further = [], []
    for probe, query, gallery in encoded(features, probes, doing, variant):
        known = labels(probe, variant)
        compared = Compared(features.method, query, gallery, variant)
        ranked.append((probe, compared.rank(known)))
        if measured:
            further.append(compared.measures(known, measured))
    rankings = [ranking for _, ranking in ranked]
    metrics, curves = [one.metrics for one in further], [one.curves for one in further]
    return TargetResult(
        probes=tuple(ranked),
        metrics=mean_metrics([probe_metrics(r) for r in rankings])
        | {key: _mean([one[key] for one in metrics]) for key in _common(metrics)},
        cmc=np.mean([r.cmc for r in rankings], axis=0).tolist(),
        images=len(_paths(probes)),
        seconds=time.perf_counter() - started,
        curves={
            key: np.mean([one[key] for one in curves], axis=0).tolist() for key in _common(curves)
        },
    )


def encoded(
    features: Features,
    probes: Sequence[Probe],
    doing: str = "features",
    variant: Variant = Variant(),
) -> Iterator[tuple[Probe, Encoded, Encoded]]:
    """Every probe split of a target with what is known of its queries and its gallery."""
    both, queries = _paths(probes), sorted({i.path for p in probes for i in p.query.images})
    how = {side: variant.reading(side) for side in SIDES}
    # of the gallery always both, which is what is kept of the target as it is
    paths = {"query": both if how["query"] == how["gallery"] else queries, "gallery": both}
    found = {"gallery": features(both, doing, how["gallery"])}
    found["query"] = (
        found["gallery"] if paths["query"] is both else features(queries, doing, how["query"])
    )
    row = {side: {path: i for i, path in enumerate(paths[side])} for side in SIDES}
    for probe in probes:
        query = _rows(found["query"], probe.query.images, row["query"])
        yield probe, query, _rows(found["gallery"], probe.gallery.images, row["gallery"])


def scores(
    features: Features,
    probes: Sequence[Probe],
    doing: str = "features",
    variant: Variant = Variant(),
) -> Iterator[tuple[Probe, Score]]:
    """Every probe split of a target with the score that decides its ranks, for a few queries."""
    for probe, query, gallery in encoded(features, probes, doing, variant):
        _require_cosine(features.method, variant)
        if variant.rerank or not is_cosine(features.method):
            yield probe, score_of(features.method, query, gallery, variant)
        else:
            yield probe, exact_score(*_rows_to_rank(query, gallery, variant))


def score_of(
    method: Method | None, query: Encoded, gallery: Encoded, variant: Variant = Variant()
) -> Score:
    """How a method scores what it has encoded, as `rank` asks for it.

    Raises ReIDError for a `variant` that compares features, of a method with its own score.
    """
    _require_cosine(method, variant)
    if method is None or is_cosine(method):
        sides = query[FEATURES], gallery[FEATURES]
        if variant.rerank:
            from harness.reranking import reranked_score  # loads scipy

            return reranked_score(*sides, variant.rerank)
        return euclidean_score(*sides) if variant.euclidean else cosine_score(*sides)

    def block(start: int, stop: int) -> Tensor:
        with torch.no_grad():
            return method.score({k: v[start:stop] for k, v in query.items()}, gallery).float()

    return block


class ProbeLabels(TypedDict):
    """The labels of both sides of a probe split, [Q] and [G], as `rank` takes them."""

    query_pids: np.ndarray
    query_camids: np.ndarray
    gallery_pids: np.ndarray
    gallery_camids: np.ndarray


def labels(probe: Probe, variant: Variant = Variant()) -> ProbeLabels:
    """The labels of a probe split.

    Raises ReIDError where images of the query's camera are to stay in its gallery and the query
    itself is one of them.
    """
    query, gallery = probe.query.images, probe.gallery.images
    if not variant.cross_camera:
        both = {image.path for image in query} & {image.path for image in gallery}
        if both:
            raise ReIDError(
                f"{len(both)} images are queries and in the gallery, {min(both)} for one: with "
                f"'{ALL_CAMERAS}' each would find itself."
            )
    known: ProbeLabels = {
        "query_pids": _column(query, "pid"),
        "query_camids": _column(query, "camid"),
        "gallery_pids": _column(gallery, "pid"),
        "gallery_camids": _column(gallery, "camid"),
    }
    return known if variant.cross_camera else without_cameras(known)


def without_cameras(known: ProbeLabels) -> ProbeLabels:
    """Labels by which no image has the query's camera, so that none is removed for it."""
    elsewhere = known["gallery_camids"].max() + 1
    return {**known, "query_camids": np.full_like(known["query_camids"], elsewhere)}


@dataclass(frozen=True, eq=False)
class Compared:
    """A method's queries and gallery, encoded, to be compared as a variant has it.

    `method` None: by the cosine. Raises ReIDError for a variant that compares features, of a method
    with its own score.
    """

    method: Method | None
    query: Encoded
    gallery: Encoded
    variant: Variant = Variant()

    def __post_init__(self) -> None:
        _require_cosine(self.method, self.variant)

    @cached_property
    def score(self) -> Score:
        """See `score_of`; re-ranking has much to do before the first score."""
        return score_of(self.method, self.query, self.gallery, self.variant)

    def rank(self, known: ProbeLabels) -> Ranking:
        """The gallery ranked; `known` are the labels as `labels` gives them for the variant."""
        if self.variant.rerank or not is_cosine(self.method):
            return rank(self.score, max_rank=MAX_RANK, **known)
        rows = _rows_to_rank(self.query, self.gallery, self.variant)
        return rank_features(*rows, max_rank=MAX_RANK, **known)

    def measures(self, known: ProbeLabels, which: Sequence[str]) -> Measures:
        """What else is measured, some of `harness.measures.NAMES`."""
        if is_cosine(self.method) and not (self.variant.rerank or self.variant.euclidean):
            sides = self.query[FEATURES], self.gallery[FEATURES]
            return measure_features(*sides, which=which, **known)
        return measure_scores(self.score, which=which, **known)


def probe_metrics(ranking: Ranking) -> dict[str, float]:
    """The numbers of one probe split."""
    return {
        "mAP": ranking.mAP,
        "rank1": ranking.rank1,
        "rank5": ranking.rank5,
        "rank10": ranking.rank10,
        "mINP": ranking.mINP,
        "valid_queries": ranking.valid_queries,
        "skipped_queries": ranking.skipped_queries,
    }


def mean_metrics(probes: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over probe splits; counts of queries are sums."""
    return {
        key: (sum if key.endswith("_queries") else _mean)([p[key] for p in probes])
        for key in probes[0]
    }


def query_table(result: TargetResult) -> dict[str, list[Any]]:
    """Per-query results, columns as `harness.record.QUERY_COLUMNS`; None where not valid."""
    columns: dict[str, list[Any]] = {name: [] for name in QUERY_COLUMNS}
    for probe, ranking in result.probes:
        valid = ranking.valid.tolist()
        columns["probe"] += [probe.name] * len(valid)
        columns["query"] += [i.path for i in probe.query.images]
        columns["pid"] += [i.pid for i in probe.query.images]
        columns["camid"] += [i.camid for i in probe.query.images]
        columns["valid"] += valid
        columns["matches"] += ranking.matches.tolist()
        for name in ("ap", "first_hit", "inp"):
            values = getattr(ranking, name).tolist()
            columns[name] += [v if ok else None for v, ok in zip(values, valid, strict=True)]
    return columns


def is_cosine(method: Method | None) -> bool:
    """Whether a method's features are compared by the cosine and nothing else."""
    return method is None or type(method).score is Method.score


def _rows_to_rank(query: Encoded, gallery: Encoded, variant: Variant) -> tuple[Tensor, Tensor]:
    """Rows of both sides whose cosines decide the ranks."""
    sides = query[FEATURES], gallery[FEATURES]
    return euclidean_rows(*sides) if variant.euclidean else sides


def _require_cosine(method: Method | None, variant: Variant) -> None:
    """Raise ReIDError for a variant that compares features, of a method with its own score."""
    asked = [EUCLIDEAN] if variant.euclidean else [variant.rerank.name] if variant.rerank else []
    if asked and not is_cosine(method):
        raise ReIDError(
            f"'{asked[0]}' compares features, and {type(method).__name__} has a score of its own."
        )


def _common(found: Sequence[Mapping[str, object]]) -> list[str]:
    """What every probe split has: of what one is too small for, there is no mean."""
    return [key for key in found[0] if all(key in one for one in found)] if found else []


def _rows(
    features: dict[str, Tensor], images: Sequence[Image], row: dict[str, int]
) -> dict[str, Tensor]:
    """The features of some images; a view where they stand together, which spares a copy."""
    index = torch.tensor([row[i.path] for i in images])
    start, stop = int(index[0]), int(index[0]) + len(index)
    if torch.equal(index, torch.arange(start, stop)):
        return {k: v[start:stop] for k, v in features.items()}
    return {k: v[index] for k, v in features.items()}


def _column(images: Sequence[Image], name: str) -> np.ndarray:
    return np.array([getattr(i, name) for i in images], dtype=np.int64)


def _paths(probes: Sequence[Probe]) -> list[str]:
    return sorted({i.path for p in probes for s in (p.query, p.gallery) for i in s.images})


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
