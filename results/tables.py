"""Tables of results, ready to print; and the one with protocols down and methods across."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from protocols.catalog import AD_HOC
from protocols.registry import is_plain
from protocols.types import Protocol
from protocols.variants import Variant, dataset_of, join, split
from results.collect import Row

TITLES = {
    1: "Table 1. Single-source, among MA, D and MS",
    2: "Table 2. Single-source, with C3",
    3: "Table 3. Multi-source, leave one out",
    4: "Table 4. Source domains",
}
METRICS = {"mAP": "mAP", "rank1": "Rank-1"}
"""Metric -> header."""
SCALE = "Per cent; higher is better."
NAMED = 4
"""Protocols that a note names."""
STANDIN_NOTE = (
    "Embedded stand-in data (rendered people): these numbers compare methods with each other on "
    "the stand-ins only and say nothing of the real data sets."
)


Training = tuple[tuple[str, ...], str, str]
"""Sources, which of their images, target: what a protocol is, whatever it is called."""
Cells = dict[tuple[Training, str], list[Row]]


def _asked(row: Row) -> Training:
    return tuple(row.run.spec.sources), row.run.spec.source_images, row.target.target


def _wanted(protocol: Protocol) -> Training:
    return protocol.sources, protocol.source_images, protocol.target


@dataclass(frozen=True)
class Cell:
    """A cell that is more than its text.

    `place`: 1 is the best of its column, 2 the second, 0 neither. `marks` stand raised behind it
    and are explained in a note: *†, [a].
    """

    text: str
    place: int = 0
    marks: str = ""

    @classmethod
    def of(cls, cell: str | Cell) -> Cell:
        """A cell that is only its text, too."""
        return cell if isinstance(cell, Cell) else cls(cell)


Line = tuple[str | Cell, ...]


@dataclass(frozen=True)
class Section:
    """Lines that stand together; `lines` are (name, cell, cell, ...)."""

    title: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Table:
    """Ready to print: header cells, sections, a closing line of means, notes under it.

    Header cells that begin with the same words before a line break stand below those: MA->D with
    mAP and Rank-1. `results.rendering` writes it as Markdown, LaTeX and HTML.
    """

    title: str
    header: tuple[str, ...]
    sections: list[Section]
    mean: Line | None
    notes: list[str] = field(default_factory=list)


def printable(text: str) -> str:
    """A text from a record on one line, without signs that a terminal obeys or no font holds."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def build(
    protocols: Sequence[Protocol], rows: Sequence[Row], title: str, said: Sequence[str] = ()
) -> Table:
    """The table of some protocols from finished rows; a cell without a row is a dash.

    Cells are per cent: mAP and Rank-1 per method, as mean, or mean and sample standard deviation
    over seeds where there are several. Methods stand in the order of `rows`. `said` are notes on
    how the rows came to be.
    """
    methods = list(dict.fromkeys(row.run.spec.method for row in rows))
    cells: Cells = {}
    for row in rows:
        cells.setdefault((_asked(row), row.run.spec.method), []).append(row)
    seeds = {len(found) for found in cells.values()}
    titles = dict.fromkeys(_section_title(p) for p in protocols)
    sections = [
        Section(
            name,
            [
                (p.name, *(c for m in methods for c in _cells(cells.get((_wanted(p), m), []))))
                for p in protocols
                if _section_title(p) == name
            ],
        )
        for name in titles
    ]
    pairs = [(m, what) for m in methods for what in ("mAP", "Rank-1")]
    # the title names the method where there is one
    header = ("Protocol", *(f"{m}\n{w}" if len(methods) > 1 else w for m, w in pairs))
    return Table(
        title=title,
        header=header,
        sections=sections,
        mean=_mean_line(protocols, methods, cells),
        notes=[*_notes(protocols, rows, seeds), *said],
    )


def places(
    cells: Sequence[str | Cell], competing: Iterable[int], most: int = 2
) -> list[str | Cell]:
    """A column with the best marked and the second (if `most` is 2), of the lines that compete.

    As it is shown: what is rounded to the same is the same, and has the same place. One alone is
    no best.
    """
    values = {i: _number(cells[i]) for i in competing}
    known = {i: value for i, value in values.items() if value is not None}
    order = sorted(set(known.values()), reverse=True)[:most] if len(known) > 1 else []
    marked = list(cells)
    for i, value in known.items():
        if value in order:
            marked[i] = replace(Cell.of(cells[i]), place=1 + order.index(value))
    return marked


def _number(cell: str | Cell) -> float | None:
    text = Cell.of(cell).text
    return float(text.split()[0]) if text[:1].isdigit() else None


def _section_title(protocol: Protocol) -> str:
    if protocol.table is not None:
        return TITLES[protocol.table]
    if dataset_of(protocol.target) in protocol.sources:
        return "Seen domains"
    if protocol.target != dataset_of(protocol.target):
        return "Targets tested in other ways"
    return "Rows of no table" if protocol.group == AD_HOC else f"Protocol {protocol.group}"


