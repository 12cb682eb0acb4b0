"""The paper's controls that turn pairs round: all of them (`reversed`), or each by a coin (`random`).

    pair: {control: reversed}

`tied`, two samples of one rung, is a pairing and stands in `pair`.
"""

from __future__ import annotations

import polars as pl

from deltadata import tables
from deltadata.recipe import Recipe
from deltadata.tables import CHOSEN, MODEL, PAIR_KEY, PROMPT_ID, REJECTED, SAMPLE, SIDES, of


def controlled(pairs: pl.DataFrame, recipe: Recipe, order: str) -> pl.DataFrame:
    """The pairs under the recipe's control; what is of no side stays as it is. `order` sorts prompts."""
    match recipe.pair.control:
        case "reversed":
            return pairs.rename(_other_side)
        case "random":
            heads = _coins(pairs, recipe.seed, recipe.pair.also is not None)
            swapped = pairs.rename(_other_side).filter(~heads).select(pairs.columns)
            return pl.concat([pairs.filter(heads), swapped]).sort(order, of(CHOSEN, SAMPLE), maintain_order=True)
    return pairs


def _coins(pairs: pl.DataFrame, seed: int, two_kinds: bool) -> pl.Series:
    """A coin per pair, fixed by the seed.

    With two kinds of pairs it belongs to the two responses, whichever is chosen: one coin for a pair and its reverse,
    which else could fall on one and the same pair.
    """
    if two_kinds:
        rows = pairs.select(PAIR_KEY).iter_rows()
        tossed = [(prompt, *sorted([(x, i), (y, j)])) for prompt, x, i, y, j in rows]
    else:
        tossed = pairs.select(PROMPT_ID, of(CHOSEN, MODEL), of(REJECTED, MODEL), of(CHOSEN, SAMPLE)).rows()
    return pl.Series([tables.rank(seed, "control", *pair) % 2 == 1 for pair in tossed], dtype=pl.Boolean)


def _other_side(column: str) -> str:
    for this, other in (SIDES, SIDES[::-1]):
        if column.startswith(of(this, "")):
            return of(other, column.removeprefix(of(this, "")))
    return column
