"""The statistics behind the report, on plain arrays: they know no table, no pair and no recipe.

    deltadata report RUN

Agreement with its interval by prompt, strengths of rungs, agreement controlled for length. Where there is nothing to
say, None: never a NaN, never a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

Array = npt.NDArray[Any]
REPLICATES = 4_000  # of an agreement: its limits are then off by a twentieth of a standard error
STRENGTH_REPLICATES = 500
BATCH = 4_000_000  # numbers held at once by a bootstrap
CACHED = 1 << 16  # of them where each is looked at once more


class Outcomes(NamedTuple):
    """Prompts by outcome: points (2 a pair that agrees, 1 a tie), pairs, and how many prompts came out so."""

    points: tuple[int, ...]
    pairs: tuple[int, ...]
    prompts: tuple[int, ...]


def outcomes(signs: Array, prompts: Array | None) -> Outcomes:
    """Outcomes of pairs with these signs (-1, 0, 1); `prompts` numbers each pair's prompt, None: each has its own."""
    if prompts is None:
        return single(np.bincount(signs + 1, minlength=3))
    pairs = np.bincount(prompts)
    points = np.bincount(prompts, weights=signs + 1).astype(np.int64)
    base = 2 * int(pairs.max(initial=0)) + 1
    found, count = np.unique(pairs * base + points, return_counts=True)
    held = found > 0
    found, count = found[held], count[held]
    return Outcomes(*(tuple(x.tolist()) for x in (found % base, found // base, count)))


def single(counts: Array) -> Outcomes:
    """Outcomes where every prompt has one pair: so many below zero, at zero and above."""
    held = np.flatnonzero(counts)
    return Outcomes(tuple(held.tolist()), (1,) * len(held), tuple(int(x) for x in counts[held]))


def agreement(of: Outcomes) -> float | None:
    total = np.dot(of.pairs, of.prompts)
    return float(np.dot(of.points, of.prompts) / (2 * total)) if total else None


@lru_cache(maxsize=50_000)
def interval(of: Outcomes, seed: int) -> list[float] | None:
    """The 95 % percentile bootstrap interval of the agreement, prompts drawn with replacement; None below two prompts.

    Prompts with the same outcome are interchangeable, so a resample of n prompts is fixed by how often each distinct
    outcome is drawn, and those counts are multinomial. This is the ordinary cluster bootstrap, not an approximation of
    it, at a cost that does not grow with the prompts; equal outcomes under one seed give equal intervals.
    """
    if sum(of.prompts) < 2:
        return None
    drawn = np.concatenate(
        [
            weights @ np.array(of.points) / (2 * weights @ np.array(of.pairs))
            for weights in resamples(np.array(of.prompts), REPLICATES, np.random.default_rng(seed))
        ]
    )
    return limits(drawn)


def limits(drawn: Array) -> list[float]:
    """The middle 95 % of replicates."""
    return [float(x) for x in np.quantile(drawn, (0.025, 0.975))]


def resamples(counts: Array, replicates: int, rng: np.random.Generator) -> Iterator[Array]:
    """How often each of the distinct outcomes is drawn, replicates x outcomes, in batches that keep memory small.

    `counts` are the prompts of each outcome. Many outcomes with few prompts each are drawn prompt by prompt: the same
    distribution, and cheaper there.
    """
    n, size = int(counts.sum()), len(counts)
    outcome = np.repeat(np.arange(size), counts) if size * 30 > n else None
    for begin in range(0, replicates, batch := max(1, BATCH // max(size, 1))):
        rows = min(batch, replicates - begin)
        if outcome is None:
            yield rng.multinomial(n, counts / n, size=rows)
        else:
            most = max(1, CACHED // n)
            drawn = (_by_prompt(outcome, size, min(most, rows - done), rng) for done in range(0, rows, most))
            yield np.concatenate(list(drawn))


def _by_prompt(outcome: Array, size: int, rows: int, rng: np.random.Generator) -> Array:
    """`rows` resamples of prompts with these outcomes, drawn prompt by prompt and counted by outcome."""
    drawn = outcome[rng.integers(0, len(outcome), (rows, len(outcome)))] + size * np.arange(rows)[:, None]
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)


def strengths(scores: Array, prompts: Array | None, seed: int) -> tuple[list[float | None], list[list[float] | None]]:
    """Bradley-Terry strengths of rungs and their 95 % intervals: log-odds to win over an average rung, mean 0.

    `scores` is responses x rungs (one row per prompt and sample, NaN = no score); `prompts` numbers each row's prompt,
    None: each has its own. The higher score wins, a tie is half a win each; over all pairs of rungs. Each rung also
    has half a win and half a loss against an average opponent, so that one that wins or loses all stays finite. Rungs
    that no score links to the largest group get None. Intervals: percentile bootstrap by prompt.
    Source: Bradley & Terry 1952 (Biometrika 39); the maximum by Newton's method.
    """
    size = scores.shape[1]
    none: tuple[list[float | None], list[list[float] | None]] = ([None] * size, [None] * size)
    left, right = np.triu_indices(size, 1)
    if not len(left) or not len(scores):
        return none
    points, pairs, counts = _games(scores, left, right, prompts)
    linked = _linked(counts @ pairs, left, right, size)
    if len(linked) < 2:
        return none
    both = np.concatenate([points, pairs], axis=1).astype(float)
    drawn = [w @ both for w in resamples(counts, STRENGTH_REPLICATES, np.random.default_rng(seed))]
    totals = np.concatenate([(counts @ both)[None], *drawn])
    wins = np.zeros((len(totals), size, size))
    wins[:, left, right] = totals[:, : len(left)] / 2
    wins[:, right, left] = totals[:, len(left) :] - wins[:, left, right]
    fitted = bradley_terry(wins[:, linked][:, :, linked])
    for place, rung in enumerate(linked):
        none[0][rung] = float(fitted[0, place])
        none[1][rung] = limits(fitted[1:, place]) if counts.sum() > 1 else None
    return none


def _games(scores: Array, left: Array, right: Array, prompts: Array | None) -> tuple[Array, Array, Array]:
    """Distinct results of a prompt (points of the left rung and pairs, per pair of rungs), and how many came out so."""
    found: dict[str, Array] = {}
    for place, (i, j) in enumerate(zip(left, right, strict=True)):
        known = ~np.isnan(scores[:, i]) & ~np.isnan(scores[:, j])
        points = known * (1 + (scores[:, i] > scores[:, j]) - 1 * (scores[:, i] < scores[:, j]))
        for name, per_row in ((f"points{place}", points), (f"pairs{place}", known)):
            total = per_row if prompts is None else np.bincount(prompts, weights=per_row)
            found[name] = total.astype(np.int32)
    games = pl.DataFrame(found)
    distinct = games.group_by(games.columns).agg(pl.len().alias("prompts0")).sort(games.columns)
    distinct = distinct.filter(pl.any_horizontal(pl.col("^pairs.*$") > 0))
    points, pairs, counts = (distinct.select(f"^{name}.+$").to_numpy() for name in ("points", "pairs", "prompts"))
    return points.astype(np.int64), pairs.astype(np.int64), counts[:, 0].astype(np.int64)


def _linked(played: Array, left: Array, right: Array, size: int) -> list[int]:
    """The largest group of rungs that comparisons link, the first of equals."""
    group = list(range(size))
    for i, j in zip(left[played > 0].tolist(), right[played > 0].tolist(), strict=True):
        group = [group[i] if g == group[j] else g for g in group]
    best = max(group, key=group.count)
    return [rung for rung in range(size) if group[rung] == best]


def bradley_terry(wins: Array) -> Array:
    """Strengths from win matrices, replicates x rungs x rungs; see `strengths` for the scale and the half wins."""
    games = wins + wins.transpose(0, 2, 1)
    strength = np.zeros(wins.shape[:2])
    diagonal = np.arange(wins.shape[1])
    for _ in range(200):
        odds = 1 / (1 + np.exp(strength[:, None, :] - strength[:, :, None]))
        average = 1 / (1 + np.exp(-strength))
        slope = (wins - games * odds).sum(axis=2) + 0.5 - average
        curve = games * odds * (1 - odds)
        bend = -curve
        bend[:, diagonal, diagonal] += curve.sum(axis=2) + average * (1 - average)
        step = np.clip(np.linalg.solve(bend, slope[:, :, None])[:, :, 0], -1, 1)  # a longer one may leap past the top
        strength += step
        if np.abs(step).max(initial=0) < 1e-11:
            break
    centred: Array = strength - strength.mean(axis=1, keepdims=True)
    return centred


def controlled(lengths: Array, signs: Array) -> dict[str, float | None]:
    """Agreement at length delta 0 and the coefficient per standard deviation of the length delta.

    Logistic regression of sign > 0 on the standardised length delta, without penalty, a tie counting half for each
    side; over distinct (length delta, sign) with their counts, which gives the same maximum. None where only one
    outcome or one length delta exists. Where length alone tells the outcomes apart the coefficient has no maximum and
    is None, and the agreement is that of the pairs at length delta 0, or what its place beside the boundary says.
    """
    cells = pl.DataFrame({"x": lengths, "sign": signs}).group_by("x", "sign").len().sort("x", "sign")
    x, sign, count = (cells[name].to_numpy().astype(float) for name in ("x", "sign", "len"))
    won, lost = count * (1 + sign) / 2, count * (1 - sign) / 2
    nothing: dict[str, float | None] = {"agreement": None, "coefficient": None}
    if not won.sum() or not lost.sum() or x[0] == x[-1]:
        return nothing
    for way in (1, -1):
        if (way * x[lost > 0]).max() <= (way * x[won > 0]).min():
            return nothing | {"agreement": _beside(way * x, won, lost)}
    mean = np.average(x, weights=count)
    scale = np.sqrt(np.average((x - mean) ** 2, weights=count))
    level, slope = logistic((x - mean) / scale, won, lost)
    return {"agreement": float(_chance(np.array(level - slope * mean / scale))), "coefficient": slope}


def logistic(x: Array, won: Array, lost: Array) -> tuple[float, float]:
    """Level and slope of the log-odds to win along `x`, `won` and `lost` being counts at each: the most likely ones.

    There is such a maximum only where the outcomes overlap along `x`. Source: Newton's method; a step that would leave
    the data less likely is halved.
    """
    count, at, best = won + lost, np.zeros(2), -np.inf
    for _ in range(200):
        chance = _chance(at[0] + at[1] * x)
        weight, missed = count * chance * (1 - chance), won - count * chance
        # About the weighted mean level and slope are solved for apart: outliers then cost no digits.
        middle = (weight @ x) / weight.sum()
        turn = (missed @ (x - middle)) / (weight @ (x - middle) ** 2)
        step = np.array([missed.sum() / weight.sum() - turn * middle, turn])
        for _ in range(60):
            odds = at + step
            told = -float(won @ np.logaddexp(0, -odds[0] - odds[1] * x) + lost @ np.logaddexp(0, odds[0] + odds[1] * x))
            if told >= best:
                break
            step /= 2
        at, best = at + step, told
        if np.abs(step).max() < 1e-10 * max(1.0, np.abs(at).max()):
            break
    return float(at[0]), float(at[1])


def _chance(odds: Array) -> Array:
    """The probability of log-odds, however large."""
    found: Array = np.exp(-np.logaddexp(0, -odds))
    return found


def _beside(x: Array, won: Array, lost: Array) -> float:
    """Agreement at 0 where pairs are won above a boundary and lost below it."""
    here = x == 0
    if here.any():
        return float(won[here].sum() / (won[here].sum() + lost[here].sum()))
    low, high = x[lost > 0].max(), x[won > 0].min()
    return 0.5 if low < 0 < high else float(low < 0)
