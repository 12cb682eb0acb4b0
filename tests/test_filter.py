"""Every dropped pair has the name of the first rule it breaks; what is unknown does not pass.

pytest tests/test_filter.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ladder import LADDER, PAIR, PROMPTS, RUNGS, Response, numbers, recipe, write_parts

from deltadata import filter, pair
from deltadata.errors import UserError
from deltadata.tables import DROPPED_BY

# A pair that every rule lets pass.
LONGER = {"chosen_tokens": 12, "rejected_tokens": 7}
GOOD: dict[str, Any] = PAIR | LONGER | {"delta_tokens": 5.0, "delta_characters": 20.0, "delta_response_ratio": 1.0}
KINDS = {name: pl.Float64 for name in GOOD if name.startswith("delta_")} | {
    name: pl.UInt32 for name in GOOD if name.endswith(("tokens", "sample")) and not name.startswith("delta_")
}


def verdict(rules: list[Any], *changes: dict[str, Any], where: str | None = None) -> list[str | None]:
    """The reason of each pair that differs from the good one by `changes`."""
    frame = pl.DataFrame([GOOD | change for change in changes], schema_overrides=KINDS)
    return filter.dropped_by(frame, asked(rules, where)).to_list()


def asked(rules: list[Any], where: str | None = None) -> list[filter.Rule]:
    return filter.rules(recipe(filter={"rules": rules, "where": where}))


def refusal(rules: list[Any], where: str | None = None) -> tuple[str | None, str, str | None]:
    """Where, what and cure of the error that these rules give."""
    with pytest.raises(UserError) as met:
        asked(rules, where)
    return met.value.where, met.value.what, met.value.cure


def test_two_rules_hold_without_being_named() -> None:
    """Equal texts and empty ones are dropped under a recipe with no rule at all; an unknown counts as broken."""
    changes = [{}, {"same_text": True}, {"chosen_is_empty": True}, {"rejected_is_empty": True}]
    unknown: list[dict[str, Any]] = [{"same_text": None}, {"chosen_is_empty": None}]
    expected = [None, "texts_differ", "not_empty", "not_empty", "texts_differ", "not_empty"]
    assert verdict([], *changes, *unknown) == expected


def test_finished_wants_both_sides_to_end_by_themselves() -> None:
    """A side cut off at max_tokens, failed or unknown is dropped."""
    sides = ("chosen_finish_reason", "rejected_finish_reason")
    changes = [{side: reason} for side in sides for reason in ("stop", "length", "error", None)]
    assert verdict(["finished"], *changes) == [None, "finished", "finished", "finished"] * 2
    assert verdict([], *changes) == [None] * 8


def test_max_length_delta_bounds_both_directions() -> None:
    """At the bound is kept, above and below it dropped, an unknown token count dropped."""
    changes = [{"delta_tokens": delta} for delta in (5.0, -5.0, 5.5, -5.5, None, 0.0)]
    dropped = "max_length_delta"
    expected = [None, None, dropped, dropped, dropped, None]
    assert verdict([{"max_length_delta": 5}], *changes) == expected
    assert verdict([{"max_length_delta": {"at_most": 5.0}}], *changes) == expected


def test_max_length_delta_takes_another_measure() -> None:
    """Characters are bounded when the rule names them, whatever the tokens are."""
    changes = [
        {"delta_characters": 100.0},
        {"delta_characters": 101.0},
        {"delta_characters": None},
        {"delta_tokens": None},
    ]
    rule = {"max_length_delta": {"at_most": 100, "measure": "characters"}}
    assert verdict([rule], *changes) == [None, "max_length_delta", "max_length_delta", None]


def test_min_delta_is_a_lower_bound() -> None:
    """At the bound is kept; less, unknown and the other sign are dropped."""
    changes = [{"delta_response_ratio": delta} for delta in (0.5, 0.49, None, -2.0, 7.0)]
    rule = {"min_delta": {"measure": "response_ratio", "at_least": 0.5}}
    assert verdict([rule], *changes) == [None, "min_delta", "min_delta", "min_delta", None]


def test_where_keeps_what_it_is_true_for() -> None:
    """`response_ratio` is chosen / rejected in characters, not its logarithm; an unknown ratio is dropped."""
    changes = [{"delta_response_ratio": delta} for delta in (1.0, 1.5, 1.6, -4.0, None)]
    assert verdict([], *changes, where="response_ratio < 3") == [None, None, "where", None, "where"]


def test_a_ratio_at_the_bound_is_at_the_bound(tmp_path: Path) -> None:
    """300 characters over 100 are a ratio of 3, not of a little less, whatever the logarithms were rounded to."""
    sides = {
        "strong": [longer * times for longer in (5, 6, 3, 15) for times in (1, 7, 100, 333)],
        "frail": [shorter * times for shorter in (4, 2, 1, 5) for times in (1, 7, 100, 333)],
    }
    rows = [Response("a", rung, i, "x" * size) for rung, sizes in sides.items() for i, size in enumerate(sizes)]
    pairs = pair.pair(numbers(write_parts(tmp_path, rows), 16), recipe(["strong", "frail"], samples=16))
    kept = {
        sql: filter.dropped_by(pairs, asked([], f"response_ratio {sql}")).is_null().to_list()
        for sql in ("< 3", "<= 3", "= 3", "= 1.25")
    }
    exactly_three = [False] * 4 + [True] * 12
    assert kept["= 3"] == exactly_three
    assert kept["= 1.25"] == kept["< 3"] == [not three for three in exactly_three]
    assert kept["<= 3"] == [True] * 16


def test_where_speaks_of_any_column_but_the_texts() -> None:
    """Boolean SQL over models, tokens, pools and deltas; null is not true."""
    changes = [{}, {"chosen_model": "middle"}, {"chosen_tokens": 3}, {"chosen_tokens": None}, {"pool": "other"}]
    sql = "chosen_model = 'strong' AND NOT (chosen_tokens < rejected_tokens OR pool LIKE 'o%r')"
    assert verdict([], *changes, where=sql) == [None, "where", "where", "where", "where"]
    assert verdict([], *changes, where="chosen_tokens IS NULL") == ["where", "where", "where", None, "where"]


def test_the_first_rule_in_the_order_of_the_recipe_gives_the_reason() -> None:
    """Rules that always hold come first unless the recipe gives them a place; `where` comes last."""
    bad = {"same_text": True, "rejected_finish_reason": "length", "delta_tokens": 200.0}
    assert verdict([{"max_length_delta": 5}, "finished"], bad, where="pool = 'x'") == ["texts_differ"]
    assert verdict([{"max_length_delta": 5}, "finished", "texts_differ"], bad) == ["max_length_delta"]
    assert verdict(["finished", {"max_length_delta": 5}, "texts_differ"], bad) == ["finished"]
    assert verdict(["finished"], bad | {"same_text": False}, where="pool = 'x'") == ["finished"]
    assert verdict([], bad | {"same_text": False}, where="pool = 'x'") == ["where"]


def test_rules_are_listed_once_and_in_order() -> None:
    """The funnel's order: what always holds, what the recipe names, `where`."""
    listed = [rule.name for rule in asked(["finished", "not_empty", {"min_delta": GOOD_MIN}], "response_ratio < 3")]
    assert listed == ["texts_differ", "finished", "not_empty", "min_delta", "where"]


