"""Delta measures: what is compared between the two sides of a pair. Always delta = chosen - rejected.

A measure is one function here that returns an expression over RESPONSES rows, one number per response; its name makes
the column `delta_<name>`. To add one, write the function and name it in MEASURES.
"""

from __future__ import annotations

import polars as pl

from deltadata.tables import RESPONSE, RESPONSE_TOKENS


def tokens() -> pl.Expr:
    """Tokens of the response as its engine counted them; null for imported responses without a count."""
    return pl.col(RESPONSE_TOKENS)


def characters() -> pl.Expr:
    """Unicode characters of the response."""
    return pl.col(RESPONSE).str.len_chars()


def response_ratio() -> pl.Expr:
    """log2 of the characters, so that the delta is log2(chosen / rejected) and swapping the sides flips its sign.

    Null for an empty response.
    """
    length = pl.col(RESPONSE).str.len_chars()
    # On a grid of 2**-40, so that the differences are exact: a response of double the length is 1.0, not a hair less.
    return pl.when(length > 0).then((length.log(2) * 2**40).round() / 2**40)


MEASURES = (tokens, characters, response_ratio)
NAMES = [measure.__name__ for measure in MEASURES]


def per_response() -> dict[str, pl.Expr]:
    """Every measure's expression over RESPONSES, by name, as Float64."""
    return {measure.__name__: measure().cast(pl.Float64) for measure in MEASURES}
