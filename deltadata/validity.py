"""Whether a scorer agrees with the order of the rungs: agreement on a sample, its limits, and a verdict in a sentence.

    deltadata validate RECIPE --scorer checks

Plain numbers in, a JSON tree out. The limits hold for few prompts and for answers that all agree, too.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from deltadata import agreement
from deltadata.agreement import Array, Outcomes
from deltadata.findings import FEW
from deltadata.tables import CHOSEN, MODEL, POOL, PROMPT_ID, REJECTED, delta, of

Tree = dict[str, Any]
RISK = 0.05  # of all looks and pairings together
POWER = 0.8  # with which the prompts that "would settle it" do
COIN = 0.25  # the largest variance of a number between 0 and 1
MOST = 10**12  # prompts that are thought of


class Rule(NamedTuple):
    """What was planned: whose agreement is to lie above `at_least`, over how many looks, pairings and which pools.

    A verdict's limits have the level 1 - 0.05 / (looks x pairings), so that all of them together err in 5 %
    (Bonferroni); those of a pool share that among the pools. Overall verdicts and those of pools are two families, each
    with its 5 %.
    """

    scorer: str
    at_least: float
    looks: int
    pools: list[str]
    prompts: int  # of the whole run
    pairings: int = 1

    @property
    def level(self) -> float:
        return 1 - RISK / (self.looks * self.pairings)

    @property
    def level_by_pool(self) -> float:
        return 1 - RISK / (self.looks * self.pairings * max(len(self.pools), 1))


class Spread(NamedTuple):
    """Agreement over prompts: its mean, the variance of one prompt's, and how many prompts of equal weight it has."""

    mean: float
    variance: float
    worth: float


def spread(found: Outcomes) -> Spread | None:
    """Of prompts that weigh as many pairs as they have; None where there is no pair.

    variance / worth is the ratio estimator's variance; worth is Kish's effective size (Survey Sampling, 1965).
    """
    points, pairs, prompts = (np.array(x, dtype=float) for x in found)
    held = pairs > 0
    points, pairs, prompts = points[held], pairs[held], prompts[held]
    mean = agreement.agreement(found)
    if mean is None:
        return None
    weights = prompts * pairs**2
    variance = float(weights @ (points / (2 * pairs) - mean) ** 2 / weights.sum())
    return Spread(mean, variance, float((prompts @ pairs) ** 2 / weights.sum()))


def limits(seen: Spread, level: float) -> list[float]:
    """The two-sided interval of the agreement.

    Agresti & Coull's (1998, Am. Stat. 52): z^2 prompts are added of which half agree, then mean and variance are taken
    as they are. That covers where a bootstrap does not: prompts that all agree have an interval and no point, and near
    0 and 1 it holds better than Wilson's. Ties and several pairs a prompt count by the variance that they leave.
    """
    return _limits(seen, _z(level))


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _limits(seen: Spread, z: float) -> list[float]:
    size = seen.worth + z * z
    mean = (seen.worth * seen.mean + z * z / 2) / size
    variance = seen.worth * (seen.variance + (seen.mean - mean) ** 2) + z * z * (COIN + (0.5 - mean) ** 2)
    half = z * math.sqrt(variance) / size
    return [max(0.0, min(mean - half, seen.mean)), min(1.0, max(mean + half, seen.mean))]


def minimum(seen: Spread, width: float, level: float = 1 - RISK) -> int:
    """The fewest prompts of equal weight, spread like those seen, whose limits are at most `width` apart."""

    def narrow(prompts: int) -> bool:
        low, high = limits(seen._replace(worth=prompts), level)
        return high - low <= width

    return bisect_left(range(MOST), True, lo=1, key=narrow)


def settling(seen: Spread, at_least: float, level: float) -> int | None:
    """Prompts of equal weight with which the limits leave `at_least` out in four of five samples, were the agreement
    what it is here; None where it is `at_least` itself."""
    if seen.mean == at_least:
        return None
    z = _z(level) + NormalDist().inv_cdf(POWER)

    def settled(prompts: int) -> bool:
        low, high = _limits(seen._replace(worth=prompts), z)
        return not low <= at_least <= high

    return bisect_left(range(MOST), True, lo=1, key=settled)