GOOD_MIN = {"measure": "tokens", "at_least": 0}


def test_the_funnel_counts_every_rule() -> None:
    """One count per rule in order, zeros included; the counts and the kept pairs make up all pairs."""
    changes: list[dict[str, Any]] = [{}, {}, {"same_text": True}, {"delta_tokens": None}, {"delta_tokens": 9.0}]
    rules = asked(["finished", {"max_length_delta": 5}], "pool = 'own'")
    frame = pl.DataFrame([GOOD | change for change in changes], schema_overrides=KINDS)
    counted = filter.funnel(filter.dropped_by(frame, rules), rules)
    expected = [("not_empty", 0), ("texts_differ", 1), ("finished", 0), ("max_length_delta", 2), ("where", 0)]
    assert list(counted.items()) == expected


def test_no_pairs_are_no_drops() -> None:
    """A ladder without pairs has an empty column of reasons and a funnel of zeros."""
    rules = asked(["finished"], "chosen_tokens > 3")
    dropped = filter.dropped_by(pl.DataFrame([GOOD], schema_overrides=KINDS).clear(), rules)
    assert dropped.to_list() == []
    assert filter.funnel(dropped, rules) == {"not_empty": 0, "texts_differ": 0, "finished": 0, "where": 0}


def test_a_hand_written_ladder_is_filtered_literally(tmp_path: Path) -> None:
    """All pairs of the ladder in order, each with its reason."""
    pairs = pair.pair(numbers(write_parts(tmp_path, LADDER)), recipe(pair={"pairings": "all"}))
    rules = asked([{"max_length_delta": 5}, "finished"], "response_ratio >= 1")
    expected = [
        None,  # a: aaaa over aa
        "max_length_delta",  # a, second samples: six tokens
        "texts_differ",  # d: twice the same
        "where",  # b: bb over bbbb
        None,  # a: aaaa over a
        "not_empty",  # d: over nothing
        None,  # a: aa over a
        "max_length_delta",  # c: nobody counted the tokens
        "not_empty",  # d: over nothing
    ]
    assert filter.dropped_by(pairs, rules).to_list() == expected


