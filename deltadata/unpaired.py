"""Why prompts have no pair: each of them counted under the first thing that it lacks.

deltadata run RECIPE        # 9 prompt(s) have no pair: fewer than two of their answers have a score by judge
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from deltadata import mixed, pair
from deltadata.pair_sections import Also, ByScore
from deltadata.recipe import Recipe
from deltadata.tables import PROMPT_ID

COUNT, WHY = "prompts_without_pair", "unpaired"
_ANSWERS, _SCORED = "answers", "scored_answers"


def counted(numbers: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """Per prompt, how many of its responses (those of `pair.response_numbers`) say something, and have the score that
    pairs go by."""
    asked, says = _by(recipe), ~pl.col(pair.EMPTY)
    scored = pl.col(pair.column_of(asked.by)).is_not_null() if asked else pl.lit(True)
    return numbers.group_by(PROMPT_ID).agg(says.sum().alias(_ANSWERS), (says & scored).sum().alias(_SCORED))


def facts(prompts: pl.DataFrame, answered: pl.DataFrame, pairs: pl.DataFrame, recipe: Recipe) -> dict[str, Any]:
    """How many prompts have no pair, and of how many each reason is true; `answered` is what `counted` returns."""
    left = prompts.select(PROMPT_ID).join(pairs.select(PROMPT_ID), on=PROMPT_ID, how="anti")
    left = left.join(answered, on=PROMPT_ID, how="left").with_columns(pl.col(_ANSWERS, _SCORED).fill_null(0))
    named = left.select(pl.Series(WHY, _by_score_alone(left[PROMPT_ID], recipe)), _ANSWERS, _SCORED)
    why = pl.lit("a rung has no answer to them" if recipe.pair.control != "tied" else "no rung answered them twice")
    if asked := _by(recipe):
        alike = pl.lit("their candidates' scores are not far enough apart" + _weak(asked))
        unscored = pl.lit(f"fewer than two of their answers have a score by {asked.by}")
        by_score = pl.when(pl.col(_SCORED) < 2).then(unscored).otherwise(alike)
        by_score = pl.when(pl.col(_ANSWERS) < 2).then(pl.lit("they have fewer than two answers")).otherwise(by_score)
        why = pl.when(pl.col(WHY)).then(by_score).otherwise(why)
    found = named.group_by(why.alias(WHY)).len().sort("len", WHY, descending=[True, False])
    return {COUNT: left.height, WHY: dict(found.iter_rows())}


def _weak(asked: ByScore) -> str:
    return f", or too few of them are of {', '.join(asked.weak.rungs)}" if asked.weak else ""


def _by(recipe: Recipe) -> ByScore | Also | None:
    """How pairs are made by score, if some prompts have no others."""
    if isinstance(recipe.pair.pairings, ByScore):
        return recipe.pair.pairings
    return recipe.pair.also if recipe.pair.also and recipe.pair.also.exclusive else None


def _by_score_alone(prompts: pl.Series, recipe: Recipe) -> pl.Series:
    """Whether each prompt has pairs by score and no others."""
    asked = _by(recipe)
    if isinstance(asked, Also):
        return mixed.takes_part(prompts, asked, recipe.seed)
    return pl.repeat(asked is not None, prompts.len(), dtype=pl.Boolean, eager=True)


def said(facts: Mapping[str, Any]) -> str:
    """The reasons, with their counts where there are several; of pairs that an older version made they are unknown."""
    found = facts.get(WHY)
    if not found:
        return "why was not counted when the pairs were made"
    return next(iter(found)) if len(found) == 1 else "; ".join(f"{why} ({n:,})" for why, n in found.items())
