"""How numbers spread over groups of rows, on plain arrays: moments, quantiles, rank correlation.

    deltadata report RUN

A column is sorted once; every group of rows that a report asks about is then read off the sorted values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
COLLAPSE = 1_000_000  # distinct values times cells up to which a column is counted instead of kept row by row
BLOCK = 65_536


class Column(NamedTuple):
    """One measure's known values over cells: in ascending order, each with its cell and, where counted, how often.

    `n`, `mean`, `squares` (of the distance from the mean) and `signs` (below, at, above zero) are per cell.
    """

    values: Array
    cells: Array
    counts: Array | None
    n: Array
    mean: Array
    squares: Array
    signs: Array

    def part(self, member: Array) -> Column:
        """The column over some of the cells (`member`: one boolean per cell)."""
        at = np.flatnonzero(member[self.cells])
        counts = None if self.counts is None else self.counts[at]
        return self._replace(values=self.values[at], cells=self.cells[at], counts=counts)


def column(values: Array, cells: Array, size: int) -> tuple[Column, Array]:
    """`values` (not finite = unknown) over `size` cells, and the average rank of each value, NaN for an unknown one.

    Values are sorted before anything is added up, so that the order of the rows changes no bit of the result.
    """
    order = np.argsort(np.where(np.isfinite(values), values, np.nan))[: np.count_nonzero(np.isfinite(values))]
    order = order.astype(np.int32)  # places in 32 bits: half the memory
    ordered, at = values[order] + 0.0, cells[order]  # + 0.0: no minus zero
    new = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    first = np.flatnonzero(new).astype(np.int32)
    run = np.cumsum(new, dtype=np.int32) - 1
    kind = np.float32 if len(values) < 2**22 else np.float64  # halves up to there are exact in 32 bits
    middle = (first.astype(kind) + np.append(first[1:], len(ordered)).astype(kind) + 1) / 2
    ranks = np.full(len(values), np.nan, dtype=kind)
    ranks[order] = middle[run]
    counts = None
    if len(first) * size <= COLLAPSE:
        held = np.bincount(run * np.int64(size) + at, minlength=len(first) * size).reshape(len(first), size)
        row, at = np.nonzero(held)
        ordered, counts = ordered[first][row], held[row, at]
    return _with_moments(ordered, at, counts, size), ranks


def _with_moments(values: Array, cells: Array, counts: Array | None, size: int) -> Column:
    def total(of: Array | None, part: slice = slice(None)) -> Array:
        weights = of if counts is None else counts[part] if of is None else of * counts
        return np.bincount(cells[part], weights=weights, minlength=size)

    n = total(None)
    mean = total(values) / np.maximum(n, 1)
    low, high = np.searchsorted(values, 0.0, "left"), np.searchsorted(values, 0.0, "right")
    signs = np.stack([total(None, part) for part in (slice(low), slice(low, high), slice(high, None))], axis=1)
    return Column(values, cells, counts, n, mean, total((values - mean[cells]) ** 2), signs)


def spread(column: Column, member: Array) -> dict[str, Any]:
    """n, mean, std (ddof 1), quantiles (linear), shares above and at zero, agreement, over the cells of `member`.

    The agreement is P(delta > 0) + P(delta = 0) / 2.
    """
    n = int(column.n[member].sum())
    names = [str(q) for q in QUANTILES]
    if not n:
        return {"n": 0} | dict.fromkeys(("mean", "std", "quantiles", "share_positive", "share_tied", "agreement"))
    size, means = column.n[member], column.mean[member]
    mean = float((size * means).sum() / n)
    squares = float((column.squares[member] + size * (means - mean) ** 2).sum())
    _, tied, above = (int(x) for x in column.signs[member].sum(axis=0))
    return {
        "n": n,
        "mean": mean,
        "std": (squares / (n - 1)) ** 0.5 if n > 1 else None,
        "quantiles": dict(zip(names, _quantiles(column, member, n), strict=True)),
        "share_positive": above / n,
        "share_tied": tied / n,
        "agreement": (2 * above + tied) / (2 * n),
    }


def _quantiles(column: Column, member: Array, n: int) -> list[float]:
    at = np.flatnonzero(member[column.cells])
    place = (n - 1) * np.array(QUANTILES)
    ranks = np.floor(place).astype(np.int64)
    both = np.stack([ranks, np.minimum(ranks + 1, n - 1)])
    if column.counts is not None:
        both = np.searchsorted(np.cumsum(column.counts[at]), both, side="right")
    low, high = column.values[at[both]]
    return [float(x) for x in low + (high - low) * (place - ranks)]


def spearman(ranks: Sequence[Array]) -> list[list[float | None]]:
    """Rank correlation of columns of average ranks (NaN = unknown), each pair over the rows where both are known.

    Ranks are those within the whole column. A column that is constant where the other is known correlates as None.
    """
    size, rows = len(ranks), len(ranks[0]) if ranks else 0
    n, sums, squares, products = np.zeros((4, size, size))
    centres = np.array([(np.count_nonzero(~np.isnan(column)) + 1) / 2 for column in ranks])
    for begin in range(0, rows, BLOCK):
        block = np.stack([column[begin : begin + BLOCK] for column in ranks]).astype(float) - centres[:, None]
        unknown = np.isnan(block)
        block[unknown] = 0.0
        known = (~unknown).astype(float)
        n += known @ known.T
        sums += block @ known.T
        squares += block**2 @ known.T
        products += block @ block.T
    many = np.maximum(n, 1)
    spread = np.maximum(squares - sums**2 / many, 0)
    scale = np.sqrt(spread * spread.T)
    vary = scale > 1e-9
    found = np.clip((products - sums * sums.T / many) / np.where(vary, scale, 1), -1, 1).round(10) + 0.0
    return [[float(r) if ok else None for r, ok in zip(*row, strict=True)] for row in zip(found, vary, strict=True)]
