"""`harness import`: features that were made elsewhere, measured and kept as a record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from harness import measures, record
from harness.catalog import DataCatalog
from harness.commands.eval import named, row_of, show_metrics
from harness.commands.tracking import Mirroring
from harness.config import RunSpec
from harness.environment import environment
from harness.evaluate import evaluate
from harness.files import file_digest, write_text
from harness.lease import hold
from harness.record import IMPORTED, RunFolder, RunRecord
from harness.screen import say
from harness.signs import utc
from harness.tested import write_target
from methods import registry
from protocols import variants
from protocols.errors import DataError, ReIDError
from protocols.types import Protocol

LONGEST, RESERVED = 60, "()[],;<>\n\r\t"
"""Of a method's name; what entries of a table are told apart by is reserved."""
UNKNOWN = "unknown"
"""In place of the fingerprint of a source that is not here."""


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


def import_command(request: ImportRequest, console: Console, stderr: Console) -> int:
    """Measure features and leave a record. Returns the exit status."""
    _require_name(request.method)
    row, catalog = row_of(request.protocol, request.data, request.out / ".verified", console)
    features = named(request.features, catalog, row.target, stderr)
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
        variant = variants.split(row.target)[1]
        probes = catalog.probes(row.target)
        result = evaluate(features, probes, variant=variant, measured=measures.NAMES)
        if not folder.run.exists():
            write_text(folder.spec, spec.model_dump_json(indent=1) + "\n")
            record.write(folder.run, _run_record(spec, row, catalog))
        write_target(folder, catalog, row.target, result, [digest])
    show_metrics(f"{request.method} on {row.name}", result.metrics, console)
    say(console, f"Record: {folder.target(row.target)}")
    Mirroring(request.out, request.tracking, console, request.experiment).sync([spec.id])
    return 0


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
