"""What scores add to the report: strengths of the rungs, bias for length, slices where the order inverts, saturation.

    deltadata report RUN

Only the first scorer, the one the report leads with, is looked at slice by slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from deltadata import agreement, kinds, measure, mixed
from deltadata.spread import Array, Column, column, spread
from deltadata.tables import (
    BY_SCORE,
    CHOSEN,
    FINISH,
    MODEL,
    PREFERENCE_TYPE,
    PROMPT_ID,
    SAMPLE,
    SIDES,
    TOKENS,
    delta,
    of,
)

CHARACTERS, RESPONSE_RATIO = measure.characters.__name__, measure.response_ratio.__name__
CUT_OFF = "length"  # the finish reason of a response that max_tokens ended
WITHIN = 0.1  # lengths are alike when they differ by this share of their mean at most
FEWEST = 30  # pairs of a slice that is looked at
MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)  # odd: multiplying by them loses nothing
Tree = dict[str, Any]


def coded(names: pl.Series, known: Sequence[str]) -> tuple[Array, list[str]]:
    """Names as numbers into a list: the known ones first, then any other; null is the number behind the last."""
    kinds = list(dict.fromkeys(known))
    texts = names.cast(pl.String)
    codes = texts.cast(pl.Enum(kinds), strict=False)
    if codes.null_count() > texts.null_count():
        kinds = list(dict.fromkeys([*kinds, *texts.drop_nulls().unique().sort()]))
        codes = texts.cast(pl.Enum(kinds))
    return codes.to_physical().cast(pl.Int32).fill_null(len(kinds)).to_numpy(), kinds


def ladder(responses: pl.DataFrame, rungs: list[str], scorers: list[str], seed: int) -> list[Tree]:
    """A row per rung, strongest first: counts, means, share cut off at max_tokens, strengths by each scorer."""
    rung, names = coded(responses[MODEL], rungs)
    counts, cut_off = np.bincount(rung, minlength=len(names)), _cut_off(responses, rung, len(names))
    told: list[Tree] = [
        {"model": name, "responses": int(n), "cut_off": share}
        for name, n, share in zip(names, counts, cut_off, strict=True)
    ]
    means = {name: _means(responses, name, rung, len(names)) for name in (TOKENS, CHARACTERS, *scorers)}
    fitted = {name: _strengths(responses, name, rung, len(names), seed) for name in scorers}
    for place, row in enumerate(told):
        row |= {f"mean_{name}": means[name][0][place] for name in (TOKENS, CHARACTERS)}
        row["mean_score"] = {name: means[name][0][place] for name in scorers}
        row["scored"] = {name: means[name][1][place] for name in scorers}
        row["strength"] = {name: fitted[name][0][place] for name in scorers}
        row["strength_ci95"] = {name: fitted[name][1][place] for name in scorers}
    return told


def _means(responses: pl.DataFrame, name: str, rung: Array, size: int) -> tuple[list[float | None], list[int]]:
    """Mean and number of known values per rung; added up in ascending order, so that the order of rows is no matter."""
    if name not in responses.columns:
        return [None] * size, [0] * size
    values = responses[name].cast(pl.Float64).to_numpy()
    order = np.argsort(values)[: np.count_nonzero(np.isfinite(values))]
    n = np.bincount(rung[order], minlength=size)
    sums = np.bincount(rung[order], weights=values[order], minlength=size)
    return [float(total / many) if many else None for total, many in zip(sums, n, strict=True)], n.tolist()


def _cut_off(responses: pl.DataFrame, rung: Array, size: int) -> list[float | None]:
    """Per rung the share of responses that max_tokens ended, of those with a known end."""
    ends = responses[FINISH].cast(pl.String)
    known, cut = (x.fill_null(False).to_numpy() for x in (ends.is_not_null(), ends == CUT_OFF))
    n, ended = (np.bincount(rung[rows], minlength=size) for rows in (known, cut))
    return [float(few / many) if many else None for few, many in zip(ended, n, strict=True)]


def _keys(frame: pl.DataFrame, sample: str, rung: Array | int = 0) -> Array:
    """A 64-bit number for each row: prompt, sample, rung. Two of a million are equal once in 40 million reports."""
    mixed: Array = MIX[0] * frame[sample].cast(pl.UInt64).to_numpy()
    mixed += frame[PROMPT_ID].hash().to_numpy()
    mixed += MIX[1] * np.asarray(rung).astype(np.uint64)
    return mixed


def _strengths(responses: pl.DataFrame, scorer: str, rung: Array, size: int, seed: int) -> Any:
    """Bradley-Terry strengths over all pairs of rungs; responses are matched by prompt and sample."""
    found, row = np.unique(_keys(responses, SAMPLE), return_inverse=True)
    scores = np.full((len(found), size), np.nan)
    scores[row, rung] = responses[scorer].cast(pl.Float64).to_numpy()
    prompts = None
    if responses[SAMPLE].max():
        prompts = np.empty(len(found), dtype=np.int64)
        prompts[row] = np.unique(responses[PROMPT_ID].hash().to_numpy(), return_inverse=True)[1]
    return agreement.strengths(scores, prompts, seed)


class Judged(NamedTuple):
    """A pairing's pairs with a known delta of the lead: its sign, the length delta (NaN = unknown), whether the lengths
    are alike, how the two sides ended, and each pair's prompt (None: all differ)."""

    signs: Array
    lengths: Array
    alike: Array
    ends: Array
    prompts: Array | None


