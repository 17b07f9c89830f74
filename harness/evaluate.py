"""From a trained method and a target to ranks: features once per image, then each probe split.

`encode` gets images alone: no identity, no camera. Features are float32 and stay on the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor

from harness.data import ImageFiles, image_batches, in_order
from harness.progress import EVALUATION_PASS, Progress
from harness.ranking import Ranking, Score, cosine_score, exact_score, rank, rank_features
from harness.record import QUERY_COLUMNS
from methods.interface import Batch, Method
from protocols.types import Image, Probe

Encoded = dict[str, Tensor]
"""What `encode` returned, a row an image."""
BATCH_SIZE = 128
MAX_RANK = 50


@dataclass(frozen=True)
class TargetResult:
    """Rankings per probe split and the means over them.

    `metrics` are fractions in 0..1 and counts of queries; `cmc[k-1]` is Rank-k.
    """

    probes: tuple[tuple[Probe, Ranking], ...]
    metrics: dict[str, float]
    cmc: list[float]
    images: int
    seconds: float


@dataclass(frozen=True)
class Extractor:
    """Turns image files below `root` into features, in evaluation mode."""

    method: Method
    root: Path
    device: torch.device
    workers: int = 0
    progress: Progress = field(default_factory=Progress)

    @torch.no_grad()
    def __call__(self, paths: Sequence[str], doing: str = "features") -> dict[str, Tensor]:
        """Features in the order of `paths`: what `encode` returned, [N, ...] each, float32."""
        self.method.eval()
        files = ImageFiles(self.root, paths, self.method.transforms().eval)
        parts: list[dict[str, Tensor]] = []
        for _, images in image_batches(files, in_order(len(paths), BATCH_SIZE), self.workers):
            encoded = self.method.encode(Batch(images.to(self.device)))
            parts.append({k: v.float().cpu() for k, v in encoded.items()})
            self.progress.advance(len(images) * EVALUATION_PASS, doing)
        return {k: torch.cat([part[k] for part in parts]) for k in parts[0]}


class Features(Protocol):
    """What `evaluate` asks for features of images: an Extractor, or somebody who kept some."""

    @property
    def method(self) -> Method | None:
        """Whose features they are, which says how they are compared; None for the cosine."""
        ...

    def __call__(self, paths: Sequence[str], doing: str = "features") -> dict[str, Tensor]: ...


def evaluate(extractor: Features, probes: Sequence[Probe], doing: str = "features") -> TargetResult:
    """Rank every probe split of a target. Images that several splits share are encoded once."""
    started = time.perf_counter()
    ranked = [
        (probe, _ranking(extractor.method, query, gallery, probe))
        for probe, query, gallery in encoded(extractor, probes, doing)
    ]
    rankings = [ranking for _, ranking in ranked]
    return TargetResult(
        probes=tuple(ranked),
        metrics=mean_metrics([probe_metrics(r) for r in rankings]),
        cmc=np.mean([r.cmc for r in rankings], axis=0).tolist(),
        images=len(_paths(probes)),
        seconds=time.perf_counter() - started,
    )


def encoded(
    features: Features, probes: Sequence[Probe], doing: str = "features"
) -> Iterator[tuple[Probe, Encoded, Encoded]]:
    """Every probe split of a target with what is known of its queries and its gallery."""
    paths = _paths(probes)
    found = features(paths, doing)
    row = {path: i for i, path in enumerate(paths)}
    for probe in probes:
        query = _rows(found, probe.query.images, row)
        yield probe, query, _rows(found, probe.gallery.images, row)


def scores(
    features: Features, probes: Sequence[Probe], doing: str = "features"
) -> Iterator[tuple[Probe, Score]]:
    """Every probe split of a target with the score that decides its ranks, for a few queries."""
    for probe, query, gallery in encoded(features, probes, doing):
        if _is_cosine(features.method):
            yield probe, exact_score(query["features"], gallery["features"])
        else:
            yield probe, score_of(features.method, query, gallery)


def score_of(method: Method | None, query: Encoded, gallery: Encoded) -> Score:
    """How a method scores what it has encoded, as `rank` asks for it."""
    if method is None or _is_cosine(method):
        return cosine_score(query["features"], gallery["features"])

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


def labels(probe: Probe) -> ProbeLabels:
    """The labels of a probe split."""
    query, gallery = probe.query.images, probe.gallery.images
    return {
        "query_pids": _column(query, "pid"),
        "query_camids": _column(query, "camid"),
        "gallery_pids": _column(gallery, "pid"),
        "gallery_camids": _column(gallery, "camid"),
    }


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


def _ranking(method: Method | None, query: Encoded, gallery: Encoded, probe: Probe) -> Ranking:
    """One probe split ranked: by the cosine of features, or by the method's own score."""
    known = labels(probe)
    if _is_cosine(method):
        return rank_features(query["features"], gallery["features"], max_rank=MAX_RANK, **known)
    return rank(score_of(method, query, gallery), max_rank=MAX_RANK, **known)


def _is_cosine(method: Method | None) -> bool:
    return method is None or type(method).score is Method.score


def _rows(
    features: dict[str, Tensor], images: Sequence[Image], row: dict[str, int]
) -> dict[str, Tensor]:
    index = torch.tensor([row[i.path] for i in images])
    return {k: v[index] for k, v in features.items()}


def _column(images: Sequence[Image], name: str) -> np.ndarray:
    return np.array([getattr(i, name) for i in images], dtype=np.int64)


def _paths(probes: Sequence[Probe]) -> list[str]:
    return sorted({i.path for p in probes for s in (p.query, p.gallery) for i in s.images})


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
