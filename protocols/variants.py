"""Variants of a target: the same people, tested in another way. `D/occluded-3+flip`.

What stands behind the `/` is parts joined by `+`, typed in any order and written in that of
`MEANINGS`, which says what they mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from protocols.errors import ReIDError, UnknownName

Side = Literal["query", "gallery"]
KINDS = ("occluded", "blurred", "low-resolution", "light", "jpeg")
"""Ways to degrade an image, as the figures and tables order them."""
LEVELS = (1, 2, 3, 4, 5)
BOTH = "-both"
ROBUSTNESS = "robustness"
"""As a variant: the target as it is, and every kind at every level."""
PRECISION, FLIP, NO_DISTRACTORS, ALL_CAMERAS, EUCLIDEAN, RERANK = (
    "bf16",
    "flip",
    "no-distractors",
    "all-cameras",
    "euclidean",
    "rerank",
)
MEANINGS = {
    "KIND-LEVEL": f"queries made worse: {', '.join(KINDS)}, each at levels 1 to 5",
    "KIND-LEVEL-both": "the same, and the gallery's images too",
    PRECISION: "features are computed in bfloat16",
    FLIP: "features of an image and of its mirror image are added up",
    NO_DISTRACTORS: "the gallery without images of nobody (pid 0)",
    ALL_CAMERAS: "images of the person in the query's camera count as matches, too",
    EUCLIDEAN: "ranked by Euclidean distance, not by cosine",
    RERANK: "k-reciprocal re-ranking; rerank-50-15-0.3 sets k1, k2 and the distance's weight",
}
"""Part of a variant's name -> what it means."""
SHORTHANDS = {
    "KIND, KIND-both": "the target as it is, and the kind's five levels",
    ROBUSTNESS: "the target as it is, and every kind at every level",
    "seen": "the test sets of the row's own sources, alone or with other parts",
}
"""What is typed like a part and stands for several rows, or for others."""
SWITCHES: dict[str, dict[str, Any]] = {
    PRECISION: {"bf16": True},
    FLIP: {"flip": True},
    NO_DISTRACTORS: {"distractors": False},
    ALL_CAMERAS: {"cross_camera": False},
    EUCLIDEAN: {"euclidean": True},
}
"""Part of a name -> what it sets."""


@dataclass(frozen=True)
class Degradation:
    """What is done to images: one of KINDS at a level of 1..5; `both` sides or queries alone."""

    kind: str
    level: int
    both: bool = False

    @property
    def name(self) -> str:
        """`occluded-3`, `occluded-3-both`."""
        return f"{self.kind}-{self.level}{BOTH if self.both else ''}"


@dataclass(frozen=True)
class Reading:
    """How an image file becomes features: `bf16` or float32, with its mirror image, degraded."""

    degradation: Degradation | None = None
    bf16: bool = False
    flip: bool = False


@dataclass(frozen=True)
class Rerank:
    """Parameters of k-reciprocal re-ranking (Zhong et al., CVPR 2017); defaults are the paper's."""

    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    def __post_init__(self) -> None:
        if self.k1 < 1 or self.k2 < 1 or not 0 <= self.weight <= 1:
            raise ReIDError(
                f"Re-ranking needs k1 and k2 of at least 1 and a weight in 0..1, not {self.k1}, "
                f"{self.k2} and {self.weight:g}."
            )

    @property
    def name(self) -> str:
        """`rerank`, or with its parameters where they are not the paper's."""
        if self == Rerank():
            return RERANK
        # never 1e-05, whose "-" would divide it
        weight = f"{Decimal(repr(self.weight)).normalize():f}"
        return f"{RERANK}-{self.k1}-{self.k2}-{weight}"


