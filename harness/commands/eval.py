"""`harness eval` and `harness import`: features that were made elsewhere, measured and kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from harness import record
from harness.catalog import DataCatalog
from harness.commands.data import open_data
from harness.commands.tracking import Mirroring
from harness.config import RunSpec
from harness.environment import environment
from harness.evaluate import MAX_RANK, evaluate, probe_metrics
from harness.feature_files import FeatureFile, Side, read_features
from harness.files import file_digest, write_text
from harness.imported import SHOWN, NamedFeatures, match
from harness.lease import hold
from harness.ranking import rank_features
from harness.record import IMPORTED, RunFolder, RunRecord
from harness.screen import say
from harness.signs import utc
from harness.tested import write_target
from methods import registry
from protocols.errors import DataError, ReIDError
from protocols.types import Protocol

SHARES = ("mAP", "rank1", "rank5", "rank10", "mINP")
LABELS = {"rank1": "Rank-1", "rank5": "Rank-5", "rank10": "Rank-10"}
LONGEST, RESERVED = 60, "()[],;<>\n\r\t"
"""Of a method's name; what entries of a table are told apart by is reserved."""
UNKNOWN = "unknown"
"""In place of the fingerprint of a source that is not here."""
BOTH_WAYS = (
    "Give --query and --gallery, files with labels of their own, or --features and --protocol, one "
    "file with the names of images."
)


@dataclass(frozen=True)
class EvalRequest:
    """The options of `harness eval`, as typed."""

    query: Path | None
    gallery: Path | None
    features: Path | None
    protocol: str | None
    data: Path | None


@dataclass(frozen=True)
class ImportRequest:
    """The options of `harness import`, as typed."""

    features: Path
    method: str
    protocol: str
    seed: int
    data: Path | None
    out: Path
    force: bool
    tracking: str | None
    experiment: str


def eval_command(request: EvalRequest, as_json: bool, console: Console, stderr: Console) -> int:
    """Measure and print; warnings go to `stderr`. Returns the exit status.

    JSON: `mAP`, `rank1`, `rank5`, `rank10`, `mINP` (fractions in 0..1), `valid_queries`,
    `skipped_queries`, and `extra_names` where a file has names that the protocol has not.
    """
    extra: tuple[str, ...] = ()
    if request.query and request.gallery and not (request.features or request.protocol):
        metrics = _labelled(request.query, request.gallery)
        title = f"{request.query} against {request.gallery}"
    elif request.features and request.protocol and not (request.query or request.gallery):
        row, catalog = _row(request.protocol, request.data, None, stderr)
        features = _named(request.features, catalog, row.target, stderr)
        metrics = evaluate(features, catalog.probes(row.target)).metrics
        extra, title = features.extra, f"{request.features} on {row.name}"
    else:
        raise ReIDError(BOTH_WAYS)
    if as_json:
        counts = {key: int(value) for key, value in metrics.items() if key.endswith("_queries")}
        left_out = {"extra_names": extra} if extra else {}
        console.print_json(json.dumps({**metrics, **counts, **left_out}, allow_nan=False))
    else:
        _say(title, metrics, console)
    return 0


def import_command(request: ImportRequest, console: Console, stderr: Console) -> int:
    """Measure features and leave a record. Returns the exit status."""
    _require_name(request.method)
    row, catalog = _row(request.protocol, request.data, request.out / ".verified", console)
    features = _named(request.features, catalog, row.target, stderr)
    spec = _spec(request, row, catalog)
    folder = RunFolder(request.out, spec.id)
    with hold(folder.lease):
        known = folder.read_target(row.target)
        digest = f"imported from features with SHA-256 {file_digest(request.features)}"
        if known is not None and digest not in known.notes and not request.force:
            raise ReIDError(
                f"{request.method} has a record of {row.name}, seed {request.seed}, of other "
                f"features ({folder.target(row.target)}). --force replaces it; --seed is for "
                "another training."
            )
        result = evaluate(features, catalog.probes(row.target))
        if not folder.run.exists():
            write_text(folder.spec, spec.model_dump_json(indent=1) + "\n")
            record.write(folder.run, _run_record(spec, row, catalog))
        write_target(folder, catalog, row.target, result, [digest])
    _say(f"{request.method} on {row.name}", result.metrics, console)
    say(console, f"Record: {folder.target(row.target)}")
    Mirroring(request.out, request.tracking, console, request.experiment).sync([spec.id])
    return 0