# What a recipe can get wrong: rules, and the place, the words and the cure of the refusal.
MISTAKES: list[tuple[Any, str, str, str]] = [
    ("finishd", "filter.rules[1]", "no rule is called 'finishd'", "did you mean 'finished'?"),
    ("xyz", "filter.rules[1]", "no rule is called 'xyz'", "known are: not_empty, texts_differ, finished"),
    ({"max_len_delta": 5}, "filter.rules[1]", "no rule is called 'max_len_delta'", "did you mean 'max_length_delta'?"),
    ({"min_delta": {"at_most": 1}}, "filter.rules[1]", "min_delta takes no 'at_most'", "did you mean 'at_least'?"),
    ({"finished": True}, "filter.rules[1]", "finished: side is one of both, chosen, rejected", "name one of them"),
    ({"min_delta": 0.5}, "filter.rules[1]", "min_delta needs measure", "{min_delta: {measure: …}}"),
    ("max_length_delta", "filter.rules[1]", "max_length_delta needs at_most", "{max_length_delta: {at_most: …}}"),
    ({"max_length_delta": "100"}, "filter.rules[1]", "at_most is a number, not '100'", "mend it"),
    ({"max_length_delta": True}, "filter.rules[1]", "at_most is a number, not True", "mend it"),
    ({"max_length_delta": None}, "filter.rules[1]", "at_most is a number, not None", "mend it"),
    ({"min_delta": {"measure": 3, "at_least": 0}}, "filter.rules[1]", "measure is a text, not 3", "mend it"),
    (
        {"min_delta": {"measure": "token", "at_least": 0}},
        "filter.rules[1]",
        "no measure is called 'token'; did you mean 'tokens'?",
        "name a measure",
    ),
    ({"finished": {}, "not_empty": {}}, "filter.rules[1]", "is not one rule", "write `- rule` or `- {rule: value}`"),
    ({}, "filter.rules[1]", "{} is not one rule", "write `- rule` or `- {rule: value}`"),
]


@pytest.mark.parametrize(("rule", "where", "what", "cure"), MISTAKES, ids=[str(mistake[0]) for mistake in MISTAKES])
def test_a_mistaken_rule_is_refused_with_its_cure(rule: Any, where: str, what: str, cure: str) -> None:
    """Unknown rules, parameters and measures, missing and mistyped values say where they stand and how to mend them."""
    said = refusal(["finished", rule])
    assert said[0] == where
    assert what in said[1]
    assert str(said[2]).startswith(cure)


