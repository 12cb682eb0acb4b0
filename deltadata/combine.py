"""Several scorers' scores to one, by a stated rule, and how well it agrees with labels beside each scorer alone.

    score: [..., {name: both, scorer: combined, of: [helpful, rm], rule: logistic, labels: people}]

A response has a combined score where every scorer in `of` gave it one: means over different sets of scorers would
compare apples with pears.
"""

from __future__ import annotations

from itertools import count
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from deltadata import agreement, tables
from deltadata.errors import UserError
from deltadata.scorer_sections import Combined
from deltadata.tables import PROMPT_ID, RESPONSES, SCORE

Array = npt.NDArray[Any]
RIDGE = 0.1  # half of it times each squared weight is taken off the log-likelihood: a tenth of a standard normal prior
FEWEST = 10  # prompts with a decided pair, to fit on and held out
ENOUGH = 1e-10  # a Newton step below this ends the fit


class Found(NamedTuple):
    """`scores`: the response's key and SCORE, a row per response that any of the scorers has seen; and the facts."""

    scores: pl.DataFrame
    facts: dict[str, Any]


class Pairs(NamedTuple):
    """Two responses to one prompt that have a label and every score: their rows, whether the left one's label is the
    higher (1), equal (0) or lower (-1), and the prompt's number; `ids` are the prompts by that number."""

    left: Array
    right: Array
    truth: Array
    prompts: Array
    ids: list[str]

    def where(self, held: Array) -> Pairs:
        """Those under a mask."""
        return Pairs(self.left[held], self.right[held], self.truth[held], self.prompts[held], self.ids)

    def signs(self, values: Array) -> Array:
        """Which side the values put higher, as `truth` has it."""
        left, right = values[self.left], values[self.right]
        return (left > right).astype(np.int8) - (left < right).astype(np.int8)


def combine(asked: Combined, above: list[pl.DataFrame], labels: pl.DataFrame | None, seed: int) -> Found:
    """`above` and `labels` have the response's key and a column named by the scorer, as `score.read` gives them.

    rank_average: the mean of each score's rank among all of its scorer's, ties averaged, (rank - 0.5) / n. logistic:
    the sum of each score's distance from its scorer's mean in standard deviations, times a weight that `fit` learns
    from the labelled prompts that are not held out; a delta is then the log-odds that chosen is the better one.

    The facts hold the agreement with the labels of the combined score and of each alone, a tie half, over the pairs of
    the held-out prompts (with `rank_average`, which learns nothing, over all labelled pairs).

    Raises UserError when `logistic` has too few labels to learn from or to be held out.
    """
    known = _joined(above, labels)
    scores = {name: known[name].cast(pl.Float64).to_numpy() for name in asked.of}
    constant = [name for name in asked.of if known[name].count() and _constant(scores[name])]
    facts: dict[str, Any] = {"scorer": "combined", "rule": asked.rule, "of": asked.of, "labels": asked.labels}
    facts["nulls"] = _lacking(known, asked.of)
    facts |= {"constant": constant} if constant else {}
    pairs = _pairs(known, scores, asked.labels) if asked.labels else None
    if asked.rule == "logistic" and pairs is not None:
        units = [_standard(values) for values in scores.values()]
        held = _held_out(pairs.ids, asked.held_out, seed)[pairs.prompts]
        fitted, pairs = pairs.where(~held), pairs.where(held)
        _refuse(asked, known, fitted, pairs)
        weights = fit(np.column_stack([unit[fitted.left] - unit[fitted.right] for unit in units]), fitted.truth)
        facts |= {"weights": dict(zip(asked.of, weights.tolist(), strict=True)), "ridge": RIDGE}
        facts |= _counted("fitted", fitted) | _counted("held_out", pairs)
    else:
        units = [_ranks(known[name]) for name in asked.of]
        weights = np.full(len(units), 1 / len(units))
        facts |= _counted("labelled", pairs) if pairs is not None else {}
    # Column by column: equal scores then have the same sum to the last bit, wherever they stand.
    combined: Array = sum((unit * weight for unit, weight in zip(units, weights, strict=True)), np.zeros(known.height))
    if pairs is not None:
        facts |= _told(asked, combined, scores, pairs, tables.rank(seed, "combine"))
    found = known.select(*RESPONSES.key, pl.Series(SCORE, combined).fill_nan(None))
    return Found(found, facts)