def by_lead(
    facts: Tree, pairs: pl.DataFrame, responses: pl.DataFrame, known: list[tuple[Array, Array | None]], seed: int
) -> Tree:
    """Slices and saturation by the lead where it is a scorer; fills in each pairing's length bias.

    Pairings by score, beside those by order, have neither slices nor a length bias: their sides were chosen by a score.
    `known` are each pairing's rows and the prompts of those rows (None: all differ).
    """
    lead = facts["lead"]
    if lead not in facts["scorers"]:
        return {"slices": [], "slices_seen": 0, "saturation": None}
    deltas = pairs[delta(lead)].cast(pl.Float64).to_numpy()
    lengths = pairs[delta(facts["length_measure"])].cast(pl.Float64).to_numpy()
    alike = _alike(pairs, facts["length_measure"])
    ends, names = _ends(pairs)
    seen: list[Tree] = []
    for told, (rows, prompts) in zip(facts["pairings"], known, strict=True):
        if told.get(PREFERENCE_TYPE) == BY_SCORE:
            continue
        at = np.flatnonzero(np.isfinite(deltas[rows]))
        mine = rows[at]
        own = None if prompts is None else prompts[at]
        judged = Judged(np.sign(deltas[mine]).astype(np.int8), lengths[mine], alike[mine], ends[mine], own)
        told["length_bias"] = _length_bias(judged, facts["length_measure"], seed)
        seen += [kinds.key(told) | found for found in _slices(told, judged, names, facts, seed)]
    inverted = [one for one in seen if one["agreement_ci95"] and one["agreement_ci95"][1] < 0.5]
    return {"slices": inverted, "slices_seen": len(seen), "saturation": _saturation(pairs, responses, deltas, lead)}


def _ends(pairs: pl.DataFrame) -> tuple[Array, list[str]]:
    """How both sides of each pair ended, as numbers into the list of names."""
    coded_sides = [coded(pairs[of(side, FINISH)], []) for side in SIDES]
    chosen, rejected = ([*kinds, "unknown"] for _, kinds in coded_sides)
    names = [f"chosen {one}, rejected {other}" for one in chosen for other in rejected]
    return coded_sides[0][0] * len(rejected) + coded_sides[1][0], names


def _alike(pairs: pl.DataFrame, length: str) -> Array:
    """Pairs whose lengths differ by WITHIN of their mean at most.

    |c - r| <= w (c + r) / 2 is a bound on the ratio, so that characters need the ratio alone.
    """
    if length == TOKENS:
        sides = [pl.col(of(side, TOKENS)).cast(pl.Float64) for side in SIDES]
        near = (sides[0] - sides[1]).abs() * 2 <= WITHIN * (sides[0] + sides[1])
    elif delta(RESPONSE_RATIO) in pairs.columns:
        near = pl.col(delta(RESPONSE_RATIO)).abs() <= np.log2((2 + WITHIN) / (2 - WITHIN))
    else:
        near = pl.lit(None, dtype=pl.Boolean)
    return pairs.with_columns(near.fill_null(False).alias("alike"))["alike"].to_numpy()


def _over(judged: Judged, rows: Array, seed: int) -> Tree:
    """Pairs, agreement and interval over some of the pairs (a mask)."""
    prompts = None if judged.prompts is None else judged.prompts[rows]
    found = agreement.outcomes(judged.signs[rows], prompts)
    return {
        "pairs": int(np.count_nonzero(rows)),
        "agreement": agreement.agreement(found),
        "agreement_ci95": agreement.interval(found, seed),
    }


