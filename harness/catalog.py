"""The data sets of one data root, opened, fingerprinted and verified once each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from harness.files import write_text
from protocols import standin, variants
from protocols.check import count_differences, verify_images
from protocols.contents import Contents
from protocols.datasets import CARDS, Dataset, custom_keys, open_dataset
from protocols.errors import DataError, ReIDError
from protocols.fingerprint import fingerprint
from protocols.standin import is_standin
from protocols.types import DISTRACTOR_PID, Probe, SourceImages, Split
from protocols.variants import Degradation, Variant, dataset_of

SHOWN = 10

Watch = Callable[[int, int], None]


def require_standins(keys: Iterable[str], instead: str = "") -> None:
    """Raise ReIDError for data sets that have no stand-in; `instead`: what else one may do."""
    without = [key for key in keys if key not in standin.KEYS]
    if without:
        raise ReIDError(
            f"{', '.join(without)}: the embedded stand-ins are {', '.join(standin.KEYS)} only. "
            f"Give the real data sets with --data DIR{instead}."
        )


class DataCatalog:
    """What is below a data root. `verified` remembers in `memory` which data have been decoded.

    `empty`: files of 0 bytes are not refused at once, for who names every damaged image anyway.
    """

    def __init__(
        self,
        root: Path,
        memory: Path | None = None,
        say: Callable[[str], object] = lambda text: None,
        empty: bool = False,
    ) -> None:
        self.root = root
        self.memory = memory
        self.contents = Contents(root, say=say, empty=empty)
        self._datasets: dict[str, Dataset] = {}
        self._sources: dict[tuple[str, str], Split] = {}
        self._probes: dict[str, tuple[Probe, ...]] = {}
        self._contents: dict[tuple[str, ...], dict[str, str]] = {}
        self._fingerprints: dict[tuple[str, ...], str] = {}
        self._verified: set[str] = set()

    @cached_property
    def kind(self) -> str:
        """`stand-in` for rendered people, else `real`."""
        return "stand-in" if is_standin(self.root) else "real"

    @cached_property
    def own_keys(self) -> tuple[str, ...]:
        """Data sets described by a CSV below the root."""
        return custom_keys(self.root)

    def dataset(self, key: str) -> Dataset:
        """The data set of a source or a target, opened.

        Raises DataError where it is missing or half-copied.
        """
        key = dataset_of(key)
        if key not in self._datasets:
            self._datasets[key] = open_dataset(key, self.root)
        return self._datasets[key]

    def notes(self, key: str) -> list[str]:
        """What a row must say of source or target: version, oddities, counts unlike its card's."""
        dataset = self.dataset(key)
        version = [f"version {dataset.version}"] if dataset.version else []
        unlike = count_differences(dataset)
        if unlike:
            unlike = [f"not the official {dataset.card.name}: {'; '.join(unlike)}"]
        return [*version, *dataset.notes, *unlike]

    def official(self, key: str) -> bool:
        """Whether a data set that we know is there with as many images as were published."""
        return key in CARDS and not count_differences(self.dataset(key))

    def source(self, key: str, which: SourceImages) -> Split:
        """The training images a source gives: its training set, or all of its images."""
        if (key, which) not in self._sources:
            dataset = self.dataset(key)
            split = dataset.train() if which == "train" else dataset.all()
            if not split.images:
                raise DataError(f"{key} below {self.root} holds no training images.")
            self._sources[key, which] = split
        return self._sources[key, which]

    def probes(self, key: str) -> tuple[Probe, ...]:
        """The probe splits of a target. Raises DataError where a variant leaves nothing of one."""
        key = listed(key)
        if key not in self._probes:
            probes = self.dataset(key).probes()
            if not variants.split(key)[1].distractors:
                probes = tuple(map(_without_distractors, probes))
            self._probes[key] = probes
        return self._probes[key]

    def target_splits(self, key: str) -> list[Split]:
        """Query and gallery of every probe split of a target."""
        return [s for p in self.probes(key) for s in (p.query, p.gallery)]

    def target_paths(self, key: str) -> set[str]:
        """The images of a target, each once, however many probe splits it is in."""
        return {i.path for s in self.target_splits(key) for i in s.images}

    def source_fingerprint(self, key: str, which: SourceImages) -> str:
        """Fingerprint of a source's training images."""
        return self._fingerprint(("source", key, which), [self.source(key, which)])

    def target_fingerprint(self, key: str) -> str:
        """Fingerprint of a target's probe splits, and of what is done to their images."""
        found = self._fingerprint(("target", listed(key)), self.target_splits(key))
        degradation = variants.split(key)[1].degradation
        return _degraded(found, degradation) if degradation else found

    def _fingerprint(self, name: tuple[str, ...], splits: Iterable[Split]) -> str:
        if name not in self._fingerprints:
            self._fingerprints[name] = fingerprint(splits, self.root, self.contents)
        return self._fingerprints[name]

    def _digests(self, name: tuple[str, ...], splits: Iterable[Split]) -> dict[str, str]:
        if name not in self._contents:
            self._contents[name] = self.contents.digests(i.path for s in splits for i in s.images)
        return self._contents[name]

    def _mend(self) -> str:
        if self.kind == "stand-in":
            return f"Remove {self.root}; the stand-ins are rendered again."
        return (
            "Replace them from the data set's archive; `harness check --data DIR` lists every "
            "damaged file."
        )

    def same_folder(self, source: str, target: str) -> bool:
        """Whether two of the known data sets are one folder, by a link for example."""
        # CSVs may well lie side by side
        if source not in CARDS or dataset_of(target) not in CARDS:
            return False
        return self.dataset(source).root.resolve() == self.dataset(target).root.resolve()

    def digests(self, paths: Iterable[str]) -> dict[str, str]:
        """Path below the root -> SHA-256 of the image."""
        return self.contents.digests(paths)

    def common_files(self, source: str, which: SourceImages, target: str) -> list[tuple[str, str]]:
        """Training images of a source whose very content is in a target: (source's, target's)."""
        mine = self._digests(("source", source, which), [self.source(source, which)])
        tested = self._digests(("target", listed(target)), self.target_splits(target))
        theirs = {digest: path for path, digest in tested.items()}
        return [(path, theirs[digest]) for path, digest in mine.items() if digest in theirs]

    def verify(
        self, key: str, digest: str, splits: Sequence[Split], watch: Watch | None = None
    ) -> None:
        """Decode every image of some splits once per fingerprint, before time is spent on them.

        `watch` is called with (images done, images in all) meanwhile.
        Raises DataError naming the files that do not decode.
        """
        key = dataset_of(key)
        mark = self.memory / digest if self.memory else None
        if digest in self._verified or (mark and mark.exists()):
            return
        paths = sorted({i.path for s in splits for i in s.images})
        bad = verify_images([self.root / p for p in paths], watch)
        if bad:
            listed = "\n".join(f"  {b.path}: {b.reason}" for b in bad[:SHOWN])
            more = f"\n  and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
            raise DataError(
                f"{len(bad)} of {len(paths)} images of {key} do not decode:\n{listed}{more}\n"
                f"{self._mend()} Then start the same command again."
            )
        self._verified.add(digest)
        if mark:
            write_text(mark, json.dumps({"dataset": key, "images": len(paths)}) + "\n")


def listed(target: str) -> str:
    """The target with the same lists of images and nothing else changed: of `D/flip` it is `D`."""
    key, variant = variants.split(target)
    return variants.join(key, Variant(distractors=variant.distractors))


def _degraded(fingerprint: str, degradation: Degradation) -> str:
    """The fingerprint of degraded images, from that of the images as they are."""
    from harness.degradations import VERSION

    text = f"{fingerprint}\t{degradation.name}\t{VERSION}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_distractors(probe: Probe) -> Probe:
    kept = tuple(image for image in probe.gallery.images if image.pid != DISTRACTOR_PID)
    if not kept:
        raise DataError(f"{probe.gallery.dataset}: the gallery holds nothing but distractors.")
    return replace(probe, gallery=replace(probe.gallery, images=kept))
