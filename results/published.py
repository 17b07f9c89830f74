"""The literature's numbers, as `published/*.csv` has them, and when they compare with ours."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from protocols.registry import row_name
from results.collect import Row

Pair = tuple[float, float]
"""mAP and Rank-1 in per cent."""
OFFICIAL = "not the official"
"""How a reader's note begins where a data set is not what its owner published."""
UNSAID = "The paper does not say over how many seeds its numbers are, nor which MSMT17 it used."
SOURCE = (
    "Lines with a venue are published numbers, as the MUVA paper (arXiv:2603.14012) prints them; "
    "none was measured here."
)
VENUES = {"Ours": "arXiv'26"}
"""What the paper calls itself."""


@dataclass(frozen=True)
class PublishedMethod:
    """A line of tables 1-4: `marks` of *†‡, `scores` by the name of the protocol."""

    method: str
    venue: str
    type: str
    marks: str
    scores: Mapping[str, Pair]

    @property
    def name(self) -> str:
        """With the venue, which no line of ours has."""
        return f"{self.method} ({self.venue})"


@dataclass(frozen=True)
class PublishedCost:
    """A line of table 13: millions of parameters, ms a batch, GB; None for what it does not say.

    `latency` and `memory` are those of stage 1, stage 2 and inference, on an RTX A6000.
    """

    method: str
    params: tuple[float | None, float | None]
    latency: tuple[float | None, ...]
    memory: tuple[float | None, ...]
    scores: Mapping[str, Pair]


def methods(protocols: Iterable[str]) -> list[PublishedMethod]:
    """What tables 1-4 have of some protocols, a method once, in their order."""
    wanted = set(protocols)
    found: dict[tuple[str, str, str], dict[str, Pair]] = {}
    types: dict[tuple[str, str, str], str] = {}
    for line in _read("comparison"):
        sources, target = line["protocol"].split("->")
        protocol = row_name(tuple(sources.split("+")), "train", target)
        if protocol in wanted:
            key = line["method"], line["venue"], line["marks"]
            found.setdefault(key, {})[protocol] = (float(line["mAP"]), float(line["rank1"]))
            types[key] = types.get(key) or line["type"]  # table 4 names none
    return [
        PublishedMethod(key[0], VENUES.get(key[1], key[1]), types[key], key[2], scores)
        for key, scores in found.items()
    ]


def costs() -> list[PublishedCost]:
    """Table 13."""
    return [
        PublishedCost(
            line["model"],
            (_value(line["params_train_M"]), _value(line["params_infer_M"])),
            tuple(_value(line[f"latency_{phase}_ms"]) for phase in ("stage1", "stage2", "infer")),
            tuple(_value(line[f"memory_{phase}_GB"]) for phase in ("stage1", "stage2", "infer")),
            {
                name: (float(line[f"{name} mAP"]), float(line[f"{name} rank1"]))
                for name in ("MA->MS", "MS->MA")
                if line[f"{name} mAP"]
            },
        )
        for line in _read("cost")
    ]


def unlike(rows: Sequence[Row]) -> list[str]:
    """Why published numbers are not comparable with some rows, in words; nothing where they are.

    They are with the official data and the paper's preset.
    """
    said: dict[str, None] = {}
    for row in rows:
        if "stand-in" in (row.target.data, row.run.data):
            said["the data are embedded stand-ins (rendered people)"] = None
            continue  # whose notes say the same of each
        for key, notes in (*row.run.source_notes.items(), (row.target.target, row.target.notes)):
            said |= {f"{key} is {_cut(note)}": None for note in notes if note.startswith(OFFICIAL)}
    presets = sorted({row.run.spec.preset for row in rows} - {"paper"})
    return [*said, *(f"the preset is {preset}" for preset in presets)]


def comparison(why: Sequence[str], reported: bool, forced: bool) -> list[str]:
    """The note on published numbers; `reported`: whether the paper has any of the protocols."""
    if not reported:
        return ["The paper's table has MA->MS and MS->MA only."]
    if not why:
        return [UNSAID]
    if forced:
        return [
            f"NOT COMPARABLE with the published numbers beside them: {'; '.join(why)}. They are "
            "shown because --with-published says so."
        ]
    return [f"No published numbers are shown beside these: {'; '.join(why)}."]


def _cut(note: str) -> str:
    """A note with its first difference alone."""
    name, _, differences = note.partition(": ")
    return f"{name} ({differences.split('; ')[0]})" if differences else name


def _value(text: str) -> float | None:
    return float(text) if text else None


def _read(name: str) -> list[dict[str, str]]:
    text = files("results").joinpath(f"published/{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