ODD_SQL = [
    ("chosen_tokns < 3", "no column is called 'chosen_tokns'", "did you mean 'chosen_tokens'?"),
    ("chosen = 'yes'", "no column is called 'chosen'", "did you mean 'chosen_code'?"),
    ('chosen_model = "strong"', "no column is called 'strong'", "text goes in single quotes: 'strong'"),
    ('"chosen_tokns" < 3', "no column is called 'chosen_tokns'", "text goes in single quotes: 'chosen_tokns'; did you"),
    ("dropped_by IS NULL", "no column is called 'dropped_by'", "known are: prompt_id"),
    ("chosen_is_empty", "no column is called 'chosen_is_empty'", "did you mean"),
    ("select 1", "not an SQL expression", "e.g."),
    ("select * from pairs", "not an SQL expression", "e.g."),
    ("chosen_tokens > 1; select 1", "not an SQL expression", "e.g."),
    ("read_csv('/etc/passwd')", "not an SQL expression: unsupported function 'read_csv'", "e.g."),
    ("read_parquet('pairs.parquet')", "not an SQL expression: unsupported function 'read_parquet'", "e.g."),
    ("chosen_tokens <", "not an SQL expression", "e.g."),
    ("*", "not an SQL expression", "e.g."),
    ("exists (select 1)", "a sub-query is no expression", "compare columns"),
    ("(select 1)", "a sub-query is no expression", "compare columns"),
    ("chosen_tokens IN (select 1)", "a sub-query is no expression", "compare columns"),
    ("COLUMNS('x')", "several columns at once", "name each column"),
    ("COLUMNS('delta') > 1", "several columns at once", "name each column"),
    ("pool = 'x' AND " * 200 + "TRUE", "an expression of 3,004 characters", "2,000 at most"),
    ("chosen_tokens", "cannot be decided: it gives a number", "give a yes-or-no expression"),
    ("response_ratio", "cannot be decided", "give a yes-or-no expression"),
    ("chosen_model", "cannot be decided: it gives text", "give a yes-or-no expression"),
    ("delta_tokens + 1", "cannot be decided", "give a yes-or-no expression"),
    ("1", "cannot be decided", "give a yes-or-no expression"),
    ("chosen_model > 1", "cannot be decided", "give a yes-or-no expression"),
]


@pytest.mark.parametrize(("sql", "what", "cure"), ODD_SQL)
def test_a_mistaken_where_is_refused_before_any_work(sql: str, what: str, cure: str) -> None:
    """Queries, file functions, sub-queries, unknown columns and what is no yes or no are refused at once."""
    said = refusal([], sql)
    assert said[0] == "filter.where"
    assert said[1].startswith(what)
    assert str(said[2]).startswith(cure)


BEYOND_THE_ROW = [
    *(f"{name}(delta_tokens) > 1" for name in ("SUM", "AVG", "MIN", "MAX", "MEDIAN", "STDDEV", "VARIANCE", "TOTAL")),
    *(f"{name}(pool) = 'x'" for name in ("FIRST", "LAST", "FIRST_VALUE", "STRING_AGG", "UNNEST")),
    *(f"{name} OVER (ORDER BY pool) > 1" for name in ("ROW_NUMBER()", "RANK()", "DENSE_RANK()", "NTILE(2)")),
    *(f"{name} OVER (ORDER BY pool) > 1" for name in ("LAG(delta_tokens)", "LEAD(ROUND(delta_tokens, 1))")),
    *("COUNT(*) > 1", "COUNT(pool) > 1", "COUNT(DISTINCT pool) > 1", "ARRAY_AGG(pool) IS NULL", "ROW_NUMBER() > 1"),
    *("QUANTILE_CONT(delta_tokens, 0.5) > 1", "QUANTILE_DISC(delta_tokens, 0.5) > 1", "'Len' = pool AND COUNT(*) > 1"),
    *("CORR(delta_tokens, chosen_tokens) > 0", "COVAR(delta_tokens, chosen_tokens) > 0"),
    *("delta_tokens > AVG(delta_tokens)", "pool IN ('x') AND SUM(ROUND(delta_tokens, 1)) > 1"),
]


@pytest.mark.parametrize("sql", BEYOND_THE_ROW)
def test_one_pairs_fate_does_not_depend_on_the_others(sql: str) -> None:
    """Aggregates and windows are refused, wherever in the expression they stand."""
    assert refusal([], sql)[:2][1].startswith("an aggregate or a window")


