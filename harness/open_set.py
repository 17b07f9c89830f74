"""Open-set identification: queries of persons who may not be in the gallery at all.

Liao et al., Open-set person re-identification, 2014; Zheng, Gong and Xiang, Towards open-world
person re-identification by one-shot group-based verification, TPAMI 2016. Every valid query is
asked twice: with its person in the gallery, and with all images of that person taken out. A query
that has no match is asked once, as of somebody who is not there; junk is not asked.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from harness.verification import Levels

RATES = tuple(10.0 ** (k / 8) for k in range(-24, 1))
"""The false-alarm rates of the curve: from 1e-3 to 1, eight to a power of ten."""
NAMED = (1e-1, 1e-2, 1e-3)
"""The false-alarm rates that have a metric."""

Scores = NDArray[np.float64]


def open_set(found: Scores, valid: int, alarms: Scores) -> tuple[dict[str, float], list[float]]:
    """Metrics `dir_at_far_0.01` ... and the detection and identification rate at each of RATES.

    `found`: the best match's score of every query whose first-ranked item is a match; `valid`: of
    how many queries that is; `alarms`: of every query the best score of another person, -inf where
    there is none. DIR at FAR f is the share of valid queries that are right at rank 1 and accepted,
    at the lowest threshold at which at most the share f of the alarms is. A rate that the queries
    are too few for is left out of the metrics, on the curve it is nan.
    """
    levels = Levels.of_scores(found, alarms)
    rates = zip(NAMED, levels.accepted(NAMED, valid).tolist(), strict=True)
    metrics = {f"dir_at_far_{rate:g}": value for rate, value in rates if not math.isnan(value)}
    return metrics, levels.accepted(RATES, valid).tolist()
