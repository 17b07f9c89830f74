"""A grounding as an MLflow run: what was asked of which expert, what came out, the pictures of it.

There is one run a record (`harness.grounding.record`); it is brought up to date in its place when
the record or a picture changes. Looking for what is new (`due`) reads files only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.in_place import bring
from harness.mirror import KEY, MIRROR_VERSION, MIRRORED, PICTURES, Metric, Mirror
from harness.texts import milliseconds, params, whole
from protocols.errors import DataError, ReIDError

if TYPE_CHECKING:
    # brings pydantic; whoever finds nothing new must not pay for it
    from harness.grounding.record import GroundRecord
    from harness.mlflow_store import Store

FOLDER = "part_labels"
"""The folder's name, as `harness.grounding.record` has it."""
RECORD = re.compile(r".+-[0-9a-f]{16}(-.+)?\.json")


@dataclass(frozen=True)
class FoundGrounding:
    """A record and its pictures as they lie on the disk, unread."""

    path: Path
    pictures: tuple[Path, ...]
    digest: str

    @property
    def key(self) -> str:
        """By which its run in MLflow is known."""
        return f"grounding:{self.path.stem}"


@dataclass
class Due:
    """What is to be shown, how many are shown as they are, what could not be read."""

    mirrors: list[tuple[FoundGrounding, Mirror]] = field(default_factory=list)
    unchanged: int = 0
    problems: list[str] = field(default_factory=list)


def due(out: Path, stems: Iterable[str] | None, known: Mapping[str, str]) -> Due:
    """The groundings below `out`, or those of label files with these `stems`.

    `known` maps the keys of what is shown to its digest.
    """
    result = Due()
    for found in scan(out, stems):
        if known.get(found.key) == found.digest:
            result.unchanged += 1
            continue
        try:
            result.mirrors.append((found, mirror(found)))
        except ReIDError as error:
            result.problems.append(str(error))
    return result


def scan(out: Path, stems: Iterable[str] | None = None) -> Iterator[FoundGrounding]:
    """Every record of a grounding below `out`, or those of label files with these `stems`."""
    chosen = None if stems is None else set(stems)
    for path in sorted((out / FOLDER).glob("*.json")):
        if RECORD.fullmatch(path.name) and (chosen is None or path.stem in chosen):
            found = look(path)
            if found:
                yield found


def look(path: Path) -> FoundGrounding | None:
    """A record and its pictures as they are now; None if they are just being made again."""
    drawn = path.with_suffix(".figures").glob("*")
    pictures = sorted(one for one in drawn if one.suffix in PICTURES and one.name[0] != ".")
    total = hashlib.sha256(f"grounding {MIRROR_VERSION}".encode())
    try:
        for one in (path, *pictures):
            total.update(f"{one.name}\n".encode())
            total.update(hashlib.sha256(one.read_bytes()).digest())
    except FileNotFoundError:
        return None
    return FoundGrounding(path, tuple(pictures), total.hexdigest()[:16])


def mirror(found: FoundGrounding) -> Mirror:
    """The MLflow run of a grounding. Raises DataError naming a record that is none, or a copy."""
    from harness.grounding.record import OWN, GroundRecord

    record = GroundRecord.read(found.path)
    if record.labels != f"{found.path.stem}{OWN}":
        raise DataError(
            f"{found.path} is the record of {record.labels} under another name, so a copy; it is "
            "left out. Rename it or move it elsewhere."
        )
    end = _end(found, record)
    asked = {
        "expert": record.expert,
        "model": record.model,
        "revision": record.revision,
        "images": record.images,
        "wording": record.wording,
        "options": record.options,
    }
    said = {
        "kind": "grounding",
        "dataset": record.dataset,
        "expert": record.expert,
        "data": record.data,
        "fingerprint": record.fingerprint,
        "precision": record.precision,
        "device": record.device,
    }
    return Mirror(
        key=found.key,
        digest=found.digest,
        name=f"grounding {record.dataset} {record.expert}",
        start=end - int(1000 * record.seconds),
        end=end,
        tags=whole({KEY: found.key, **said}),
        params=params({name: value for name, value in asked.items() if value}),
        metrics=tuple(Metric(name, value, end) for name, value in _values(record).items()),
        files=(found.path,),
        pictures=found.pictures,
    )


def _end(found: FoundGrounding, record: GroundRecord) -> int:
    """When a grounding was written, in ms since 1970."""
    try:
        return milliseconds(record.created_at)
    except ValueError as error:
        raise DataError(
            f"{found.path}: created_at is {record.created_at!r}; expected ISO 8601. Give the same "
            "`harness ground` again, which writes it anew."
        ) from error


def _values(record: GroundRecord) -> dict[str, float]:
    """The counts, as MLflow groups them: `head/missing` and so on."""
    values: dict[str, float] = {
        "images": record.count,
        "damaged": record.damaged,
        "crowded": record.crowded,
        "seconds": record.seconds,
    }
    if record.images_per_second is not None:
        values["images_per_second"] = record.images_per_second
    for part, counts in record.parts.items():
        values |= {f"{part}/{name}": count for name, count in counts.model_dump().items()}
    return {name: float(value) for name, value in values.items()}


def show(store: Store, found: FoundGrounding, wanted: Mirror) -> bool:
    """Make a grounding's run in MLflow or bring it up to date; returns whether it had to be.

    Raises Changed if the files are not those that were read, Refused as `Store.insist` does.
    """
    return store.insist(lambda: _show(store, found, wanted))


def _show(store: Store, found: FoundGrounding, wanted: Mirror) -> bool:
    for run in store.runs(KEY, wanted.key):
        # MLflow takes no other value of a parameter
        if run.data.tags.get(MIRRORED) != wanted.digest and run.data.params != wanted.params:
            store.client.delete_run(run.info.run_id)
    return bring(store, wanted, lambda: look(found.path) == found).changed
