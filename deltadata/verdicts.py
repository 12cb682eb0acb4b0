"""JUDGEMENTS to scores, and what they tell of the judge: position bias, flips, ties, self-consistency, cost.

    deltadata score RECIPE

On narrow frames, without any text. A judgement without verdict adds nothing to any number: a score is the mean over
those that have one, and null where none has.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from deltadata import agreement, tables
from deltadata.scorer_sections import Judge, Price
from deltadata.tables import (
    DRAW,
    KEY,
    MODEL,
    OTHER_MODEL,
    OTHER_SAMPLE,
    PROMPT_ID,
    PROMPT_TOKENS,
    RESPONSE_TOKENS,
    SAMPLE,
    SCORE,
)

# Working columns, never written: where a text lies, a number that stands for it, and the number that a verdict is.
PROMPT_ROW, ROW, OTHER_ROW, TEXT, OTHER_TEXT = "prompt_row", "response_row", "other_row", "text_hash", "other_text_hash"
SAID = "said"
TIE = 0.5
_SIDES = {MODEL: OTHER_MODEL, SAMPLE: OTHER_SAMPLE, ROW: OTHER_ROW, TEXT: OTHER_TEXT}
_SHOWN = [PROMPT_ID, MODEL, SAMPLE, OTHER_MODEL, OTHER_SAMPLE]
_MEETING, _SWAPPED = "meeting", "said_swapped"


def requests(responses: pl.DataFrame, meets: list[list[str]] | None, draws: int) -> pl.DataFrame:
    """One row per judgement wanted: the response that is shown (first), the other one, and the draw.

    `responses` has the key, PROMPT_ROW, ROW and TEXT. `meets` names rungs two by two: their responses of one sample
    meet, in both orders (a rung that meets itself: samples 0 and 1, 2 and 3 ...). None: each response by itself. Two
    equal texts never meet, since there is nothing to choose.
    """
    if meets is None:
        alone = {other: pl.lit(None, responses.schema[column]) for column, other in _SIDES.items()}
        rows = responses.with_columns(**alone)
    else:
        rows = pl.concat(_both_orders(responses, *two) for two in meets)
    drawn = pl.DataFrame({DRAW: pl.Series(range(draws), dtype=pl.UInt32)})
    return rows.join(drawn, how="cross", maintain_order="left_right")


def _both_orders(responses: pl.DataFrame, one: str, other: str) -> pl.DataFrame:
    if one == other:
        rows = responses.filter(pl.col(MODEL) == one).with_columns((pl.col(SAMPLE) // 2).alias(_MEETING))
        left, right = (rows.filter(pl.col(SAMPLE) % 2 == turn) for turn in (0, 1))
    else:
        rows = responses.with_columns(pl.col(SAMPLE).alias(_MEETING))
        left, right = (rows.filter(pl.col(MODEL) == model) for model in (one, other))
    beside = right.drop(PROMPT_ROW).rename(_SIDES)
    met = left.join(beside, on=[PROMPT_ID, _MEETING], maintain_order="left").filter(pl.col(TEXT) != pl.col(OTHER_TEXT))
    met = met.drop(_MEETING).with_row_index(_MEETING)
    swapped = met.rename(_SIDES | {other: column for column, other in _SIDES.items()}).select(met.columns)
    return pl.concat([met, swapped]).sort(_MEETING, maintain_order=True).drop(_MEETING)


def scores(found: pl.DataFrame, pairwise: bool) -> pl.DataFrame:
    """Each judged response's key and SCORE, null without a verdict. `found`: `requests` with KEY and SAID.

    SAID is what a verdict comes to: the mean over aspects, or the points of the response shown first (1, 0.5, 0).
    Rating: the mean over draws. Pairwise: the mean over a response's comparisons, where both orders count alike and one
    without the other counts for nothing.
    """
    by = list(tables.RESPONSES.key)
    if not pairwise:
        return found.group_by(by, maintain_order=True).agg(pl.col(SAID).mean().alias(SCORE))
    points = (pl.col(SAID) + 1 - pl.col(_SWAPPED)) / 2
    met = _beside_swapped(found).group_by(_SHOWN, maintain_order=True).agg(points.mean().alias(SCORE))
    return met.group_by(by, maintain_order=True).agg(pl.col(SCORE).mean())


def _beside_swapped(found: pl.DataFrame) -> pl.DataFrame:
    """What each pairwise judgement said, beside what was said of the same draw in the other order."""
    said = found.select(KEY, *_SHOWN, DRAW, SAID)
    swap = {MODEL: OTHER_MODEL, SAMPLE: OTHER_SAMPLE, OTHER_MODEL: MODEL, OTHER_SAMPLE: SAMPLE, SAID: _SWAPPED}
    return said.join(said.drop(KEY).rename(swap), on=[*_SHOWN, DRAW], how="left", maintain_order="left")


def told(found: pl.DataFrame, asked: Judge, seed: int) -> dict[str, Any]:
    """What the record keeps of a judge, over each judgement once. `found`: `requests` with KEY, SAID and tokens.

    `position_bias`: how much more often than half the first one shown is preferred, among verdicts of two in both
    orders that are no tie; its 95 % interval is the bootstrap by prompt. `flips`: share of those two that contradict
    each other. `ties`: share of all verdicts. `self_consistency`: pairwise, the share of draws that say what most do;
    with rating the standard deviation of a response's draws, in points of the scale. None where it cannot be known.
    """
    once, pairwise = found.unique(KEY, keep="first", maintain_order=True), asked.form == "pairwise"
    facts = {
        "form": asked.form,
        "aspects": list(asked.aspects),
        "scale": None if pairwise else asked.scale,
        "requests": once.height,
        "judged": once[SAID].count(),
        **_orders(found, seed, pairwise),
        "self_consistency": _consistency(once, pairwise),
        PROMPT_TOKENS: once[PROMPT_TOKENS].sum(),
        RESPONSE_TOKENS: once[RESPONSE_TOKENS].sum(),
        "uncounted": once.filter(pl.col(SAID).is_not_null(), pl.col(RESPONSE_TOKENS).is_null()).height,
    }
    return facts | {"cost": asked.price and _cost(facts, asked.price)}


def _cost(facts: dict[str, Any], price: Price) -> float:
    """US dollars for the tokens that were counted."""
    return float((facts[PROMPT_TOKENS] * price.prompt + facts[RESPONSE_TOKENS] * price.response) / 1e6)


def _orders(found: pl.DataFrame, seed: int, pairwise: bool) -> dict[str, Any]:
    """Position bias, flips and ties of pairwise judgements; None of a rating."""
    if not pairwise:
        return dict.fromkeys(("position_bias", "position_bias_ci95", "flips", "ties"))
    each = _beside_swapped(found).unique(KEY, keep="first", maintain_order=True)
    both = each.drop_nulls([SAID, _SWAPPED])
    chose = both.filter(pl.col(SAID) != TIE)
    signs = (chose[SAID] * 2 - 1).cast(pl.Int8).to_numpy()
    of = agreement.outcomes(signs, chose[PROMPT_ID].rank("dense").cast(pl.Int64).to_numpy())
    share, limits = agreement.agreement(of), agreement.interval(of, seed)
    return {
        "position_bias": None if share is None else share - 0.5,
        "position_bias_ci95": None if limits is None else [limit - 0.5 for limit in limits],
        "flips": both.select(((pl.col(SAID) == pl.col(_SWAPPED)) & (pl.col(SAID) != TIE)).mean()).item(),
        "ties": each.select((pl.col(SAID) == TIE).mean()).item(),
    }


def _consistency(once: pl.DataFrame, pairwise: bool) -> float | None:
    """How a judge's draws of the same request agree with each other; None where nothing was drawn twice."""
    drawn = (
        once.drop_nulls(SAID)
        .group_by(_SHOWN)
        .agg(
            pl.len().alias("draws"),
            pl.col(SAID).std().alias("spread"),
            pl.col(SAID).unique_counts().max().alias("most"),
        )
    )
    drawn = drawn.filter(pl.col("draws") > 1)
    same = pl.col("most").sum() / pl.col("draws").sum() if pairwise else pl.col("spread").mean()
    found: float | None = drawn.select(same).item() if drawn.height else None
    return found
