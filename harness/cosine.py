"""Features as rows to rank by cosine: read a part at a time, and the cosine that decides.

What decides every rank is one float64 number for a query and a gallery item: their dot product over
the item's length, summed in one written order (`LANES` sums of every 32nd term, then those in
order). The query's length would not change the order and is left out. So rows with the same
bits tie exactly, wherever they lie, on any processor.

Sizes: Q queries, G gallery items, D feature dimensions.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.scores import NotFinite, Score
from protocols.errors import ReIDError

LANES = 32
"""A dot product is this many sums of every 32nd term, added up in order."""
PART_BYTES = 4_000_000
"""How much of the features is converted at a time."""

Floats = NDArray[np.floating]


class Rows(Protocol):
    """[N, D] features that give some rows at a time: an array, or what stays in its files."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: Any, /) -> Any: ...


class Features:
    """[N, D] features of one side, a Tensor or an array (memory-mapped, too), in any float type.

    Nothing is read but what `read` is asked for. Raises ReIDError for a wrong shape or type.
    """

    def __init__(self, side: str, values: Tensor | Rows) -> None:
        self.side, self.values = side, values.detach() if isinstance(values, Tensor) else values
        floating = (
            values.is_floating_point()
            if isinstance(values, Tensor)
            # of either byte order
            else values.dtype.kind == "f" and values.dtype.itemsize in (2, 4, 8)
        )
        if values.ndim != 2 or 0 in values.shape or not floating:
            raise ReIDError(
                f"The {side} features must be a floating-point [N, D], N and D at least 1, not "
                f"{values.dtype} {list(values.shape)}."
            )
        self.N, self.D = int(values.shape[0]), int(values.shape[1])

    @property
    def wide(self) -> bool:
        """Whether they are float64, and float32 would lose some."""
        return self.values.dtype.itemsize == 8

    @property
    def in_memory(self) -> bool:
        """Whether they take memory already, and are not read from files."""
        return isinstance(self.values, Tensor) or type(self.values) is np.ndarray

    def read(self, rows: slice | NDArray[np.int64], dtype: type[np.floating]) -> Floats:
        """Some rows, [n, D], as one block of float32 or float64; where possible, no copy.

        Writable, for numba compiles anew for what is not, but not to be written to.
        """
        part = self.values[rows]
        if isinstance(part, Tensor):
            part = part.to(torch.float64 if dtype is np.float64 else torch.float32).cpu().numpy()
        return np.asarray(np.require(part, dtype, ("C", "A", "W")))

    def refuse(self) -> NotFinite:
        """The error that names the first row with nan or inf."""
        row, step = -1, part_rows(self.D)
        for start in range(0, self.N, step):
            bad = ~np.isfinite(self.read(slice(start, start + step), np.float64)).all(axis=1)
            if bad.any():
                row = start + int(bad.argmax())
                break
        return NotFinite(self.side, row)


def part_rows(width: int) -> int:
    """How many float32 rows make a part."""
    return int(np.clip(PART_BYTES // (4 * width), 1, 4096))


def exact_scores(query: Features, gallery: Features) -> Score:
    """What decides the ranks, [Q, G] in float64, for a problem small enough to compute it all.

    Raises ReIDError for features that hold nan or inf.
    """
    (q, _), (g, lengths) = measured(query), measured(gallery)

    def score(start: int, stop: int) -> Tensor:
        rows = [_dots(row, g) / lengths for row in q[start:stop]]
        return torch.from_numpy(np.stack(rows))

    return score


def measured(features: Features) -> tuple[Floats, NDArray[np.float64]]:
    """All rows in float64, [N, LANES * n] with zeros at the end, and their lengths, 1 for zero.

    Each row is scaled by a power of two, which is exact, so that no square overflows.
    """
    rows = features.read(slice(None), np.float64)
    largest = np.abs(rows).max(axis=1)
    if not np.isfinite(largest).all():
        raise features.refuse()
    rows = np.ldexp(rows, -np.frexp(largest)[1][:, None])
    rows = np.pad(rows, ((0, 0), (0, -features.D % LANES)))
    lengths = np.sqrt([_dots(row, row[None])[0] for row in rows])
    return rows, np.where(lengths > 0, lengths, 1.0)


def _dots(query: Floats, rows: Floats) -> NDArray[np.float64]:
    """The products of one row with [n, LANES * m] rows, [n], in the order that decides."""
    lanes = np.zeros((len(rows), LANES))
    for at in range(0, len(query), LANES):
        lanes += query[at : at + LANES] * rows[:, at : at + LANES]
    total = np.zeros(len(rows))
    for lane in lanes.T:
        total += lane
    return total
