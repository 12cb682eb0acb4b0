"""Which two responses of a prompt make a pair by score: the best of its candidates, and a worse one.

    pair: {pairings: {by: gpt4, pick: max_min, min_delta: 0.5, weak: {rungs: [small], at_least: 2}}}

Among equals a seeded draw decides, which belongs to the response: the order of rungs plays no part.
"""

from __future__ import annotations

import polars as pl

from deltadata import tables
from deltadata.pair_sections import ByScore
from deltadata.tables import MODEL, PROMPT_ID

_DRAW, _BEST, _FORCED = "draw", "best_score", "is_forced"


def best_and_worse(rows: pl.DataFrame, score: str, asked: ByScore, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of each prompt's candidates the best response, and the worst or any worse one; some prompts have no worse one.

    `rows` are responses with text and a number in the column `score`.
    """
    value = pl.col(score)
    rows = _candidates(_drawn(rows, seed, "candidate"), asked)
    best = rows.sort(value, _DRAW, descending=[True, False]).unique(PROMPT_ID, keep="first")
    gap = (pl.col(_BEST) - value).round_sig_figs(12)  # 0.7 - 0.4 is 0.3, not a hair less
    worse = rows.join(best.select(PROMPT_ID, value.alias(_BEST)), on=PROMPT_ID)
    worse = worse.filter(gap > 0, gap >= asked.min_delta).drop(_BEST)
    worse = _drawn(worse, seed, "rejected").sort(_DRAW) if asked.pick == "max_random" else worse.sort(value, _DRAW)
    worse = worse.unique(PROMPT_ID, keep="first", maintain_order=True)
    return best.drop(_DRAW), worse.drop(_DRAW)


def _drawn(rows: pl.DataFrame, seed: int, what: str) -> pl.DataFrame:
    """A number for each response, fixed by its key and the seed."""
    draws = [tables.rank(seed, what, *key) for key in rows.select(tables.RESPONSES.key).iter_rows()]
    return rows.with_columns(pl.Series(_DRAW, draws, dtype=pl.Int64))


def _candidates(rows: pl.DataFrame, asked: ByScore) -> pl.DataFrame:
    """The responses of each prompt that are looked at: those forced first, then any, up to the number asked for.

    A prompt without as many weak responses as are forced has none.
    """
    if asked.drawn is None:
        return rows
    at_least = asked.weak.at_least if asked.weak else 0
    is_weak = pl.col(MODEL).is_in(asked.weak.rungs if asked.weak else [])
    place = pl.int_range(pl.len())
    rows = rows.sort(_DRAW).with_columns((is_weak & (place.over(PROMPT_ID, is_weak) < at_least)).alias(_FORCED))
    rows = rows.sort(~pl.col(_FORCED), maintain_order=True)
    rows = rows.filter(place.over(PROMPT_ID) < asked.drawn, pl.col(_FORCED).sum().over(PROMPT_ID) >= at_least)
    return rows.drop(_FORCED)