def _labelled(query: Path, gallery: Path) -> dict[str, float]:
    sides: dict[Side, FeatureFile] = {
        "query": read_features(query, "query"),
        "gallery": read_features(gallery, "gallery"),
    }
    widths = {side: one.features.shape[1] for side, one in sides.items()}
    if len(set(widths.values())) > 1:
        raise DataError(
            f"{query} has features of {widths['query']} numbers and {gallery} of "
            f"{widths['gallery']}; they must be of one width."
        )
    query_pids, query_camids = sides["query"].labels()
    gallery_pids, gallery_camids = sides["gallery"].labels()
    ranking = rank_features(
        sides["query"].features,
        sides["gallery"].features,
        query_pids=query_pids,
        query_camids=query_camids,
        gallery_pids=gallery_pids,
        gallery_camids=gallery_camids,
        max_rank=MAX_RANK,
    )
    return probe_metrics(ranking)


def _row(
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


def _named(path: Path, catalog: DataCatalog, target: str, stderr: Console) -> NamedFeatures:
    features = match(read_features(path), catalog.target_paths(target))
    if features.extra:
        shown = ", ".join(features.extra[:SHOWN])
        more = f" and {len(features.extra) - SHOWN} more" if len(features.extra) > SHOWN else ""
        say(
            stderr,
            f"{path}: {len(features.extra)} names are not among {target}'s queries and gallery and "
            f"are left out: {shown}{more}.",
            "yellow",
        )
    return features


def _require_name(name: str) -> None:
    """Raise ReIDError for a name that can't stand for an imported method in tables."""
    if name in registry.locations():
        raise ReIDError(
            f"--method {name} is a method of this harness; give the imported one a name of its "
            f"own, such as {name}-authors."
        )
    if not name.strip() or len(name) > LONGEST or set(name) & set(RESERVED):
        raise ReIDError(
            f"--method {name!r}: expected a name of at most {LONGEST} characters without any of "
            f"{' '.join(RESERVED)} or line breaks."
        )


def _spec(request: ImportRequest, row: Protocol, catalog: DataCatalog) -> RunSpec:
    """What the run is called: not by its features, so that its other targets are beside it."""
    return RunSpec(
        method=request.method,
        method_version=IMPORTED,
        preset=IMPORTED,
        config={},
        weights=(),
        sources={key: _fingerprint(catalog, key, row) for key in row.sources},
        source_images=row.source_images,
        seed=request.seed,
        precision="fp32",
    )


def _fingerprint(catalog: DataCatalog, key: str, row: Protocol) -> str:
    """Of a source's images; they need not be here for what was trained elsewhere."""
    try:
        return catalog.source_fingerprint(key, row.source_images)
    except DataError:
        return UNKNOWN


def _run_record(spec: RunSpec, row: Protocol, catalog: DataCatalog) -> RunRecord:
    said = "trained elsewhere; which images on is what its owner says"
    counts = {
        key: {"images": len(split.images), "identities": len(split.pids)}
        for key, fingerprint in spec.sources.items()
        if fingerprint != UNKNOWN
        for split in [catalog.source(key, row.source_images)]
    }
    return RunRecord(
        run_id=spec.id,
        spec=spec,
        data=catalog.kind,
        source_counts=counts,
        source_notes={key: [said] for key in spec.sources},
        history=[],
        parameters={},
        model_sha256=None,
        seconds=0.0,
        interruptions=0,
        environment=environment(),
        finished_at=utc(),
    )


def _say(title: str, metrics: dict[str, float], console: Console) -> None:
    """The numbers, in per cent."""
    say(console, title)
    for key in SHARES:
        say(console, f"  {LABELS.get(key, key):8}{100 * metrics[key]:6.2f}")
    skipped = int(metrics["skipped_queries"])
    without = f"; {skipped} have no match and are left out" if skipped else ""
    say(
        console, f"  {int(metrics['valid_queries'])} queries{without}. Per cent, cosine similarity."
    )
