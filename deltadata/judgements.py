"""RESPONSES to JUDGEMENTS to scores."""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl

from deltadata import parts
from deltadata.generate import Progress
from deltadata.recipe import Recipe
from deltadata.scorer_sections import Judge
from deltadata.store import Run


class Found(NamedTuple):
    """`scores`: the response's key and SCORE, null where the judge gave none."""

    scores: pl.DataFrame
    facts: dict[str, Any]


def meets(asked: Judge, recipe: Recipe) -> list[list[str]]:
    """The rungs whose responses are compared, two by two; none where each is rated by itself."""
    raise NotImplementedError


def refuse_early(recipe: Recipe, asked: Judge) -> None:
    """What can be known to be wrong before any response exists."""
    raise NotImplementedError


def judge(
    run: Run, recipe: Recipe, asked: Judge, ladder: dict[str, parts.Parts], progress: Progress, retry: bool
) -> Found:
    raise NotImplementedError
