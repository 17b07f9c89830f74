"""What lies under a data root, and what differs from the data sets' cards, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from protocols.datasets import CARDS, Dataset, DatasetCard, custom_keys, open_dataset
from protocols.datasets.folders import find, require_data_root
from protocols.errors import DataError, UnknownName
from protocols.fingerprint import fingerprint
from protocols.standin import STANDIN_FILE, is_standin
from protocols.types import Split
from protocols.verify import BadImage, audit, verify_images

__all__ = ["BadImage", "DatasetReport", "PartReport", "check", "verify_images"]

DatasetProgress = Callable[[str, int, int], None]
"""Called with (data set, images done, images in all)."""


@dataclass(frozen=True)
class PartReport:
    """One part of a data set beside its card; `expected_*` are None where no count is known."""

    name: str
    images: int
    identities: int
    expected_images: int | None = None
    expected_identities: int | None = None


@dataclass(frozen=True)
class DatasetReport:
    """What was found of one data set.

    `status` is "absent", "broken" (there, but can not be used: see `error`) or "found".
    `official` says whether every count is the card's and every file decodes, None where there is
    nothing to compare with. `fingerprint` is over names and sizes, `sha256` over all contents,
    sorted by path; empty if a file could not be read.
    """

    key: str
    name: str
    status: str
    looked_for: tuple[str, ...]
    folder: str = ""
    version: str = ""
    standin: bool = False
    official: bool | None = None
    parts: tuple[PartReport, ...] = ()
    differences: tuple[str, ...] = ()
    bad_images: tuple[BadImage, ...] = ()
    colour_modes: dict[str, int] | None = None
    fingerprint: str = ""
    sha256: str = ""
    notes: tuple[str, ...] = ()
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, tuples, strings and numbers, ready for JSON."""
        return asdict(self)


def check(
    data_root: Path,
    keys: Iterable[str] | None = None,
    progress: DatasetProgress | None = None,
) -> list[DatasetReport]:
    """Look at every data set, or at `keys`; every image of those found is decoded.

    Raises DataError if the root is no folder, UnknownName for a key that is no data set. Faults
    of one data set are in its report and do not stop the others.
    """
    data_root = Path(data_root)
    require_data_root(data_root)
    own = custom_keys(data_root)
    if keys is None:
        keys = [*(k for k, card in CARDS.items() if not _same_files(card)), *own]
    keys = list(dict.fromkeys(keys))
    for key in keys:
        if key not in CARDS and key not in own:
            raise UnknownName("data set", key, [*CARDS, *own])
    return [_check_one(key, data_root, progress) for key in keys]


def _same_files(card: DatasetCard) -> bool:
    """Whether another card is for the very same files (VIPeR-ba): then they are checked once."""
    return bool(card.variant_of) and CARDS[card.variant_of].folders == card.folders


def _check_one(key: str, data_root: Path, progress: DatasetProgress | None) -> DatasetReport:
    card = CARDS.get(key)
    name = card.name if card else key
    looked = card.folders if card else (f"{key}.csv", f"{key}/dataset.csv")
    standin = is_standin(data_root)
    try:
        if card and find(card, data_root) is None:
            return DatasetReport(key, name, "absent", looked)
        dataset = open_dataset(key, data_root)
    except DataError as error:
        return DatasetReport(key, name, "broken", looked, standin=standin, error=str(error))
    paths = sorted({data_root / i.path for split in dataset.parts for i in split.images})
    found = audit(paths, (lambda done, total: progress(key, done, total)) if progress else None)
    parts = tuple(_part(split, dataset.card) for split in dataset.parts)
    differences = _differences(dataset, len(found.bad), standin)
    return DatasetReport(
        key=key,
        name=name,
        status="found",
        looked_for=looked,
        folder=str(dataset.root),
        version=dataset.version,
        standin=standin,
        official=not differences if dataset.card.counts else None,
        parts=parts,
        differences=differences,
        bad_images=found.bad,
        colour_modes=found.modes,
        fingerprint=_fingerprint(dataset),
        sha256=found.sha256,
        notes=(*dataset.notes, *_mode_notes(found.modes)),
    )


def _part(split: Split, card: DatasetCard) -> PartReport:
    expected = card.counts.get(split.name)
    return PartReport(split.name, len(split.images), len(split.pids), *(expected or ()))


def count_differences(dataset: Dataset) -> list[str]:
    """Counts of images, people and cameras that are not the card's, each in words."""
    said = [
        f"{p.name}: {p.images} images of {p.identities} people; "
        f"the official one has {p.expected_images} of {p.expected_identities}"
        for p in (_part(split, dataset.card) for split in dataset.parts)
        if p.expected_images is not None
        and (p.images, p.identities) != (p.expected_images, p.expected_identities)
    ]
    cameras = len({i.camid for split in dataset.parts for i in split.images})
    if dataset.card.cameras and cameras != dataset.card.cameras:
        said.append(f"{cameras} cameras; the official one has {dataset.card.cameras}")
    return said


def _differences(dataset: Dataset, bad: int, standin: bool) -> tuple[str, ...]:
    """What is not as the card says, each in words; the first line is the conclusion."""
    name = dataset.card.name
    said = count_differences(dataset)
    pids = {split.name: set(split.pids) for split in dataset.parts}
    both = pids.get("train", set()) & (pids.get("query", set()) | pids.get("gallery", set()))
    if both:
        said.append(f"{len(both)} people are both in train and in the test images")
    if bad:
        said.append(f"{bad} files do not decode")
    if standin:
        said.append(f"{STANDIN_FILE} says that these images are rendered stand-ins")
    if said and dataset.card.counts:
        why = "these are rendered stand-ins" if standin else "it differs as said below"
        said.insert(
            0,
            f"not the official {name}: {why}; a number measured on it must not be called {name}'s",
        )
    return tuple(said)


def _mode_notes(modes: dict[str, int]) -> list[str]:
    return [
        f"{count} images have colour mode {mode}; they are read as RGB"
        for mode, count in modes.items()
        if mode != "RGB"
    ]


def _fingerprint(dataset: Dataset) -> str:
    try:
        return fingerprint(dataset.parts, dataset.data_root)
    except DataError:
        return ""  # an empty or vanished file, which is among the bad images already
