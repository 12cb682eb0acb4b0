"""The rules a pair must fulfil to be kept: one function each, named as in the recipe.

    filter: {rules: [finished, {max_length_delta: 100}, {no_refusal: chosen}, {top: {measure: tokens, share: 0.5}}]}

A rule returns an expression over one pair, or a Choose over all pairs that are left. To add one, write the function and
name it in RULES; its parameters, by name and type, are what the recipe may give. Two rules always hold, named or not:
a kept pair's texts differ, and neither is empty.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable
from typing import Literal, NamedTuple

import polars as pl

from deltadata import measure as measures
from deltadata.asked import TOKENS as BY_TOKENS
from deltadata.asked import Measure, Part, Share, Size
from deltadata.mixed import CONTRADICTED
from deltadata.pair import EMPTY, SAME_TEXT
from deltadata.tables import (
    BY_ORDER,
    FINISH,
    PREFERENCE_TYPE,
    PROMPT_TOKENS,
    SIDES,
    SOFT_LABEL,
    TOKENS,
    measured,
    of,
)

Side = Literal["both", "chosen", "rejected"]
Length = Literal["tokens", "characters"]
Kept = Literal["neither", "order", "score"]
Group = Literal["pool", "chosen_model", "rejected_model"]
BINS = 20  # of the size of the length delta, equal in pairs, within which length_match evens out the sides


class Choose(NamedTuple):
    """A rule over all pairs that are left: these columns (none null) and a draw for each pair give yes or no."""

    columns: tuple[str, ...]
    choose: Callable[[pl.DataFrame, pl.Series], pl.Series]
    empties: str = ""
    """when it leaves nothing"""


Keeps = pl.Expr | Choose


def _each(side: Side, holds: Callable[[str], pl.Expr]) -> pl.Expr:
    """What holds for one side, or for both."""
    return pl.all_horizontal(holds(name) for name in (SIDES if side == "both" else (side,)))


def _text(side: str, what: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """A measure of one side's text."""
    return pl.col(of(side, what.__name__))


def not_empty() -> pl.Expr:
    """Neither response is empty or white space."""
    return _each("both", lambda side: ~pl.col(of(side, EMPTY)))


def texts_differ() -> pl.Expr:
    """The two responses are not the same text."""
    return ~pl.col(SAME_TEXT)


def finished(side: Side = "both") -> pl.Expr:
    """The response ended by itself (finish_reason stop), not at max_tokens."""
    return _each(side, lambda name: pl.col(of(name, FINISH)) == "stop")


def fits(max_tokens: Size, side: Side = "both") -> pl.Expr:
    """Prompt and response together have at most so many tokens, as the rung's engine counted them."""
    return _each(side, lambda name: pl.col(of(name, PROMPT_TOKENS)) + pl.col(of(name, TOKENS)) <= max_tokens)


def min_length(at_least: Size, measure: Length = "tokens", side: Side = "both") -> pl.Expr:
    """The response has at least so many tokens, or characters."""
    return _each(side, lambda name: pl.col(of(name, measure)) >= at_least)


def max_length(at_most: Size, measure: Length = "tokens", side: Side = "both") -> pl.Expr:
    """The response has at most so many tokens, or characters."""
    return _each(side, lambda name: pl.col(of(name, measure)) <= at_most)


def max_length_delta(at_most: Size, measure: Measure = BY_TOKENS) -> pl.Expr:
    """|length(chosen) - length(rejected)| <= at_most, in tokens or another measure (OLMo 3 uses 100 tokens)."""
    return pl.col(measured(measure)).abs() <= at_most


def min_delta(at_least: float, measure: Measure) -> pl.Expr:
    """The measure's delta is at least this."""
    return pl.col(measured(measure)) >= at_least


def max_delta(at_most: float, measure: Measure) -> pl.Expr:
    """The measure's delta is at most this."""
    return pl.col(measured(measure)) <= at_most


def min_soft_label(at_least: Part) -> pl.Expr:
    """At least this share of the scorers under `pair.soft_label` prefers the chosen side, a tie counting half."""
    return pl.col(SOFT_LABEL) >= at_least


def not_contradicted(keep: Kept = "neither") -> pl.Expr:
    """Order and score do not contradict each other on these two responses; or of the two pairs this one's is kept.

    What contradicts is settled over all pairs, so that no other rule and no order of rules has a say in it.
    """
    by_order = pl.col(PREFERENCE_TYPE) == BY_ORDER
    if keep == "neither":
        return ~pl.col(CONTRADICTED)
    return ~pl.col(CONTRADICTED) | (by_order if keep == "order" else ~by_order)