def judged(pairs: pl.DataFrame, order: Iterable[tuple[str, str]], rule: Rule) -> list[Tree]:
    """Each pairing (stronger, weaker) of `order` over its pairs, whole and by pool, with its verdict.

    `pairs` has the sides' models, prompt_id, pool and the scorer's delta, null where it is unknown.
    """
    prompts = np.unique(pairs[PROMPT_ID].to_numpy(), return_inverse=True)[1]
    deltas = pairs[delta(rule.scorer)].cast(pl.Float64).to_numpy()
    found = []
    for chosen, rejected in order:
        mine = ((pairs[of(CHOSEN, MODEL)] == chosen) & (pairs[of(REJECTED, MODEL)] == rejected)).to_numpy()
        told: Tree = {CHOSEN: chosen, REJECTED: rejected} | _stats(deltas[mine], prompts[mine], rule.level)
        by_pool = {}
        for pool in rule.pools:
            rows = mine & (pairs[POOL] == pool).to_numpy()
            if rows.any():
                by_pool[pool] = _stats(deltas[rows], prompts[rows], rule.level_by_pool)
        told["by_pool"] = by_pool
        told["verdict"], told["sentence"] = verdict(told, rule)
        found.append(told)
    return found


def _stats(deltas: Array, prompts: Array, level: float) -> Tree:
    """Of some pairs; the agreement has no limits below two prompts."""
    known = np.isfinite(deltas)
    signs = np.sign(deltas[known]).astype(np.int8)
    seen = spread(agreement.outcomes(signs, prompts[known]))
    size = len(np.unique(prompts[known]))
    told: Tree = {"pairs": len(deltas), "unknown": int((~known).sum()), "prompts": size}
    told |= {"agreement": None, "agreement_ci95": None, "limits": None, "share_tied": None, "mean_delta": None}
    told |= {"variance": None, "worth": None}
    if seen is None:
        return told
    told |= {"agreement": seen.mean, "variance": seen.variance, "worth": seen.worth}
    told |= {"share_tied": float((signs == 0).mean()), "mean_delta": float(deltas[known].mean())}
    if size > 1:
        told |= {"agreement_ci95": limits(seen, 1 - RISK), "limits": limits(seen, level)}
    return told


def least(told: Tree, width: float) -> int:
    """The pairing's prompts for a 95 % interval so wide: by its variance, or by a coin's below 30 prompts."""
    if told["prompts"] < FEW:
        return minimum(Spread(0.5, COIN, 0), width)
    return _even(minimum(_seen(told), width), told)


def _seen(told: Tree) -> Spread:
    return Spread(told["agreement"], told["variance"], told["worth"])


def _even(number: int, told: Tree) -> int:
    """As many prompts like those seen as `number` of equal weight are."""
    return math.ceil(number * float(told["prompts"] / told["worth"]))


def _side(told: Tree, at_least: float) -> str:
    if told["prompts"] < FEW:
        return "few"
    low, high = told["limits"]
    return "above" if low > at_least else "below" if high < at_least else "undecided"


WORTH, NOT_WORTH, POOLS = "worth it", "not worth it", "only on these pools"
UNDECIDED, FEW_PROMPTS, UNSCORED = "undecided", "too few prompts", "no scores"


def verdict(told: Tree, rule: Rule) -> tuple[str, str]:
    """One of the words above, and the sentence that says why."""
    sides, asked = f"{told[CHOSEN]} over {told[REJECTED]}", _percent(rule.at_least)
    above, below = (
        {name: stats for name, stats in told["by_pool"].items() if _side(stats, rule.at_least) == side}
        for side in ("above", "below")
    )
    side = _side(told, rule.at_least)
    if not told["prompts"]:
        return UNSCORED, f"{sides}: {rule.scorer} scores both sides of no pair, so that nothing is said of the order."
    if above and (below or side == "below"):
        rest = f"; not on {_named(below, rule.level_by_pool)}" if below else "; not on the rest"
        return POOLS, f"{sides}: {POOLS}: {_named(above, rule.level_by_pool)}{rest}."
    if side == "few":
        return FEW_PROMPTS, f"{sides}: {told['prompts']} prompts are too few for a verdict, which takes {FEW} or more."
    seen = f"agreement with {rule.scorer} is {_interval(told, rule.level)}"
    if side == "above":
        but = f", but not on {_named(below, rule.level_by_pool)}" if below else ""
        return WORTH, f"{sides}: {WORTH}{but}; {seen}, above {asked}."
    if side == "below":
        turned = told["limits"][1] < 0.5
        why = "; the weaker rung is preferred: reverse the pairing or drop it" if turned else ""
        return NOT_WORTH, f"{sides}: {NOT_WORTH}; {seen}, below {asked}{why}."
    alone = f"; it is worth it on {_named(above, rule.level_by_pool)}" if above else ""
    return UNDECIDED, f"{sides}: {UNDECIDED}: {_more(told, rule)}; {seen}, and {asked} lies within{alone}."