@dataclass(frozen=True)
class Variant:
    """How a target is tested; without anything, as everybody does it."""

    degradation: Degradation | None = None
    bf16: bool = False
    flip: bool = False
    distractors: bool = True
    cross_camera: bool = True
    euclidean: bool = False
    rerank: Rerank | None = None

    def __post_init__(self) -> None:
        if self.euclidean and self.rerank:
            raise ReIDError(
                f"{RERANK} has a distance of its own, so {EUCLIDEAN} can't be asked for with it."
            )

    @property
    def name(self) -> str:
        """As it stands behind the `/`; empty for the target as it is."""
        parts = [
            *([self.degradation.name] if self.degradation else []),
            *(part for part, sets in SWITCHES.items() if sets.items() <= vars(self).items()),
            *([self.rerank.name] if self.rerank else []),
        ]
        return "+".join(parts)

    def reading(self, side: Side) -> Reading:
        """How the images of a side become features."""
        degradation = self.degradation
        if degradation and side == "gallery" and not degradation.both:
            degradation = None
        return Reading(degradation, self.bf16, self.flip)


def parse(text: str) -> Variant:
    """One variant from its name. Raises UnknownName for a part that is none, ReIDError for more.

    The case of letters does not matter; each part may stand once.
    """
    found = Variant()
    for part in text.lower().split("+"):
        changed = _with(found, part, text)
        if changed == found:
            raise ReIDError(f"Variant {text!r} has {part!r} twice.")
        found = changed
    return found


def expand(text: str) -> Iterator[Variant]:
    """The variants of a name: one; or of a kind without a level, all levels and the clean target.

    `robustness` is every kind so; `occluded-both` is understood, too. Raises what `parse` raises.
    """
    parts = text.lower().split("+")
    wide = [part for part in parts if part.removesuffix(BOTH) in (*KINDS, ROBUSTNESS)]
    if not wide:
        yield parse(text)
        return
    if len(wide) > 1:
        raise ReIDError(f"Variant {text!r}: only one of {' and '.join(wide)} at a time.")
    others = [part for part in parts if part not in wide]
    rest = parse("+".join(others)) if others else Variant()
    if rest.degradation:
        raise ReIDError(f"Variant {text!r} degrades images in two ways; choose one.")
    yield rest
    name, both = wide[0].removesuffix(BOTH), wide[0].endswith(BOTH)
    for kind in KINDS if name == ROBUSTNESS else (name,):
        for level in LEVELS:
            yield replace(rest, degradation=Degradation(kind, level, both))


def split(target: str) -> tuple[str, Variant]:
    """Key of the data set and the variant of a target: `D/flip` -> (`D`, flip)."""
    key, slash, text = target.partition("/")
    return key, parse(text) if slash else Variant()


def dataset_of(target: str) -> str:
    """Key of the data set of a target, without its variant."""
    return target.partition("/")[0]


def join(key: str, variant: Variant) -> str:
    """The target of a data set and a variant."""
    return f"{key}/{variant.name}" if variant.name else key


def _with(variant: Variant, part: str, text: str) -> Variant:
    """A variant with one part more."""
    if part in SWITCHES:
        return replace(variant, **SWITCHES[part])
    if part == RERANK or part.startswith(f"{RERANK}-"):
        if variant.rerank:
            raise ReIDError(f"Variant {text!r} has {RERANK} twice.")
        return replace(variant, rerank=_rerank(part))
    kind, _, level = part.removesuffix(BOTH).rpartition("-")
    if kind in KINDS and level.isdecimal():
        if variant.degradation:
            raise ReIDError(f"Variant {text!r} degrades images in two ways; choose one.")
        if int(level) not in LEVELS:
            raise ReIDError(f"Variant {part!r}: levels are {LEVELS[0]} to {LEVELS[-1]}.")
        degradation = Degradation(kind, int(level), part.endswith(BOTH))
        return replace(variant, degradation=degradation)
    levels = [f"{kind}-{level}" for kind in KINDS for level in LEVELS]
    known = [*SWITCHES, RERANK, *KINDS, ROBUSTNESS, *levels]
    raise UnknownName("variant", part, known, "Such as MA->D/occluded-3 or MA->D/flip+rerank.")


def _rerank(part: str) -> Rerank:
    values = part.split("-")[1:]
    if not values:
        return Rerank()
    try:
        k1, k2, weight = int(values[0]), int(values[1]), float(values[2])
        whole = len(values) == 3
    except (ValueError, IndexError):
        whole = False
    if not whole:
        raise ReIDError(
            f"Variant {part!r}: expected {RERANK}-K1-K2-WEIGHT, such as rerank-20-6-0.3."
        )
    return Rerank(k1, k2, weight)
