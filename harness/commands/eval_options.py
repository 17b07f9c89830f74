"""The options of `harness eval` that say how features are ranked and what is measured."""

from __future__ import annotations

from harness.approximate import Approximation
from harness.measures import NAMES
from harness.options import comma_list
from protocols.errors import ReIDError, UnknownName
from protocols.variants import Rerank, Variant

COSINE, EUCLIDEAN = "cosine", "euclidean"
ALL = "all"


def variant_of(
    distance: str,
    rerank: bool,
    k1: int | None,
    k2: int | None,
    weight: float | None,
    all_cameras: bool,
    no_distractors: bool,
) -> Variant:
    """The variant that options ask for. Raises ReIDError for what makes no sense together."""
    if distance.lower() not in (COSINE, EUCLIDEAN):
        raise UnknownName("--distance", distance, (COSINE, EUCLIDEAN))
    given = {"k1": k1, "k2": k2, "weight": weight}
    parameters = {name: value for name, value in given.items() if value is not None}
    if parameters and not rerank:
        raise ReIDError("--k1, --k2 and --lambda are --rerank's: ask for it, too.")
    return Variant(
        distractors=not no_distractors,
        cross_camera=not all_cameras,
        euclidean=distance.lower() == EUCLIDEAN,
        rerank=Rerank(**parameters) if rerank else None,  # type: ignore[arg-type]
    )


def approximation_of(
    approximate: bool, neighbours: int | None, probes: int | None, sample: int | None
) -> Approximation | None:
    """How ranks are approximated. Raises ReIDError for options of what is not asked for."""
    given = {"neighbours": neighbours, "probes": probes, "sample": sample}
    parameters = {name: value for name, value in given.items() if value is not None}
    if parameters and not approximate:
        raise ReIDError("--neighbours, --probes and --sample are --approximate's: ask for it, too.")
    return Approximation(**parameters) if approximate else None


def measure_names(text: str | None) -> tuple[str, ...]:
    """What `--measures` asks for, in its own order. Raises UnknownName for what is not measured."""
    asked = {name.lower() for name in comma_list(text or "")}
    for name in sorted(asked - {*NAMES, ALL}):
        raise UnknownName("measure", name, (*NAMES, ALL), "Several are joined by commas.")
    return tuple(name for name in NAMES if name in asked or ALL in asked)
