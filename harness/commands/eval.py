"""`harness eval`: features that were made elsewhere, measured."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from rich.console import Console
from torch import Tensor

from harness.approximate import Approximate, Approximation, approximate
from harness.catalog import DataCatalog
from harness.commands.data import open_data
from harness.cosine import Rows
from harness.encode import FEATURES
from harness.evaluate import MAX_RANK, Compared, evaluate, probe_metrics
from harness.feature_files import read_features
from harness.imported import NamedFeatures, match
from harness.labelled import Labelled, open_labelled
from harness.mapped import Watched
from harness.ranking import is_small
from harness.screen import ScreenProgress, say
from protocols import variants
from protocols.errors import ReIDError
from protocols.types import Protocol
from protocols.variants import Variant

EXTRA_SHOWN = 10
"""Names that are left out and named on the screen; most are of training images. JSON has all."""
SHARES = ("mAP", "rank1", "rank5", "rank10", "mINP")
LABELS = {"rank1": "Rank-1", "rank5": "Rank-5", "rank10": "Rank-10"}
IN_MEMORY = {"rerank": 12, "euclidean": 20}
"""Bytes a number of features that are in memory: as they are, and what is made of them."""
BOTH_WAYS = (
    "Give --query and --gallery, files with labels of their own, or --features and --protocol, one "
    "file with the names of images."
)


@dataclass(frozen=True)
class EvalRequest:
    """The options of `harness eval`; `workers` of at least 2 share the gallery."""

    query: tuple[str, ...]
    gallery: tuple[str, ...]
    features: Path | None
    protocol: str | None
    data: Path | None
    variant: Variant = Variant()
    measures: tuple[str, ...] = ()
    workers: int = 0
    address: str | None = None
    approximation: Approximation | None = None


@dataclass(frozen=True)
class Found:
    """What came of it: fractions and counts of queries, and what there is to say besides."""

    title: str
    metrics: dict[str, float]
    variant: Variant
    curves: dict[str, list[float]] = field(default_factory=dict)
    approximate: Approximate | None = None
    extra: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """`mAP`, `rank1`, `rank5`, `rank10`, `mINP`, `valid_queries`, `skipped_queries`.

        What else was measured is there if it was asked for, as are `variant`, `curves` and
        `approximate`; `extra_names` where a file has names that the protocol has not.
        """
        counts = {key: int(v) for key, v in self.metrics.items() if key.endswith("_queries")}
        further = {
            "variant": self.variant.name,
            "curves": {
                k: [None if math.isnan(v) else v for v in c] for k, c in self.curves.items()
            },
            "approximate": self.approximate and self.approximate.as_json(),
            "extra_names": self.extra,
        }
        return {**self.metrics, **counts, **{key: v for key, v in further.items() if v}}


def eval_command(request: EvalRequest, as_json: bool, console: Console, stderr: Console) -> int:
    """Measure and print; warnings and progress go to `stderr`. Returns the exit status."""
    if request.query and request.gallery and not (request.features or request.protocol):
        found = _labelled(request, stderr)
    elif request.features and request.protocol and not (request.query or request.gallery):
        found = _named(request, request.features, request.protocol, stderr)
    else:
        raise ReIDError(BOTH_WAYS)
    if as_json:
        console.print_json(json.dumps(found.as_json(), allow_nan=False))
        return 0
    show_metrics(found.title, found.metrics, console, found.variant)
    if found.approximate:
        _show_approximate(found.approximate, console)
    return 0


def _named(request: EvalRequest, path: Path, protocol: str, stderr: Console) -> Found:
    """Features with names of images, on a protocol's target."""
    if request.workers > 1 or request.address or request.approximation:
        raise ReIDError(
            "--workers, --address and --approximate are for files with labels of their own, "
            "--query and --gallery; a protocol's images are ranked exactly, in this process."
        )
    if asked := request.variant.name:
        if "/" in protocol:
            raise ReIDError(
                f"--protocol {protocol} says how its target is tested; put {asked!r} there, too: "
                f"{protocol}+{asked}."
            )
        protocol = f"{protocol}/{asked}"
    row, catalog = row_of(protocol, request.data, None, stderr)
    features = named(path, catalog, row.target, stderr)
    variant = variants.split(row.target)[1]
    probes = catalog.probes(row.target)
    result = evaluate(features, probes, variant=variant, measured=request.measures)
    title = f"{path} on {row.name}"
    return Found(title, result.metrics, variant, result.curves, None, features.extra)


