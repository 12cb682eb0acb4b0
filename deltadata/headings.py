"""What the headings of the report's pictures say, and no more than intervals and counts allow.

`pictures.draw` writes them above; below FEW pairs or scores a heading says that they are too few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from deltadata.findings import FEW, step, verdict
from deltadata.page import percent, signed
from deltadata.spread import Array

Tree = Mapping[str, Any]


def said(stats: Tree) -> str:
    """The verdict on the order by one measure's figures."""
    return verdict(stats["agreement_ci95"], stats["n"])


def steps(rungs: Sequence[Tree], scorer: str) -> list[tuple[int, int]]:
    """The places of neighbours among the rungs that have a strength."""
    return list(pairwise(place for place, rung in enumerate(rungs) if rung["strength"][scorer] is not None))


def ladder(rungs: Sequence[Tree], scorer: str) -> str:
    """What the strengths say of the order, as far as their intervals lie apart."""
    kinds = [step(rungs[upper], rungs[lower], scorer) for upper, lower in steps(rungs, scorer)]
    wrong, apart = kinds.count("inverts"), kinds.count("holds")
    if not kinds or set(kinds) == {"few"}:
        return f"fewer than {FEW} scores a rung are too few to say which is stronger"
    if set(kinds) == {"equal"}:
        return "no difference between the rungs"
    if apart == len(kinds):
        return "the ladder holds, every rung is above the next"
    told = f"{wrong} of {len(kinds)} steps of the ladder against the recipe’s order" if wrong else ""
    open_ = len(kinds) - wrong - apart
    if open_ and wrong:
        return f"{told}, {open_} undecided"
    return told or f"{open_} of {len(kinds)} steps of the ladder are undecided"


def quality(lead: str, scores: Array, deltas: Array) -> str:
    """The mean delta where chosen scores are low and where they are high."""
    if scores.size < FEW:
        return f"Delta of {lead}: {scores.size} pairs are too few to say how it goes with the chosen score"
    low, high = np.quantile(scores, [0.25, 0.75])
    if low == high:
        return f"Mean delta of {lead}: {signed(float(deltas.mean()))}, and half of the chosen scores or more are equal"
    means = [signed(float(deltas[held].mean())) for held in (scores <= low, scores >= high)]
    return f"Mean delta of {lead}: {means[0]} in the lowest quarter of chosen scores, {means[1]} in the highest"


def length(pairings: Sequence[Tree], lead: str, measure: str) -> str:
    """How often chosen is longer and, of a lone pairing, what is left of the agreement among pairs of like length."""
    told = f"Chosen is the longer one in {span(pairings, measure)}"
    bias = pairings[0]["length_bias"]
    if len(pairings) > 1 or not bias:
        return told
    alike = bias["matched"]
    if alike["pairs"] < FEW:
        return f"{told}; {alike['pairs']} pairs of like length are too few for an agreement"
    return f"{told}; among pairs of like length {percent(alike['agreement'])} agree on {lead}"


def agreement(name: str, whole: Sequence[Tree], lead: str) -> str:
    """In how many pairings the order holds; of a lone one, called `name`, the agreement."""
    if len(whole) > 1:
        sure = sum(said(stats) == "holds" for stats in whole)
        return f"{lead} agrees with the order in {sure} of {len(whole)} pairings"
    if whole[0]["n"] < FEW:
        return f"{name}: {whole[0]['n']} pairs are too few for an agreement on {lead}"
    return f"{name}: {percent(whole[0]['agreement'])} agree on {lead}"


def span(pairings: Sequence[Tree], measure: str) -> str:
    """In which share of the pairs the measure's delta is positive, over all pairings."""
    pairs = [pairing["measures"][measure]["n"] for pairing in pairings]
    if len(pairs) == 1 and pairs[0] < FEW:
        return f"{round((pairings[0]['measures'][measure]['share_positive'] or 0) * pairs[0])} of {pairs[0]} pairs"
    told = [pairing["measures"][measure]["share_positive"] for pairing in pairings]
    shares = [share for share in told if share is not None]
    low, high = percent(min(shares, default=None)), percent(max(shares, default=None))
    if low == high:
        return f"{low} of the pairs"
    return f"{low} to {high} of the pairs, by pairing"