def _cells(found: Sequence[Row]) -> tuple[str, str]:
    return spread([r.target.metrics["mAP"] for r in found]), spread(
        [r.target.metrics["rank1"] for r in found]
    )


def spread(fractions: Sequence[float]) -> str:
    """Per cent: a mean, or mean ± sample standard deviation of several; a dash for nothing."""
    if not fractions:
        return "-"
    mean = f"{100 * statistics.fmean(fractions):.1f}"
    return f"{mean} ± {100 * statistics.stdev(fractions):.1f}" if len(fractions) > 1 else mean


def _mean_line(
    protocols: Sequence[Protocol], methods: Sequence[str], cells: Cells
) -> tuple[str, ...] | None:
    over = meant(protocols)
    if len(over) < 2:
        return None
    line = [f"mean of {len(over)}"]
    for method in methods:
        found = [cells.get((_wanted(p), method), []) for p in over]
        for metric in ("mAP", "rank1"):
            if all(found):
                means = [statistics.fmean(r.target.metrics[metric] for r in f) for f in found]
                line.append(f"{100 * statistics.fmean(means):.1f}")
            else:
                line.append("-")
    return tuple(line)


def meant(protocols: Sequence[Protocol]) -> list[Protocol]:
    """The rows that a mean is over: unseen targets, all tested in one way, the plain one first."""
    unseen = [p for p in protocols if dataset_of(p.target) not in p.sources] or list(protocols)
    plain = [p for p in unseen if is_plain(p.name)]
    ways = {split(p.target)[1] for p in unseen}
    return plain or (unseen if len(ways) == 1 else [])


def _notes(protocols: Sequence[Protocol], rows: Sequence[Row], seeds: set[int]) -> list[str]:
    return [SCALE, *mean_note(protocols), *seeds_note(seeds), *row_notes(protocols, rows)]


def mean_note(protocols: Sequence[Protocol]) -> list[str]:
    """What a mean over rows leaves out of them, in words; nothing where it leaves out nothing."""
    over = meant(protocols)
    left = [dataset_of(p.target) in p.sources for p in protocols if p not in over]
    seen, other = ["seen domains"] * any(left), ["targets that are tested in other ways"]
    said = " and ".join(seen + other * (not all(left)))
    return [f"The mean leaves out {said}."] if left and len(over) > 1 else []


def seeds_note(counts: Iterable[int]) -> list[str]:
    """What ± means, where cells have several seeds; `counts` are how many."""
    found = sorted(set(counts))
    numbers = "/".join(map(str, found))
    several = max(found, default=1) > 1
    return [f"Mean ± sample standard deviation over {numbers} seeds."] if several else []


def row_notes(protocols: Sequence[Protocol], rows: Sequence[Row]) -> list[str]:
    """What a reader must know of some rows: preset, fidelity, data and what their readers said."""
    notes = []
    presets = sorted({row.run.spec.preset for row in rows})
    if presets:
        notes.append("Preset: " + ", ".join(presets) + ".")
    notes += [
        f"{method}: fidelity {value}."
        for method, value in sorted(
            {
                (row.run.spec.method, str(row.run.spec.config["fidelity"]))
                for row in rows
                if "fidelity" in row.run.spec.config
            }
        )
    ]
    if any(row.target.data == "stand-in" for row in rows):
        notes.append(STANDIN_NOTE)
    probes = sorted({(dataset_of(r.target.target), len(r.target.probes)) for r in rows})
    notes += [f"{t}: mean over {n} probe splits." for t, n in probes if n > 1]
    shared: dict[str, list[str]] = {}
    for protocol in protocols:
        if protocol.overlap:
            shared.setdefault(protocol.overlap, []).append(protocol.name)
    notes += [f"{_several(names)}: {words}" for words, names in shared.items()]
    skipped = {
        (_same_matches(r.target.target), int(r.target.metrics["skipped_queries"]))
        for r in rows
        if r.target.metrics["skipped_queries"]
    }
    notes += [f"{t}: {n} queries have no match and are left out." for t, n in sorted(skipped)]
    for key, lines in _data_notes(rows).items():
        notes += [printable(f"{key}: {line}") for line in lines]
    return notes


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _same_matches(target: str) -> str:
    """A target without what of its variant changes no match."""
    key, variant = split(target)
    return join(key, Variant(cross_camera=variant.cross_camera))


def _data_notes(rows: Sequence[Row]) -> dict[str, list[str]]:
    """What the readers said of the data, once per data set; a stand-in need not say it is one."""
    said: dict[str, list[str]] = {}
    for row in rows:
        for key, lines in (
            *row.run.source_notes.items(),
            (dataset_of(row.target.target), row.target.notes),
        ):
            if row.target.data == "stand-in":
                continue
            known = said.setdefault(key, [])
            known += [line for line in lines if line not in known]
    return {key: said[key] for key in sorted(said)}