def max_repetition(at_most: Part, side: Side = "both") -> pl.Expr:
    """At most this share of the response repeats itself."""
    return _each(side, lambda name: _text(name, measures.repetition) <= at_most)


def no_refusal(side: Side = "both") -> pl.Expr:
    """The response does not refuse."""
    return _each(side, lambda name: _text(name, measures.refusal) == 0)


def no_identity(side: Side = "both") -> pl.Expr:
    """The response does not say which model it is or who made it (OLMo 3 drops these on the chosen side)."""
    return _each(side, lambda name: _text(name, measures.identity) == 0)


def no_date_cutoff(side: Side = "both") -> pl.Expr:
    """The response does not speak of where its training data ends."""
    return _each(side, lambda name: _text(name, measures.date_cutoff) == 0)


def max_non_latin(at_most: Part, side: Side = "both") -> pl.Expr:
    """At most this share of the response's letters is of another script than Latin."""
    return _each(side, lambda name: _text(name, measures.non_latin) <= at_most)


def top(measure: Measure, share: Share) -> Choose:
    """This share of the pairs that are left, those of the highest delta; draws decide among equals."""
    column = measured(measure)

    def choose(left: pl.DataFrame, draw: pl.Series) -> pl.Series:
        wanted = math.ceil(round(share * left.height, 6))
        order = left.select(pl.arg_sort_by([pl.col(column), draw], descending=[True, False])).to_series()
        return pl.int_range(left.height, eager=True).is_in(order.head(wanted).implode())

    return Choose((column,), choose)


def balance(by: Group, max_share: Share) -> Choose:
    """No group has more than this share of what is kept (OLMo 3 held one pool to 35 %); draws decide whom it keeps.

    As many pairs as can be are kept. With fewer groups than the share allows for, none are: 0.35 wants three groups.
    """

    def choose(left: pl.DataFrame, draw: pl.Series) -> pl.Series:
        counts = left[by].unique_counts().to_list()
        # The share of the largest group grows with the cap.
        cap = bisect(range(1, max(counts, default=0) + 1), False, key=lambda cap: not _held(cap, counts, max_share))
        place = pl.col("draw").rank("ordinal").over(by)
        return left.select(by, draw=draw).select(place <= cap).to_series()

    fewest = math.ceil(round(1 / max_share, 6))
    return Choose((by,), choose, f"with fewer than {fewest} values of {by} none can be kept at a share of {max_share}")


def _held(cap: int, counts: list[int], max_share: float) -> bool:
    """Whether no group is above its share when each gives `cap` pairs at most."""
    given = [min(count, cap) for count in counts]
    return max(given) <= max_share * sum(given) * (1 + 1e-12)


def length_match(measure: Measure = BY_TOKENS) -> Choose:
    """The chosen side is longer as often as it is shorter, in each of 20 bins of |length delta|.

    Whatever stands against nothing of its size goes; as many pairs stay as these bins allow, drawn by the seed. What
    is left to learn from length is next to nothing, where a limit on the delta alone leaves its sign.
    """
    column = measured(measure)

    def choose(left: pl.DataFrame, draw: pl.Series) -> pl.Series:
        length = left[column]
        bins = ((length.abs().rank("max") - 1) * BINS // max(left.height, 1)).cast(pl.Int64)
        facts = pl.DataFrame({"bin": bins, "sign": length.sign().cast(pl.Int8), "draw": draw})
        fewer = pl.min_horizontal(*((pl.col("sign") == sign).sum().over("bin") for sign in (1, -1)))
        place = pl.col("draw").rank("ordinal").over("bin", "sign")
        return facts.select((pl.col("sign") == 0) | (place <= fewer)).to_series()

    return Choose((column,), choose)


RULES: dict[str, Callable[..., Keeps]] = {
    rule.__name__: rule
    for rule in (
        *(not_empty, texts_differ, finished, fits, min_length, max_length, max_length_delta, min_delta, max_delta),
        *(min_soft_label, not_contradicted),
        *(max_repetition, no_refusal, no_identity, no_date_cutoff, max_non_latin, top, balance, length_match),
    )
}
ALWAYS = (not_empty.__name__, texts_differ.__name__)
