"""What a trained method finds for some queries: the gallery in the order it is evaluated in."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.evaluate import Features, labels, scores
from harness.ranking import ranked_gallery
from protocols.types import Image, Probe
from protocols.variants import Variant

Wanted = tuple[str, str]
"""Name of a probe split and path of one of its queries."""


@dataclass(frozen=True)
class Gallery:
    """The ranked gallery of one query, without what evaluation removes from it.

    `shown` are the first images and `right` which of them match. `kept` images are ranked and
    `matches` of them match; `ap` in 0..1, `first_hit` (a rank, from 1) and `first_right`, the image
    there, are of all of them, None where nothing matches.
    """

    probe: str
    query: Image
    shown: tuple[Image, ...]
    right: tuple[bool, ...]
    kept: int
    matches: int
    ap: float | None
    first_hit: int | None
    first_right: Image | None


def galleries(
    features: Features,
    probes: Sequence[Probe],
    wanted: Iterable[Wanted],
    top: int,
    doing: str = "features",
    variant: Variant = Variant(),
) -> dict[Wanted, Gallery]:
    """The galleries of the queries `wanted`, the first `top` images of each.

    Every image of the target is encoded once, as evaluation of the `variant` does it, and no row of
    scores is kept.
    """
    left = set(wanted)
    found: dict[Wanted, Gallery] = {}
    for probe, score in scores(features, probes, doing, variant):
        known = labels(probe, variant)
        for row, query in enumerate(probe.query.images):
            if (probe.name, query.path) in left:
                order, match = ranked_gallery(score, row, **known)
                found[probe.name, query.path] = _gallery(probe, query, order, match, top)
    return found


def below_common(found: Sequence[Gallery]) -> list[str]:
    """The paths of the queries below the folder that all of them lie in."""
    folder = posixpath.commonpath(posixpath.dirname(one.query.path) for one in found)
    return [posixpath.relpath(one.query.path, folder or ".") for one in found]


def _gallery(probe: Probe, query: Image, order: np.ndarray, match: np.ndarray, top: int) -> Gallery:
    images = probe.gallery.images
    ranks = np.flatnonzero(match) + 1
    precision = np.arange(1, len(ranks) + 1) / ranks
    first = int(ranks[0]) if len(ranks) else None
    return Gallery(
        probe=probe.name,
        query=query,
        shown=tuple(images[i] for i in order[:top]),
        right=tuple(match[:top].tolist()),
        kept=len(order),
        matches=len(ranks),
        ap=float(precision.mean()) if len(ranks) else None,
        first_hit=first,
        first_right=images[order[first - 1]] if first else None,
    )
