"""The table of protocols, as literal data: groups of rows, and which paper table a row is in.

`protocols.registry` is how the rest of the project reads this.
"""

from __future__ import annotations

from protocols.types import Protocol, SourceImages

SOURCE_ORDER = ("MA", "D", "MS", "C3", "C2", "CS")
"""Sources always stand in this order, then any other key alphabetically: labels depend on it."""

AD_HOC = "ad-hoc"
"""The group of rows typed by a user that are in no table here."""

SAME = "same data set by design: its own training identities, its own test identities"


def _row(
    name: str,
    group: str,
    sources: str,
    target: str,
    *,
    images: SourceImages = "train",
    table: int | None = None,
    overlap: str = "",
) -> Protocol:
    return Protocol(name, group, tuple(sources.split("+")), target, images, table, overlap)


# fmt: off
ROWS: tuple[Protocol, ...] = (
    # The order is the paper's: table 1, 2, 3, 4, then the P rows.
    _row("MA->D",  "single-source", "MA", "D",  table=1),
    _row("MA->MS", "single-source", "MA", "MS", table=1),
    _row("D->MA",  "single-source", "D",  "MA", table=1),
    _row("D->MS",  "single-source", "D",  "MS", table=1),
    _row("MS->MA", "single-source", "MS", "MA", table=1),
    _row("MS->D",  "single-source", "MS", "D",  table=1),
    _row("MA->C3", "single-source", "MA", "C3", table=2),
    _row("D->C3",  "single-source", "D",  "C3", table=2),
    _row("MS->C3", "single-source", "MS", "C3", table=2),
    _row("C3->MA", "single-source", "C3", "MA", table=2),
    _row("C3->D",  "single-source", "C3", "D",  table=2),
    _row("C3->MS", "single-source", "C3", "MS", table=2),

    _row("D+MS+C3->MA", "multi-source", "D+MS+C3",  "MA", table=3),
    _row("MA+MS+C3->D", "multi-source", "MA+MS+C3", "D",  table=3),
    _row("MA+D+C3->MS", "multi-source", "MA+D+C3",  "MS", table=3),
    _row("MA+D+MS->C3", "multi-source", "MA+D+MS",  "C3", table=3),

    _row("source-domain->MA", "source-domain", "MA", "MA", table=4, overlap=SAME),
    _row("source-domain->D",  "source-domain", "D",  "D",  table=4, overlap=SAME),
    _row("source-domain->MS", "source-domain", "MS", "MS", table=4, overlap=SAME),

    _row("P1->PRID",  "P1", "MA+C3+C2+CS", "PRID",  images="all"),
    _row("P1->GRID",  "P1", "MA+C3+C2+CS", "GRID",  images="all"),
    _row("P1->VIPeR", "P1", "MA+C3+C2+CS", "VIPeR", images="all"),
    _row("P1->iLIDS", "P1", "MA+C3+C2+CS", "iLIDS", images="all"),

    _row("P1+D->PRID",  "P1+D", "MA+D+C3+C2+CS", "PRID",  images="all"),
    _row("P1+D->GRID",  "P1+D", "MA+D+C3+C2+CS", "GRID",  images="all"),
    _row("P1+D->VIPeR", "P1+D", "MA+D+C3+C2+CS", "VIPeR", images="all"),
    _row("P1+D->iLIDS", "P1+D", "MA+D+C3+C2+CS", "iLIDS", images="all"),

    _row("P2->C3", "P2", "MA+MS+CS", "C3"),
    _row("P2->MS", "P2", "MA+C3+CS", "MS"),
    _row("P2->MA", "P2", "MS+C3+CS", "MA"),

    _row("P3->C3", "P3", "MA+MS+CS", "C3", images="all"),
    _row("P3->MS", "P3", "MA+C3+CS", "MS", images="all"),
    _row("P3->MA", "P3", "MS+C3+CS", "MA", images="all"),
)
# fmt: on

OWN_GROUPS = ("single-source", "multi-source", "source-domain", "P1", "P1+D", "P2", "P3")
"""Groups whose members are the rows that carry their name."""

NAMED_BY_GROUP = ("source-domain", "P1", "P1+D", "P2", "P3")
"""Groups whose rows are typed `GROUP->TARGET`."""

OTHER_GROUPS: dict[str, tuple[str, ...]] = {
    "ablation": ("MA->MS", "MS->MA"),  # the paper's tables 5-13
}
"""Groups that are a choice of other groups' rows, by name."""

UNIONS: dict[str, tuple[str, ...]] = {"all": ("single-source", "multi-source")}
"""Groups that are other groups, one after another."""