def fit(features: Array, truth: Array) -> Array:
    """Weights of a logistic regression without intercept: pairs x scorers, the difference of left and right side.

    Every pair with a higher side counts once, so that a prompt weighs as its pairs do in every agreement; one without
    (`truth` 0) says nothing. The most likely weights under RIDGE, by Newton's method; a step that would leave the pairs
    less likely is halved.
    """
    x = features * truth[:, None]
    weights = np.zeros(x.shape[1])
    for _ in range(200):
        missed = np.exp(-np.logaddexp(0, x @ weights))  # the chance of the side that did not win
        slope = missed @ x - RIDGE * weights
        bend = (x * (missed * (1 - missed))[:, None]).T @ x + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(bend, slope)
        before = _loss(x, weights)
        while np.abs(step).max() > ENOUGH and _loss(x, weights + step) > before:
            step /= 2
        weights = weights + step
        if np.abs(step).max() <= ENOUGH:
            break
    return weights


def _loss(x: Array, weights: Array) -> float:
    return float(np.logaddexp(0, -x @ weights).sum() + RIDGE / 2 * weights @ weights)


def _joined(above: list[pl.DataFrame], labels: pl.DataFrame | None) -> pl.DataFrame:
    """A row per response that one of `above` has, in the order of the key, with a column per scorer."""
    key = list(RESPONSES.key)
    rows = pl.concat(frame.select(key) for frame in above).unique().sort(key)
    for frame in above if labels is None else [*above, labels]:
        rows = rows.join(frame, on=key, how="left", maintain_order="left")
    return rows


def _lacking(known: pl.DataFrame, scorers: list[str]) -> dict[str, int]:
    """How many responses lack which scorers: each response once, so that the numbers add up."""
    lacks = [pl.when(pl.col(name).is_null()).then(pl.lit(name)) for name in scorers]
    named = known.select(pl.concat_str(lacks, separator=" or ", ignore_nulls=True).alias(SCORE))
    counts = named.filter(pl.col(SCORE) != "").group_by(SCORE).len().sort(SCORE)
    return {f"no score by {names}": n for names, n in counts.iter_rows()}


def _constant(values: Array) -> bool:
    known = values[~np.isnan(values)]
    return not known.size or bool(known.min() == known.max())


def _ranks(scores: pl.Series) -> Array:
    known = scores.len() - scores.null_count()
    return ((scores.rank("average").cast(pl.Float64) - 0.5) / known).to_numpy()


def _standard(values: Array) -> Array:
    """Standard deviations from the mean; where all are equal, none."""
    known = values[~np.isnan(values)]
    if _constant(values):
        return np.where(np.isnan(values), np.nan, 0.0)
    apart: Array = (values - known.mean()) / known.std()
    return apart


def _pairs(known: pl.DataFrame, scores: dict[str, Array], labels: str) -> Pairs:
    """All of them, whatever their labels say."""
    label = known[labels].cast(pl.Float64).to_numpy()
    rows = np.flatnonzero(~np.isnan(np.stack([label, *scores.values()])).any(axis=0))
    ids = known[PROMPT_ID].gather(rows)
    number = ids.rle_id().to_numpy().astype(np.int64)
    sides = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for step in count(1):  # a prompt's rows are neighbours
        at = np.flatnonzero(number[step:] == number[:-step])
        if not at.size:
            break
        sides.append((at, at + step))
    left, right = (np.concatenate(side) for side in zip(*sides, strict=True))
    found = Pairs(rows[left], rows[right], np.zeros(0), number[left], ids.unique(maintain_order=True).to_list())
    return found._replace(truth=found.signs(label))


