"""From a trained method and a target to ranks: features once per image, then each probe split.

`encode` gets images alone: no identity, no camera. Features are float32 and stay on the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from harness.data import ImageFiles, image_batches, in_order
from harness.progress import EVALUATION_PASS, Progress
from harness.ranking import Ranking, cosine_score, rank
from harness.record import QUERY_COLUMNS
from methods.interface import Batch, Method
from protocols.types import Image, Probe

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
    paths = sorted({i.path for p in probes for s in (p.query, p.gallery) for i in s.images})
    features = extractor(paths, doing)
    row = {path: i for i, path in enumerate(paths)}
    ranked = []
    for probe in probes:
        query = _rows(features, probe.query.images, row)
        gallery = _rows(features, probe.gallery.images, row)
        ranking = rank(
            _score(extractor.method, query, gallery),
            query_pids=_column(probe.query.images, "pid"),
            query_camids=_column(probe.query.images, "camid"),
            gallery_pids=_column(probe.gallery.images, "pid"),
            gallery_camids=_column(probe.gallery.images, "camid"),
            max_rank=MAX_RANK,
        )
        ranked.append((probe, ranking))
    rankings = [ranking for _, ranking in ranked]
    return TargetResult(
        probes=tuple(ranked),
        metrics=mean_metrics([probe_metrics(r) for r in rankings]),
        cmc=np.mean([r.cmc for r in rankings], axis=0).tolist(),
        images=len(paths),
        seconds=time.perf_counter() - started,
    )


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


def _score(
    method: Method | None, query: dict[str, Tensor], gallery: dict[str, Tensor]
) -> Callable[[int, int], Tensor]:
    if method is None or type(method).score is Method.score:
        return cosine_score(query["features"], gallery["features"])

    def block(start: int, stop: int) -> Tensor:
        with torch.no_grad():
            return method.score({k: v[start:stop] for k, v in query.items()}, gallery).float()

    return block


def _rows(
    features: dict[str, Tensor], images: Sequence[Image], row: dict[str, int]
) -> dict[str, Tensor]:
    index = torch.tensor([row[i.path] for i in images])
    return {k: v[index] for k, v in features.items()}


def _column(images: Sequence[Image], name: str) -> np.ndarray:
    return np.array([getattr(i, name) for i in images], dtype=np.int64)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
