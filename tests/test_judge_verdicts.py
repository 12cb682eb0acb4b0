"""Verdicts become scores, and bias, flips, ties, consistency and cost are what they come to by hand.

pytest tests/test_judge_verdicts.py
"""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from deltadata import verdicts
from deltadata.scorer_sections import Judge

FIRST, TIE, SECOND, NONE = 1.0, 0.5, 0.0, None


def responses(*rows: tuple[str, str, int, int]) -> pl.DataFrame:
    """Rows of prompt, rung, sample and the text's hash; where they lie is their place here."""
    columns = ["prompt_id", "model", "sample", "text_hash"]
    kinds = {"sample": pl.UInt32, "text_hash": pl.UInt64}
    found = pl.DataFrame(rows, schema=columns, schema_overrides=kinds, orient="row")
    return found.with_row_index("response_row").with_columns(pl.lit(0).alias("prompt_row"))


def shown(rows: pl.DataFrame) -> list[tuple[Any, ...]]:
    return rows.select("prompt_id", "model", "sample", "other_model", "other_sample", "draw").rows()


def judged(*rows: tuple[str, str, str | None, int, float | None]) -> pl.DataFrame:
    """Judgements of prompt, rung shown first, the other rung, draw, and what was said; each has its own key."""
    columns = ["prompt_id", "model", "other_model", "draw", "said"]
    found = pl.DataFrame(rows, schema=columns, schema_overrides={"draw": pl.UInt32, "said": pl.Float64}, orient="row")
    number = pl.int_range(pl.len()).cast(pl.String)
    other = pl.when(pl.col("other_model").is_not_null()).then(pl.lit(0, pl.UInt32))
    return found.with_columns(
        number.alias("key"),
        pl.lit(0, pl.UInt32).alias("sample"),
        other.alias("other_sample"),
        pl.lit(100).alias("prompt_tokens"),
        pl.when(pl.col("said").is_not_null()).then(10).alias("response_tokens"),
    )


def told(found: pl.DataFrame, **fields: Any) -> dict[str, Any]:
    asked = Judge.model_validate({"name": "j", "scorer": "judge", "model": "m"} | fields)
    return verdicts.told(found, asked, 0)


def by_rung(found: pl.DataFrame) -> dict[tuple[str, str], float | None]:
    return {(row[0], row[1]): row[3] for row in found.iter_rows()}


def test_each_response_is_rated_by_itself_as_often_as_it_is_drawn() -> None:
    """One row per response and draw, nothing beside it."""
    rows = verdicts.requests(responses(("p", "a", 0, 1), ("p", "b", 0, 1)), None, 2)
    expected = [("p", "a", 0, None, None, 0), ("p", "a", 0, None, None, 1)]
    assert shown(rows) == [*expected, *[("p", "b", *row[2:]) for row in expected]]
    assert rows["text_hash"].to_list() == [1] * 4
    assert rows["other_text_hash"].to_list() == [None] * 4


def test_two_responses_of_one_sample_meet_in_both_orders() -> None:
    """Both orders one after the other; no meeting across prompts or samples, of equal texts, or of rungs not named."""
    have = responses(
        ("p", "a", 0, 1), ("p", "a", 1, 2), ("q", "a", 0, 3), ("r", "a", 0, 4),
        ("p", "b", 0, 5), ("p", "b", 1, 2), ("q", "b", 0, 6),
        ("p", "c", 0, 7), ("r", "c", 0, 8),
    )  # fmt: skip
    rows = verdicts.requests(have, [["b", "a"], ["b", "c"]], 1)
    meetings = [("p", "b", "a"), ("q", "b", "a"), ("p", "b", "c")]
    expected = [[(p, x, 0, y, 0, 0), (p, y, 0, x, 0, 0)] for p, x, y in meetings]
    assert shown(rows) == [row for both in expected for row in both]
    assert rows.select("response_row", "other_row").rows()[:2] == [(4, 0), (0, 4)]
    assert rows.select("text_hash", "other_text_hash").rows()[:2] == [(5, 1), (1, 5)]


def test_a_rung_that_meets_itself_has_its_samples_compared_two_by_two() -> None:
    """Samples 0 and 1, 2 and 3; a last one without its neighbour meets nobody."""
    have = responses(*[("p", "a", sample, sample) for sample in range(5)])
    rows = verdicts.requests(have, [["a", "a"]], 1)
    assert [(row[2], row[4]) for row in shown(rows)] == [(0, 1), (1, 0), (2, 3), (3, 2)]


def test_a_rating_is_the_mean_of_the_draws_that_have_one() -> None:
    """A draw without verdict counts for nothing, and a response without any has no score."""
    found = judged(
        *[("p", "a", None, draw, said) for draw, said in enumerate([7.5, 8.5, None])],
        *[("p", "b", None, draw, None) for draw in range(3)],
        *[("q", "a", None, draw, said) for draw, said in enumerate([1.0, None, None])],
    )
    assert by_rung(verdicts.scores(found, False)) == {("p", "a"): 8.0, ("p", "b"): None, ("q", "a"): 1.0}


