"""Figures over held-out pairs with their intervals: means by bin of the delta, differences by prompt, a rank relation.

    deltadata evaluate RUN --model DIR

Plain arrays in, JSON trees out. Intervals are the middle 95 % of a bootstrap that draws prompts, never pairs: several
pairs of one prompt are no independent evidence. Where there is nothing to say, None: never a NaN, never a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from deltadata.agreement import Array, limits, resamples

REPLICATES = 2_000
Tree = dict[str, Any]
Statistic = Callable[[Array], Array]  # weights, replicates x pairs -> replicates x figures


def quantile_bins(deltas: Array, most: int) -> Array:
    """The bin of each delta, 0 to at most `most` - 1, as even as ties allow: equal deltas share a bin.

    A delta's bin is that of the middle of its ranks, so one value that many pairs share has a bin of its own.
    """
    _, place, count = np.unique(deltas, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2
    rough = np.minimum((most * middle / max(len(deltas), 1)).astype(int), most - 1)
    _, dense = np.unique(rough, return_inverse=True)  # a bin that no value falls into is none
    return np.asarray(dense[place])


def bootstrap(prompts: Array, statistic: Statistic, seed: int) -> list[list[float] | None]:
    """The 95 % interval of each figure of `statistic`, prompts drawn with replacement; None below two prompts.

    `prompts` has a label for each pair. A replicate in which a figure does not exist (no pair of its bin) is left out.
    """
    _, codes = np.unique(prompts, return_inverse=True)
    size = int(codes.max(initial=-1)) + 1
    if size < 2:
        return [None] * statistic(np.ones((1, len(codes)))).shape[1]
    rng = np.random.default_rng(seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = np.concatenate([statistic(w[:, codes]) for w in resamples(np.ones(size, int), REPLICATES, rng)])
    known = [figure[np.isfinite(figure)] for figure in drawn.T]
    return [limits(figure) if figure.size else None for figure in known]


def mean(values: Array, prompts: Array, seed: int) -> Tree:
    """{"mean", "ci95"} of the values that are known (finite)."""
    held = np.isfinite(values)
    if not held.any():
        return {"mean": None, "ci95": None}
    mine = values[held].astype(float)
    (found,) = bootstrap(prompts[held], lambda w: (w @ mine / w.sum(axis=1))[:, None], seed)
    return {"mean": float(mine.mean()), "ci95": found}


def paired(ours: Array, theirs: Array, prompts: Array, seed: int) -> Tree:
    """Means of both over the places where both are known, and their difference with its interval."""
    held = np.isfinite(ours) & np.isfinite(theirs)
    told: Tree = {"n": int(held.sum()), "student": None, "reference": None}
    if held.any():
        told |= {"student": float(ours[held].mean()), "reference": float(theirs[held].mean())}
    difference = mean(np.where(held, ours - theirs, np.nan), prompts, seed)
    return told | {"difference": difference["mean"], "ci95": difference["ci95"]}


def wins(gaps: Array) -> Array:
    """1 above zero, 0 below, a half at zero; NaN stays NaN. Their mean is an accuracy."""
    return np.asarray(np.sign(gaps) / 2 + 0.5)


def by_bin(quantities: Mapping[str, Array], deltas: Array, prompts: Array, most: int, seed: int) -> list[Tree]:
    """A row per bin, from the smallest delta up: its range, pairs, mean delta, and every quantity's mean with interval.

    Pairs whose delta is unknown (NaN) are in no bin.
    """
    held = np.isfinite(deltas)
    bins, found = quantile_bins(deltas[held], most), []
    for number in range(int(bins.max(initial=-1)) + 1):
        inside = np.flatnonzero(held)[bins == number]
        own = deltas[inside]
        row: Tree = {"low": float(own.min()), "high": float(own.max()), "delta": float(own.mean()), "pairs": own.size}
        row |= {name: mean(values[inside], prompts[inside], seed) for name, values in quantities.items()}
        found.append(row)
    return found


def relation(deltas: Array, margins: Array, prompts: Array, seed: int) -> Tree:
    """Spearman's rank correlation of delta and margin with its interval; ranks are those of all pairs.

    None where fewer than three pairs have both, or one of them is the same everywhere.
    """
    held = np.isfinite(deltas) & np.isfinite(margins)
    x, y = ranks(deltas[held]), ranks(margins[held])
    if x.size < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"spearman": None, "ci95": None, "pairs": int(held.sum())}

    def weighted(w: Array) -> Array:
        total = w.sum(axis=1)
        means = {name: w @ values / total for name, values in {"x": x, "y": y}.items()}
        cross = w @ (x * y) / total - means["x"] * means["y"]
        spread = [w @ values**2 / total - means[name] ** 2 for name, values in {"x": x, "y": y}.items()]
        return np.asarray(cross / np.sqrt(spread[0] * spread[1]))[:, None]

    (found,) = bootstrap(prompts[held], weighted, seed)
    return {"spearman": float(weighted(np.ones((1, x.size)))[0, 0]), "ci95": found, "pairs": int(held.sum())}


def ranks(values: Array) -> Array:
    """Ranks from 0, equal values sharing the middle of theirs, centred on 0."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count + 1) / 2
    return np.asarray(middle[place] - (len(values) - 1) / 2)