def _labelled(request: EvalRequest, stderr: Console) -> Found:
    """Files with labels of their own, which may be larger than memory."""
    variant, how = request.variant, request.approximation
    in_memory = [variant.name] if variant.rerank or variant.euclidean else []
    address = request.address or (os.environ.get("RAY_ADDRESS") if request.workers > 1 else None)
    shared = request.workers > 1 or address
    if in_memory and (how or shared):
        raise ReIDError(
            f"{in_memory[0]} needs all features in the memory of one process: leave out --workers, "
            "--address and --approximate."
        )
    if how and (shared or request.measures):
        raise ReIDError(
            "--approximate ranks in this process and measures lists of neighbours alone: leave out "
            "--workers, --address and --measures."
        )
    files = open_labelled(request.query, request.gallery, variant)
    Q, G = len(files.query.features), len(files.gallery.features)
    title = f"{files.query.path} against {files.gallery.path}"
    found: Approximate | None = None
    compared: Compared | None = None
    with ScreenProgress(stderr, _work(files) * (2 if how else 1)) as progress, files.placed():
        progress.begin(f"{Q} queries in {G} images")
        if how:
            found = approximate(files, how, MAX_RANK, progress)
            ranking = found.ranking
        elif shared:
            from harness.sharded import Job, rank_sharded

            job = Job.of(request.query, request.gallery, variant)
            workers = request.workers or None
            ranking = rank_sharded(job, workers, address, MAX_RANK, progress)
        else:
            compared = _compared(files, variant, lambda rows: progress.advance(rows, "ranking"))
            ranking = compared.rank(files.known)
        metrics, curves = probe_metrics(ranking), {}
        if request.measures:
            if compared is None or not in_memory:
                compared = _compared(files, variant, lambda rows: progress.advance(0, "measuring"))
            further = compared.measures(files.known, request.measures)
            metrics, curves = metrics | further.metrics, further.curves
    return Found(title, metrics, variant, curves, found)


def _work(files: Labelled) -> int:
    """How many items of the gallery are gone through: all, once for each block of queries."""
    query, gallery, people = files.engine()
    if is_small(query, gallery):
        return gallery.N
    from harness.counting import query_blocks

    return gallery.N * len(list(query_blocks(people, query.D)))


def _compared(files: Labelled, variant: Variant, read: Callable[[int], object]) -> Compared:
    """Both sides, in memory where the variant needs them there; `read` is told of items passed.

    Raises ReIDError where more memory is needed than is free.
    """
    both = files.query.features, files.gallery.features
    if not (variant.rerank or variant.euclidean):
        mapped: tuple[Any, Any] = both[0], Watched(both[1], read)
        return Compared(None, {FEATURES: mapped[0]}, {FEATURES: mapped[1]}, variant)
    each = IN_MEMORY["rerank" if variant.rerank else "euclidean"]
    needs = sum(each * one.shape[0] * one.shape[1] for one in both)
    free = psutil.virtual_memory().available
    if needs > free:
        raise ReIDError(
            f"{variant.name} needs all features in memory, about {needs / 2**30:.1f} GB, and "
            f"{free / 2**30:.1f} GB are free."
        )
    query, gallery = ({FEATURES: _tensor(one)} for one in both)
    return Compared(None, query, gallery, variant)


def _tensor(rows: Rows) -> Tensor:
    """[N, D] float32, or float64 where the file has it."""
    dtype = np.float64 if rows.dtype.itemsize == 8 else np.float32
    return torch.from_numpy(np.require(rows[:], dtype, ("C", "A", "W")))


def row_of(
    protocol: str, data: Path | None, memory: Path | None, console: Console
) -> tuple[Protocol, DataCatalog]:
    rows, catalog = open_data(data, protocol, memory, console)
    if len(rows) != 1:
        names = ", ".join(row.name for row in rows[:4])
        raise ReIDError(
            f"--protocol {protocol} is {len(rows)} rows ({names} ...); features are of one target: "
            "give one row, such as MA->D."
        )
    return rows[0], catalog


def named(path: Path, catalog: DataCatalog, target: str, stderr: Console) -> NamedFeatures:
    features = match(read_features(path), catalog.target_paths(target))
    if features.extra:
        left = len(features.extra) - EXTRA_SHOWN
        shown = ", ".join(features.extra[:EXTRA_SHOWN])
        more = f" and {left} more; `harness eval --json` names all" if left > 0 else ""
        say(
            stderr,
            f"{path}: {len(features.extra)} names are not among {target}'s queries and gallery and "
            f"are left out: {shown}{more}.",
            "yellow",
        )
    return features


def show_metrics(
    title: str, metrics: dict[str, float], console: Console, variant: Variant = Variant()
) -> None:
    """The numbers, in per cent."""
    say(console, f"{title}, {variant.name}" if variant.name not in title else title)
    for key in SHARES:
        say(console, f"  {LABELS.get(key, key):8}{100 * metrics[key]:6.2f}")
    counts = ("valid_queries", "skipped_queries")
    further = [key for key in metrics if key not in (*SHARES, *counts)]
    width = max([8, *(len(key) + 1 for key in further)])
    for key in further:
        say(console, f"  {key:{width}}{100 * metrics[key]:6.2f}")
    skipped = int(metrics["skipped_queries"])
    without = f"; {skipped} have no match and are left out" if skipped else ""
    by = "Euclidean distance" if variant.euclidean else "cosine similarity"
    if how := variant.rerank:
        by = f"k-reciprocal re-ranking (k1 {how.k1}, k2 {how.k2}, lambda {how.weight:g})"
    say(console, f"  {int(metrics['valid_queries'])} queries{without}. Per cent, {by}.")


def _show_approximate(found: Approximate, console: Console) -> None:
    """How the ranks were found, and how far they are from the exact ones."""
    recall = ", ".join(f"recall@{k} {100 * value:.2f}" for k, value in found.recall.items())
    say(
        console,
        f"  Approximate: the {found.neighbours} nearest of each query, from {found.probes} of "
        f"{found.cells} cells; a match that is not among them is not found.",
    )
    say(
        console,
        f"  On {found.queries} queries ranked exactly, too: {recall}; mAP {100 * found.mAP:.2f}, "
        f"exactly {100 * found.exact_mAP:.2f}.",
    )
