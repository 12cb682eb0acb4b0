"""Several scorers' scores to one."""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl

from deltadata.scorer_sections import Combined


class Found(NamedTuple):
    """`scores`: the response's key and SCORE, a row per response that any of the scorers has seen; and the facts."""

    scores: pl.DataFrame
    facts: dict[str, Any]


def combine(asked: Combined, above: list[pl.DataFrame], labels: pl.DataFrame | None, seed: int) -> Found:
    """`above` and `labels` have the response's key and a column named by the scorer, as `score.read` gives them."""
    raise NotImplementedError