def test_a_text_that_looks_like_an_aggregate_is_text() -> None:
    """Words in quotes are compared, not taken for functions."""
    for word in ("Len", "SUM(x)", '"Agg":', '{"Over":'):
        assert verdict([], {"pool": word}, {}, where=f"pool = '{word}'") == [None, "where"]


def test_integers_go_below_zero() -> None:
    """A difference of token counts or samples is negative where the second is larger, not 4,294,967,291."""
    changes: list[dict[str, Any]] = [{"chosen_tokens": 3, "rejected_tokens": 7}, {}]
    assert verdict([], *changes, where="chosen_tokens - rejected_tokens < 0") == [None, "where"]
    assert verdict([], *changes, where="chosen_sample - 1 < rejected_sample") == [None, None]


@pytest.mark.parametrize("sql", ["CAST(chosen_model AS INT) > 1", "NOT pool"])
def test_a_where_that_fails_on_the_values_is_refused_too(sql: str) -> None:
    """What only the rows show (text that is no number) is the user's mistake as well, not a bug."""
    with pytest.raises(UserError, match="cannot be decided: c") as met:
        verdict([], {}, where=sql)
    assert met.value.where == "filter.where"
    assert "Utf8" not in met.value.what


REASONS = ("not_empty", "texts_differ", "finished", "max_length_delta", "min_delta", "where")
RULES = st.lists(
    st.sampled_from(
        [
            "finished",
            "not_empty",
            "texts_differ",
            {"max_length_delta": 3},
            {"max_length_delta": {"measure": "characters", "at_most": 1}},
            {"min_delta": {"measure": "response_ratio", "at_least": 0}},
        ]
    ),
    unique_by=lambda rule: rule if isinstance(rule, str) else next(iter(rule)),
)
RESPONSES = st.tuples(
    st.sampled_from([None, "", " ", "a", "aa", "bbbbbb"]),
    st.none() | st.integers(0, 9),
    st.sampled_from(["stop", "stop", "length"]),
)
KEYS = [(prompt, rung) for prompt in PROMPTS for rung in RUNGS]


@settings(deadline=None, max_examples=40)
@given(
    drawn=st.lists(RESPONSES, min_size=len(KEYS), max_size=len(KEYS)),
    shape=st.sampled_from(["adjacent", "all", "ends"]),
    control=st.sampled_from(["none", "reversed", "random"]),
    rules=RULES,
    where=st.sampled_from([None, "response_ratio < 3", "chosen_tokens > 2", "TRUE", "NULL"]),
)
def test_kept_and_dropped_make_up_all(drawn: Any, shape: str, control: str, rules: Any, where: str | None) -> None:
    """For any ladder, pairing and rules no pair is lost, and every reason is the first rule that the pair breaks."""
    rows = [Response(*where_it_is, 0, *what) for where_it_is, what in zip(KEYS, drawn, strict=True)]
    asked_for = recipe(pair={"pairings": shape, "control": control}, filter={"rules": rules, "where": where})
    with tempfile.TemporaryDirectory() as folder:
        pairs = pair.pair(numbers(write_parts(Path(folder), rows)), asked_for)
    read = filter.rules(asked_for)
    dropped = filter.dropped_by(pairs, read)
    counts = filter.funnel(dropped, read)
    assert len(dropped) == pairs.height
    assert set(dropped.drop_nulls()) <= {rule.name for rule in read} <= {*REASONS}
    assert sum(counts.values()) + dropped.null_count() == pairs.height
    seen = pairs.with_columns(dropped, response_ratio=2.0 ** pl.col("delta_response_ratio"))
    kept = seen.filter(pl.col(DROPPED_BY).is_null())
    assert not (kept["same_text"] | kept["chosen_is_empty"] | kept["rejected_is_empty"]).any()
    first_broken = [[*counts, None].index(reason) for reason in dropped]
    for place, rule in enumerate(read):
        fulfilled = seen.with_columns(rule.keeps.fill_null(False).alias("fulfilled"))["fulfilled"]
        reached = [(at, yes) for at, yes in zip(first_broken, fulfilled, strict=True) if at >= place]
        assert [at > place for at, _ in reached] == [yes for _, yes in reached]
