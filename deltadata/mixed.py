"""Two kinds of pairs in one table, by the order of the rungs and by score: which is which, and where they contradict.

    pair: {pairings: ends, also: {by: gpt4, share: 0.5, exclusive: true}}

OLMo 3's best mix had both. A pair that both ways find stands once; where they disagree on the same two responses there
are two rows, each the other with its sides swapped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from deltadata import tables
from deltadata.pair_sections import Also
from deltadata.tables import BY_BOTH, BY_ORDER, BY_SCORE, MODEL, PAIR_KEY, PREFERENCE_TYPE, PROMPT_ID, SAMPLE, SIDES, of

CONTRADICTED = "is_contradicted"  # a working column, never written
_FOUND = "found_by"
_TURNED = dict(zip(PAIR_KEY, [PROMPT_ID, *(of(s, c) for s in SIDES[::-1] for c in (MODEL, SAMPLE))], strict=True))


def takes_part(prompt_ids: pl.Series, asked: Also, seed: int) -> pl.Series:
    """Whether each prompt is of the share that gets pairs by score.

    A draw belongs to a prompt: neither another prompt nor a larger share takes one away.
    """
    bound = int(asked.share * 2**63)
    distinct = prompt_ids.unique()
    ours = [tables.rank(seed, "also", one) < bound for one in distinct]
    return prompt_ids.is_in(distinct.filter(pl.Series(ours, dtype=pl.Boolean)).implode())


def together(by_order: Sequence[pl.DataFrame], by_score: pl.DataFrame) -> list[pl.DataFrame]:
    """All frames of pairs with their preference_type; a pair that both ways find stands once, as one by order."""
    by_score = by_score.with_columns(pl.lit(BY_SCORE).alias(PREFERENCE_TYPE))
    told, alone = [], by_score
    for pairs in by_order:
        kind = pl.when(_among(pairs, by_score).is_null()).then(pl.lit(BY_ORDER)).otherwise(pl.lit(BY_BOTH))
        told.append(pairs.with_columns(kind.alias(PREFERENCE_TYPE)))
        alone = alone.filter(_among(alone, told[-1]).is_null())
    return [*told, alone]


def contradicted(pairs: pl.DataFrame) -> pl.Series:
    """Whether the other way finds each pair's reverse: the same two responses, the other one chosen.

    Two pairings of the recipe that turn each other round are what was asked for: among pairs by order there are none.
    """
    reverse = _among(pairs, pairs, turned=True)
    asked_for = (reverse == BY_ORDER) & (pairs[PREFERENCE_TYPE] == BY_ORDER)
    return (reverse.is_not_null() & ~asked_for.fill_null(False)).alias(CONTRADICTED)


def _among(pairs: pl.DataFrame, others: pl.DataFrame, turned: bool = False) -> pl.Series:
    """The type of the one of `others` that each pair is, or with `turned` whose reverse it is; null: there is none."""
    theirs = others.select(*PAIR_KEY, pl.col(PREFERENCE_TYPE).alias(_FOUND)).with_columns(tables.id_number())
    mine = pairs.select(PAIR_KEY).with_columns(tables.id_number())
    theirs = theirs.rename(_TURNED) if turned else theirs
    return mine.join(theirs, on=PAIR_KEY, how="left", maintain_order="left")[_FOUND]


def by_score(pairs: pl.DataFrame) -> pl.Series:
    """Whether each pair is one by score alone: of those that say nothing of the order. None is where all are alike."""
    if PREFERENCE_TYPE not in pairs.columns:
        return pl.repeat(False, pairs.height, dtype=pl.Boolean, eager=True)
    return pairs[PREFERENCE_TYPE].cast(pl.String) == BY_SCORE


def of_pairing(pairing: Mapping[str, Any]) -> pl.Expr:
    """Which pairs are those of a pairing of the report."""
    sides = [pl.col(of(side, MODEL)) == pairing[side] for side in SIDES]
    if kind := pairing.get(PREFERENCE_TYPE):
        sides.append((pl.col(PREFERENCE_TYPE) == BY_SCORE) == (kind == BY_SCORE))
    return pl.all_horizontal(sides)


def facts(pairs: pl.DataFrame) -> dict[str, Any]:
    """How many pairs there are of each type, and how many contradictions (of two pairs each)."""
    counts = dict(pairs[PREFERENCE_TYPE].value_counts().iter_rows())
    return {
        "preference_types": {kind: counts.get(kind, 0) for kind in (BY_ORDER, BY_SCORE, BY_BOTH)},
        "contradictions": int(pairs[CONTRADICTED].sum()) // 2,
    }


def said(told: dict[str, Any], ruled: bool) -> str:
    """The facts in a line; `ruled`: a rule of the recipe sees to the contradictions."""
    kinds, count = told["preference_types"], told["contradictions"]
    text = f"{kinds[BY_ORDER]} pair(s) by order, {kinds[BY_SCORE]} by score, {kinds[BY_BOTH]} by both"
    text += f"; {count} contradiction(s), where both ways find the same two responses and choose another one"
    return text + (": both pairs are there, since no rule not_contradicted drops them" if count and not ruled else "")