def _more(told: Tree, rule: Rule) -> str:
    need = settling(_seen(told), rule.at_least, rule.level)
    if need is None:
        return "no difference is seen"
    need = _even(need, told)
    there = f" (the run has {rule.prompts:,})" if need > rule.prompts else ""
    return f"about {_rounded(need):,} prompts would settle a difference of this size{there}"


def _rounded(number: int) -> int:
    """Two figures, upwards: more would be a pretence."""
    step: int = 10 ** max(len(str(number)) - 2, 0)
    return -(-number // step) * step


def _named(pools: dict[str, Tree], level: float) -> str:
    return ", ".join(f"{name}, {_interval(stats, level)}" for name, stats in pools.items())


def _interval(stats: Tree, level: float) -> str:
    low, high = stats["limits"]
    span = f"{100 * low:.1f}-{_percent(high)}"
    share = _percent(stats["agreement"])
    return f"{share} ({percent_level(level)} interval {span}, {stats['prompts']:,} prompts)"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def percent_level(level: float) -> str:
    """`97.5 %`: with as many figures as it takes to tell it from 100 %."""
    return f"{100 * level:.4g} %"


def rows(told: Tree) -> list[dict[str, str]]:
    """The table: every pairing, and below it its pools where there are several."""
    shown = []
    for pairing in told["pairings"]:
        sides = f"{pairing[CHOSEN]} > {pairing[REJECTED]}"
        shown.append(_row(sides, pairing) | {"least": f"{pairing['minimum_prompts']:,}"})
        for name, stats in pairing["by_pool"].items() if len(pairing["by_pool"]) > 1 else ():
            shown.append(_row(f"  {name}", stats) | {"least": ""})
    return shown


def _row(name: str, stats: Tree) -> dict[str, str]:
    known, scored = stats["agreement"] is not None, stats["pairs"] - stats["unknown"]
    span = " ({:.1f}-{:.1f})".format(*(100 * limit for limit in stats["agreement_ci95"] or (0, 1)))
    return {
        "pairing": name,
        "pairs": str(scored) if scored == stats["prompts"] else f"{scored}/{stats['prompts']}",
        "agree % (95 %)": f"{100 * stats['agreement']:.1f}{span}" if known else "-",
        "tied %": f"{100 * stats['share_tied']:.1f}" if known else "-",
        "mean delta": f"{stats['mean_delta']:+.3g}" if known else "-",
    }


def _so_that(told: Tree) -> str:
    """What the verdicts share 5 % among."""
    several = [f"{n} {what}" for n, what in ((told["looks"], "looks"), (len(told["pairings"]), "pairings")) if n > 1]
    return f": {' and '.join(several)} err in 5 % together" if several else ""


def notes(told: Tree) -> list[str]:
    """What the table's columns mean, where that is not plain."""
    found = [f"least: prompts for a 95 % interval that is {100 * told['width']:g} points wide"]
    if any(pairing["pairs"] - pairing["unknown"] > pairing["prompts"] for pairing in told["pairings"]):
        found.append("pairs: with a score, of so many prompts")
    pairs, unknown = (sum(pairing[key] for pairing in told["pairings"]) for key in ("pairs", "unknown"))
    if unknown:
        found.append(f"{unknown} of {pairs} pairs have no score on both sides")
    levels = [percent_level(told["level"])]
    if any(len(pairing["by_pool"]) > 1 for pairing in told["pairings"]):
        levels.append(f"{percent_level(told['level_by_pool'])} for a pool")
    if levels != ["95 %"]:
        text = f"the table's intervals are of 95 %, those that a verdict goes by of {', '.join(levels)}"
        found.append(text + _so_that(told))
    return found
