"""What is known about a data set before a single file is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Count(NamedTuple):
    """How much a part of a data set holds; identities do not count distractors."""

    images: int
    identities: int


@dataclass(frozen=True)
class DatasetCard:
    """The facts of one data set.

    `folders` are the places under the data root it is looked for, first found wins.
    `counts` is what its owners published, per part as the reader names them; junk is not counted.
    `cameras` is 0 where they are not known. `overlaps` says in words what is shared with another
    data set, by key. `variant_of` is the key of the data set whose people these are.
    """

    key: str
    name: str
    citation: str
    year: int
    terms: str
    folders: tuple[str, ...]
    counts: Mapping[str, Count] = field(default_factory=dict, hash=False)
    cameras: int = 0
    can_be_source: bool = True
    can_be_target: bool = True
    probe_splits: int = 1
    overlaps: Mapping[str, str] = field(default_factory=dict, hash=False)
    variant_of: str = ""

    @property
    def family(self) -> str:
        """The key under which all variants are one data set."""
        return self.variant_of or self.key