def _length_bias(judged: Judged, length: str, seed: int) -> Tree:
    """Over the pairs whose score delta and length delta are both known."""
    known = np.isfinite(judged.lengths)
    lengths, signs = judged.lengths[known], judged.signs[known]
    return {
        "measure": length,
        "share_chosen_longer": float((lengths > 0).mean()) if len(lengths) else None,
        "matched": _over(judged, judged.alike & known, seed) | {"within": WITHIN},
        "controlled": agreement.controlled(lengths, signs),
    }


def _slices(told: Tree, judged: Judged, kinds: list[str], facts: Tree, seed: int) -> list[Tree]:
    """Every slice of a pairing with at least FEWEST pairs: by pool, split, how the sides ended, quarter of length."""
    found = []
    for by in ("pool", "split"):
        for name, part in told[f"by_{by}"].items():
            stats = part["measures"][facts["lead"]]
            some = {"pairs": stats["n"]} | {key: stats[key] for key in ("agreement", "agreement_ci95")}
            found.append({"by": by, "slice": name} | some)
    for code in np.unique(judged.ends):
        found.append({"by": "finish_reason", "slice": kinds[code]} | _over(judged, judged.ends == code, seed))
    known = judged.lengths[np.isfinite(judged.lengths)]
    edges = np.unique(np.quantile(known, (0.25, 0.5, 0.75))) if len(known) else np.array([])
    quarter = np.where(np.isfinite(judged.lengths), np.searchsorted(edges, judged.lengths), -1)
    for number in range(len(edges) + 1) if len(known) else []:
        rows = quarter == number
        if rows.any():
            ends_at = judged.lengths[rows].min(), judged.lengths[rows].max()
            name = f"{ends_at[0]:+,.0f} to {ends_at[1]:+,.0f} {facts['length_measure']}"
            found.append({"by": "length delta", "slice": name} | _over(judged, rows, seed))
    # One that holds every pair of the pairing is no slice.
    return [one for one in found if FEWEST <= one["pairs"] < len(judged.signs)]


def _chosen_scores(pairs: pl.DataFrame, responses: pl.DataFrame, lead: str) -> tuple[Array, Array]:
    """Each pair's chosen score (NaN = unknown), in the order of the rows given with it."""
    rung, names = coded(responses[MODEL], [])
    chosen, _ = coded(pairs[of(CHOSEN, MODEL)], names)
    have = _keys(responses, SAMPLE, rung)
    want = _keys(pairs, of(CHOSEN, SAMPLE), chosen)
    order, rows = np.argsort(have).astype(np.int32), np.argsort(want).astype(np.int32)
    have, want = have[order], want[rows]
    place = np.minimum(np.searchsorted(have, want), len(have) - 1)
    missing = have[place] != want
    scores: Array = responses[lead].cast(pl.Float64).to_numpy()[order[place]]
    scores[missing] = np.nan
    return scores, rows


def _saturation(pairs: pl.DataFrame, responses: pl.DataFrame, deltas: Array, lead: str) -> Tree | None:
    """How much room the chosen side's score leaves: share at the highest score seen, delta by quarter of that score."""
    if not responses.height:
        return None
    scores, rows = _chosen_scores(pairs, responses, lead)
    known = np.isfinite(scores) & np.isfinite(deltas[rows])
    if not known.any():
        return None
    scores, deltas = scores[known], deltas[rows[known]]
    top = float(np.nanmax(responses[lead].cast(pl.Float64).to_numpy()))
    edges = np.unique(np.quantile(scores, (0.25, 0.5, 0.75)))
    quarter = np.searchsorted(edges, scores)
    spreads = column(deltas, quarter, len(edges) + 1)[0]
    by_score = mixed.by_score(pairs).to_numpy()[rows[known]]
    ordered = column(np.where(by_score, np.nan, deltas), quarter, len(edges) + 1)[0] if by_score.any() else spreads
    at_max = scores == top
    return {
        "scorer": lead,
        "n": len(scores),
        "max": top,
        "at_max": float(at_max.mean()),
        "both_at_max": float((at_max & (deltas == 0)).mean()),
        "quarters": [_quarter(scores[quarter == i], spreads, ordered, i) for i in np.unique(quarter)],
    }


def _quarter(scores: Array, spreads: Column, ordered: Column, number: int) -> Tree:
    """Of all pairs, its agreement of those by order."""
    mine = np.arange(len(spreads.n)) == number
    stats = spread(spreads, mine)
    some = {key: stats[key] for key in ("mean", "std")} | {"agreement": spread(ordered, mine)["agreement"]}
    return {"from": float(scores.min()), "to": float(scores.max()), "pairs": stats["n"]} | some