@pytest.mark.parametrize(
    ("a_first", "b_first", "points"),
    [
        (FIRST, SECOND, 1.0),
        (SECOND, FIRST, 0.0),
        (FIRST, FIRST, 0.5),  # a flip
        (SECOND, SECOND, 0.5),
        (TIE, TIE, 0.5),
        (FIRST, TIE, 0.75),
        (TIE, FIRST, 0.25),
        (FIRST, NONE, None),
        (NONE, SECOND, None),
    ],
)
def test_the_points_of_a_comparison(a_first: float | None, b_first: float | None, points: float | None) -> None:
    """Both orders count alike, one alone counts for nothing, and the two responses share one point."""
    found = judged(("p", "a", "b", 0, a_first), ("p", "b", "a", 0, b_first))
    other = None if points is None else 1 - points
    assert by_rung(verdicts.scores(found, True)) == {("p", "a"): points, ("p", "b"): other}


def test_a_score_is_the_mean_over_comparisons_not_over_draws() -> None:
    """a beats b in one draw and loses none that has both orders; it ties with c in both: (1 + 0.5) / 2."""
    found = judged(
        ("p", "a", "b", 0, FIRST), ("p", "b", "a", 0, SECOND),
        ("p", "a", "b", 1, SECOND), ("p", "b", "a", 1, NONE),
        ("p", "a", "c", 0, TIE), ("p", "c", "a", 0, TIE),
        ("p", "a", "c", 1, TIE), ("p", "c", "a", 1, TIE),
    )  # fmt: skip
    assert by_rung(verdicts.scores(found, True)) == {("p", "a"): 0.75, ("p", "b"): 0.0, ("p", "c"): 0.5}


def test_bias_flips_and_ties_by_hand() -> None:
    """Of six verdicts in both orders that are no tie four prefer the first; one of four comparisons contradicts itself.

    The verdict without the other order counts among the ties' nine alone.
    """
    found = judged(
        ("p", "a", "b", 0, FIRST), ("p", "b", "a", 0, FIRST),  # the flip
        ("q", "a", "b", 0, FIRST), ("q", "b", "a", 0, SECOND),
        ("r", "a", "b", 0, FIRST), ("r", "b", "a", 0, TIE),
        ("s", "a", "b", 0, TIE), ("s", "b", "a", 0, SECOND),
        ("t", "a", "b", 0, SECOND), ("t", "b", "a", 0, NONE),
    )  # fmt: skip
    facts = told(found, form="pairwise")
    assert facts["position_bias"] == pytest.approx(4 / 6 - 0.5)
    low, high = facts["position_bias_ci95"]
    assert -0.5 <= low < facts["position_bias"] < high <= 0.5
    assert (facts["flips"], facts["ties"]) == (1 / 4, 2 / 9)
    assert (facts["requests"], facts["judged"]) == (10, 9)
    assert facts["self_consistency"] is None and facts["scale"] is None


def test_a_judgement_of_equal_texts_counts_once() -> None:
    """Two responses with one text share their key, so their verdict is one verdict of the judge, and paid for once."""
    flip = [("p", x, y, 0, FIRST) for x, y in (("a", "b"), ("b", "a"), ("c", "b"), ("b", "c"))]
    found = judged(*flip, ("q", "a", "b", 0, FIRST), ("q", "b", "a", 0, SECOND))
    facts = told(found.with_columns(pl.Series("key", ["k", "m", "k", "m", "x", "y"])), form="pairwise")
    assert (facts["requests"], facts["judged"], facts["prompt_tokens"], facts["response_tokens"]) == (4, 4, 400, 40)
    assert (facts["position_bias"], facts["flips"]) == (0.25, 0.5)


def test_how_consistent_draws_are() -> None:
    """Rating: the mean standard deviation within a response; pairwise: the share of draws that say what most do."""
    rated = judged(
        *[("p", "a", None, draw, said) for draw, said in enumerate([6.0, 8.0])],  # standard deviation sqrt(2)
        *[("p", "b", None, draw, said) for draw, said in enumerate([5.0, 5.0])],
        *[("p", "c", None, draw, said) for draw, said in enumerate([9.0, None])],  # one draw says nothing of spread
    )
    assert told(rated)["self_consistency"] == pytest.approx(2**0.5 / 2)
    drawn = judged(
        *[("p", "a", "b", draw, said) for draw, said in enumerate([FIRST, FIRST, TIE])],
        *[("p", "b", "a", draw, said) for draw, said in enumerate([SECOND, FIRST, None])],
    )
    assert told(drawn, form="pairwise")["self_consistency"] == 3 / 5


def test_what_judging_cost() -> None:
    """Tokens of all replies, and dollars where a price is known; replies that nobody counted are told."""
    found = judged(("p", "a", None, 0, 7.0), ("p", "b", None, 0, None), ("p", "c", None, 0, 3.0))
    facts = told(found, price={"prompt": 2.0, "response": 30.0})
    assert (facts["prompt_tokens"], facts["response_tokens"], facts["uncounted"]) == (300, 20, 0)
    assert facts["cost"] == pytest.approx((300 * 2 + 20 * 30) / 1e6)
    silent = found.with_columns(pl.lit(None, pl.UInt32).alias("response_tokens"))
    assert (told(silent)["uncounted"], told(silent)["cost"], told(silent)["response_tokens"]) == (2, None, 0)


def test_a_judge_that_said_nothing_gives_no_number() -> None:
    """Every figure is None, none is a guess."""
    facts = told(judged(("p", "a", "b", 0, NONE), ("p", "b", "a", 0, NONE)), form="pairwise")
    for name in ("position_bias", "position_bias_ci95", "flips", "self_consistency"):
        assert facts[name] is None, name
    assert (facts["judged"], facts["ties"]) == (0, None)
    assert told(judged(("p", "a", None, 0, NONE)))["self_consistency"] is None
