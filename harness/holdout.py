"""Held-out source identities: all that a search for settings may look at. Targets stay unseen.

Of each source, a share of the identities leaves training; they are ranked among themselves as a
target is: a query per person and camera, all of their images as the gallery, the usual junk rule.
Who is held out comes from the seed and the source's name and identities alone, so that every
setting of a search is measured on the same people.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evaluate import evaluate
from harness.extract import Extractor
from harness.fold_masks import FoldMasks
from harness.seeds import generator
from harness.settings import Report
from methods.interface import Method
from protocols.errors import DataError, ReIDError
from protocols.types import DISTRACTOR_PID, JUNK_PID, Image, Probe, Split

FEWEST = 2
"""Identities that must be held out, and that must be left to train on."""
METRICS = ("mAP", "rank1")


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The sources of a training without the identities that are held out of it.

    `training` and `kept` are in the order of the sources; `kept` is bool [n], which of a source's
    images are left. `probes` are by source.
    """

    training: tuple[Split, ...]
    probes: dict[str, Probe]
    kept: tuple[NDArray[np.bool_], ...]

    def masks(self, masks: FoldMasks | None) -> FoldMasks | None:
        """Part masks of all source images, reduced to those of the images that are left."""
        if masks is None or not self.probes:
            return masks
        return masks.of(self.kept)


def hold_out(sources: Sequence[Split], fraction: float | None, seed: int) -> HeldOut:
    """Take `fraction` of the identities of each source out of training; None takes none.

    Those are held out that at least two cameras have seen; of a source without such people (one
    camera, or nobody knows which) those with two images, and there cameras do not count. At least
    two are held out, and two are left. Raises DataError for a source with fewer, ReIDError for a
    `fraction` that is none.
    """
    if fraction is None:
        everything = tuple(np.ones(len(split.images), dtype=bool) for split in sources)
        return HeldOut(tuple(sources), {}, everything)
    if not 0 < fraction < 1:
        raise ReIDError(f"--holdout {fraction}: expected a share between 0 and 1, such as 0.2.")
    training, probes, kept = [], {}, []
    for split in sources:
        people, by_camera = _people(split)
        held = set(_draw(split, people, fraction, seed))
        left = np.array([image.pid not in held for image in split.images], dtype=bool)
        images = tuple(i for i, stays in zip(split.images, left, strict=True) if stays)
        training.append(Split(split.dataset, split.name, images))
        probes[split.dataset] = _probe(split, held, by_camera)
        kept.append(left)
    return HeldOut(tuple(training), probes, tuple(kept))


def _people(split: Split) -> tuple[list[int], bool]:
    """Who can be held out, sorted, and whether a match must be from another camera."""
    cameras: dict[int, set[int]] = {}
    images: dict[int, int] = {}
    for image in split.images:
        cameras.setdefault(image.pid, set()).add(image.camid)
        images[image.pid] = images.get(image.pid, 0) + 1
    known = set(images) - {JUNK_PID, DISTRACTOR_PID}
    seen_twice = sorted(pid for pid in known if len(cameras[pid]) >= 2)
    if len(seen_twice) >= FEWEST:
        return seen_twice, True
    return sorted(pid for pid in known if images[pid] >= 2), False


def _draw(split: Split, people: Sequence[int], fraction: float, seed: int) -> list[int]:
    """Identities to hold out: a share of all, as far as there are `people` that can be."""
    count = max(FEWEST, round(fraction * len(split.pids)))
    if len(people) < FEWEST or len(split.pids) - count < FEWEST:
        raise DataError(
            f"{split.dataset} has too few people to hold {fraction:g} of them out of training: "
            f"{len(split.pids)} identities, {len(people)} of them with a second image to find. "
            f"At least {FEWEST} are held out and {FEWEST} must be left. Choose other sources"
            " or another --holdout."
        )
    order = generator(seed, "holdout", split.dataset).permutation(len(people))
    return [people[i] for i in order[:count]]


def _probe(split: Split, held: set[int], by_camera: bool) -> Probe:
    """The held-out images as a probe: a query per person and camera, everything to be found."""
    images = sorted(image for image in split.images if image.pid in held)
    if by_camera:
        queries = list({(i.pid, i.camid): i for i in reversed(images)}.values())
        gallery = images
    else:
        # two cameras that nobody has, or the junk rule would remove every match
        queries = [i._replace(camid=0) for i in {i.pid: i for i in reversed(images)}.values()]
        firsts = {query.path for query in queries}
        gallery = [image._replace(camid=1) for image in images if image.path not in firsts]
    return Probe("held-out", _split(split, "query", queries), _split(split, "gallery", gallery))


def _split(split: Split, name: str, images: Sequence[Image]) -> Split:
    return Split(split.dataset, f"held-out {name}", tuple(sorted(images)))


def objective(
    extractor: Extractor, held: HeldOut, doing: str = "held-out people"
) -> dict[str, Any]:
    """How well held-out people are found: {"mAP", "rank1", "sources": {source: all metrics}}.

    Fractions in 0..1; mAP and rank1 are means over the sources, each of which counts the same.
    """
    probes = held.probes.items()
    sources = {key: evaluate(extractor, [probe], doing).metrics for key, probe in probes}
    means = {name: float(np.mean([m[name] for m in sources.values()])) for name in METRICS}
    return {**means, "sources": sources}


def validated_epoch(
    method: Method,
    entry: dict[str, Any],
    measure: Callable[[], dict[str, Any]],
    metric: str,
    report: Report,
) -> None:
    """Measure a method after an epoch of its last stage and report it, but for the last epoch.

    Stages before the last train what the last one needs, not what is tested. After the last epoch
    there is nothing left to stop. The objective is kept in the epoch's `entry` of the history.
    """
    last = method.stages()[-1]
    if entry["stage"] != last.name or entry["epoch"] >= last.epochs:
        return
    found = measure()
    entry["validation"] = {name: found[name] for name in METRICS}
    report(entry["epoch"], found[metric])