def _held_out(ids: list[str], share: float, seed: int) -> Array:
    """By the seed and the prompt alone: prompts that are added move no other."""
    return np.array([tables.rank(seed, "combine", prompt) < share * 2**63 for prompt in ids], dtype=bool)


def _counted(name: str, pairs: Pairs) -> dict[str, int]:
    return {f"{name}_prompts": len(np.unique(pairs.prompts)), f"{name}_pairs": len(pairs.prompts)}


def _refuse(asked: Combined, known: pl.DataFrame, fitted: Pairs, held: Pairs) -> None:
    where = f"scorer {asked.name!r}"
    total = len(fitted.truth) + len(held.truth)
    if not total:
        raise _no_pair(asked, known, where)
    decided = [len(np.unique(part.prompts[part.truth != 0])) for part in (fitted, held)]
    if not any(decided):
        what = f"{asked.labels} gives both responses the same label in all {total} pairs: there is no order to learn"
        raise UserError(what, where=where, cure="label which of a prompt's responses is the better one")
    if min(decided) < FEWEST:
        what = f"{decided[0]} labelled prompts to fit on and {decided[1]} held out; {FEWEST} of each are the least"
        cure = "label more prompts, set `held_out` so that both sides have enough, or take `rule: rank_average`"
        raise UserError(what, where=where, cure=cure)


def _no_pair(asked: Combined, known: pl.DataFrame, where: str) -> UserError:
    """Whether labels are lacking, or scores of what has a label, and whose."""
    labels, scorers = str(asked.labels), " and ".join(asked.of)
    what = f"no prompt has two responses that {labels} labels and {scorers} score"
    if not _two(known, [labels]):
        cure = "label several responses of a prompt, or take `rule: rank_average`, which needs no labels"
        return UserError(what, where=where, cure=cure)
    lacking = [name for name in asked.of if not _two(known, [labels, name])]
    whose = f"no two of the labelled have a score by {' or by '.join(lacking)}" if lacking else "each scores others"
    cure = f"see why responses have no score by {' or '.join(lacking or asked.of)}, or leave it out of `of`"
    return UserError(f"{what}: {whose}", where=where, cure=cure)


def _two(known: pl.DataFrame, scorers: list[str]) -> bool:
    """Whether some prompt has two responses with a score by each of these."""
    return bool(known.drop_nulls(scorers)[PROMPT_ID].is_duplicated().any())


def _told(asked: Combined, combined: Array, scores: dict[str, Array], pairs: Pairs, seed: int) -> dict[str, Any]:
    """The agreement of each with the labels, and what the combined one has over the best of the others."""
    right = {name: pairs.signs(values) * pairs.truth for name, values in ({asked.name: combined} | scores).items()}
    found: dict[str, dict[str, Any]] = {}
    for name, signs in right.items():
        outcomes = agreement.outcomes(signs, pairs.prompts)
        found[name] = {"agreement": agreement.agreement(outcomes), "ci95": agreement.interval(outcomes, seed)}
        found[name]["n"] = len(signs)
    best = max(asked.of, key=lambda name: found[name]["agreement"] or 0.0)
    apart = _apart(right[asked.name], right[best], pairs.prompts)
    gain = {"over": best, "difference": agreement.agreement(apart), "ci95": agreement.interval(apart, seed)}
    return {"agreement": found, "gain": gain}


def _apart(one: Array, other: Array, prompts: Array) -> agreement.Outcomes:
    """Outcomes whose agreement is the difference of two over the same pairs: points of the one less the other's."""
    pairs = np.bincount(prompts)
    points = np.bincount(prompts, weights=one.astype(np.int64) - other).astype(np.int64)
    found, counts = np.unique(np.stack([points, pairs])[:, pairs > 0], axis=1, return_counts=True)
    return agreement.Outcomes(*(tuple(x.tolist()) for x in (*found, counts)))
