"""mAP against the level of a degradation: a panel for each kind, a line for each entry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from protocols.variants import KINDS, LEVELS
from results.entries import Entry
from results.figure_data import Asked, Drawn, Shown, listed, said, slug
from results.line_style import MOST
from results.robustness_table import GALLERY, RobustLine, build
from results.sweep_figure import Curve, Panel, sweep_figure
from results.variant_rows import metric_of

LEVEL = "level (0: as it is)"


def robustness(entries: Sequence[Entry], protocols: Asked = None) -> Iterator[Drawn]:
    """A figure for each protocol that has degraded rows; of all trainings that have clean rows.

    Raises ReIDError where there are none.
    """
    found = build(entries, protocols).lines
    for base in dict.fromkeys(line.base for line in found):
        mine = [line for line in found if line.base == base]
        lines, left = mine[:MOST], mine[MOST:]
        kinds = [kind for kind in KINDS if any(kind in line.kinds for line in lines)]
        panels = [Panel(kind, [_curve(line, kind) for line in lines]) for kind in kinds]
        shown = list({line.entry.name: line.entry for line in lines}.values())
        notes = [f"Left out, as too many to tell apart: {listed(one.name for one in left)}."]
        both = any(line.both for line in lines)
        words = [
            f"Queries are degraded; with{GALLERY}, the gallery as well."
            if both
            else "Queries are degraded, the gallery is not.",
            *said(Shown(tuple(shown), (base,))),
            *(notes if left else []),
        ]
        title = f"Robustness, {base}"
        yield (
            slug("robustness", base),
            title,
            sweep_figure(LEVEL, (0.0, *map(float, LEVELS)), panels, title, words),
        )


def _curve(line: RobustLine, kind: str) -> Curve:
    """mAP in per cent at level 0 and the others, a number for each training that has the row."""
    if kind not in line.kinds:
        return Curve(line.name, [[]] * (1 + len(LEVELS)))
    levels = [line.clean, *(line.degraded.get((kind, level), {}) for level in LEVELS)]
    return Curve(line.name, [[100 * metric_of(row, "mAP") for row in rows.values()]
                             for rows in levels])  # fmt: skip
