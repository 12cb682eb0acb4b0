"""What each rule keeps, at its bound and beside it; rules over all pairs keep as many as they may, whatever the order.

pytest tests/test_rules.py
"""

from __future__ import annotations

import tempfile
from fractions import Fraction
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ladder import (
    PAIR,
    PROMPTS,
    RUNGS,
    Response,
    do,
    frames,
    key,
    prompts_frame,
    recipe,
    small_run,
    write_parts,
    write_sources,
)
from polars.testing import assert_frame_equal

from deltadata import filter, measure, pair, pair_text, rules, tables
from deltadata.errors import UserError

MEASURES = ["tokens", "characters", "response_ratio"]
# A pair that every rule below lets pass.
GOOD: dict[str, Any] = PAIR | {
    "chosen_prompt_tokens": 5,
    "rejected_prompt_tokens": 5,
    "delta_tokens": 0.0,
    "delta_characters": 0.0,
    "delta_response_ratio": 0.0,
    "chosen_characters": 40.0,
    "rejected_characters": 40.0,
    "soft_label": 1.0,
    "is_contradicted": False,
    **{f"{side}_{name}": 0.0 for side in ("chosen", "rejected") for name in ("repetition", "refusal", "identity")},
    **{f"{side}_{name}": 0.0 for side in ("chosen", "rejected") for name in ("date_cutoff", "non_latin")},
}


def kind(name: str) -> Any:
    if name.endswith(("tokens", "sample")) and not name.startswith("delta_"):
        return pl.UInt32
    if name.endswith(("is_empty", "same_text", "is_contradicted")):
        return pl.Boolean
    return pl.String if isinstance(GOOD[name], str) else pl.Float64


def pairs(*changes: dict[str, Any]) -> pl.DataFrame:
    """Pairs that differ from the good one by these changes, each of a prompt of its own."""
    rows = [GOOD | {"prompt_id": f"{number:016x}"} | change for number, change in enumerate(changes)]
    return pl.DataFrame(rows, schema={name: kind(name) for name in GOOD})


def asked(*given: Any, where: str | None = None, seed: int = 0) -> list[filter.Rule]:
    judge, section = [{"name": "judge", "scores": "judge.csv"}], {"measures": MEASURES}
    section |= {"also": {"by": "judge"}, "soft_label": ["judge"]}  # else there are no such columns
    return filter.rules(recipe(pair=section, score=judge, filter={"rules": [*given], "where": where}, seed=seed))


def judged(frame: pl.DataFrame, found: list[filter.Rule]) -> pl.DataFrame:
    return frame.with_columns(filter.dropped_by(frame, found))


def verdict(rule: Any, *changes: dict[str, Any]) -> list[str | None]:
    """The reason of each of these pairs, under one rule."""
    return judged(pairs(*changes), asked(rule))["dropped_by"].to_list()


# A rule over one pair; what it looks at; values that pass, that do not. Null never passes.
BOTH = ("chosen", "rejected")
ROWS: list[tuple[Any, list[str], list[Any], list[Any]]] = [
    ("not_empty", [f"{side}_is_empty" for side in BOTH], [False], [True]),
    ("texts_differ", ["same_text"], [False], [True]),
    ("finished", [f"{side}_finish_reason" for side in BOTH], ["stop"], ["length", "error"]),
    ({"fits": 15}, [f"{side}_tokens" for side in BOTH], [9, 10], [11]),
    ({"fits": {"max_tokens": 15.0}}, [f"{side}_prompt_tokens" for side in BOTH], [0, 5], [6]),
    ({"min_length": 10}, [f"{side}_tokens" for side in BOTH], [10, 11], [9, 0]),
    ({"min_length": {"at_least": 40, "measure": "characters"}}, [f"{side}_characters" for side in BOTH], [40], [39]),
    ({"max_length": 10}, [f"{side}_tokens" for side in BOTH], [10, 9, 0], [11]),
    ({"max_length": {"at_most": 40, "measure": "characters"}}, [f"{side}_characters" for side in BOTH], [40], [41]),
    ({"max_length_delta": 3}, ["delta_tokens"], [3, -3, 0], [3.5, -3.5]),
    ({"max_length_delta": {"at_most": 3, "measure": "characters"}}, ["delta_characters"], [3, -3], [4, -4]),
    ({"min_delta": {"measure": "tokens", "at_least": -1}}, ["delta_tokens"], [-1, 7], [-1.5, -9]),
    ({"max_delta": {"measure": "response_ratio", "at_most": 0.5}}, ["delta_response_ratio"], [0.5, -9], [0.51, 9]),
    ({"min_soft_label": 0.5}, ["soft_label"], [0.5, 1.0], [0.49, 0.0]),
    ("not_contradicted", ["is_contradicted"], [False], [True]),
    ({"max_repetition": 0.25}, [f"{side}_repetition" for side in BOTH], [0.25, 0.0], [0.26, 1.0]),
    ("no_refusal", [f"{side}_refusal" for side in BOTH], [0.0], [1.0]),
    ("no_identity", [f"{side}_identity" for side in BOTH], [0.0], [1.0]),
    ("no_date_cutoff", [f"{side}_date_cutoff" for side in BOTH], [0.0], [1.0]),
    ({"max_non_latin": 0.1}, [f"{side}_non_latin" for side in BOTH], [0.1, 0.0], [0.11, 1.0]),
]
OVER_ALL = ("top", "balance", "length_match")


def name_of(rule: Any) -> str:
    return rule if isinstance(rule, str) else str(next(iter(rule)))


def with_side(rule: Any, side: str) -> Any:
    """The same rule, of one side."""
    if isinstance(rule, str):
        return {rule: side}
    ((name, value),) = rule.items()
    first = {"fits": "max_tokens", "min_length": "at_least"}.get(name, "at_most")
    return {name: (value if isinstance(value, dict) else {first: value}) | {"side": side}}


def test_every_rule_is_promised_here() -> None:
    """A rule that is added without rows below fails this."""
    assert {*map(name_of, (rule for rule, *_ in ROWS)), *OVER_ALL} == {*rules.RULES}


@pytest.mark.parametrize(("rule", "columns", "kept", "dropped"), ROWS, ids=[str(row[0]) for row in ROWS])
def test_a_rule_at_its_bound(rule: Any, columns: list[str], kept: list[Any], dropped: list[Any]) -> None:
    """At the bound is kept, beyond it dropped, on whichever side; null is dropped and counted as unknown."""
    for column in columns:
        changes = [{column: value} for value in (*kept, *dropped, None)]
        expected = [None] * len(kept) + [name_of(rule)] * (len(dropped) + 1)
        found = asked(rule)
        frame = judged(pairs(*changes), found)
        assert frame["dropped_by"].to_list() == expected
        assert filter.unknown(frame, found) == {name_of(rule): 1}
        assert filter.funnel(frame["dropped_by"], found)[name_of(rule)] == len(dropped) + 1


@pytest.mark.parametrize(
    ("rule", "columns", "dropped"),
    [(rule, columns, dropped[0]) for rule, columns, _, dropped in ROWS if len(columns) == 2 and rule != "not_empty"],
    ids=[str(row[0]) for row in ROWS if len(row[1]) == 2 and row[0] != "not_empty"],
)
def test_a_rule_of_one_side_does_not_see_the_other(rule: Any, columns: list[str], dropped: Any) -> None:
    """`side: chosen` drops by the chosen response alone, `rejected` by the other, `both` by either."""
    changes = [{column: dropped} for column in columns]
    name = name_of(rule)
    assert verdict(with_side(rule, "chosen"), *changes) == [name, None]
    assert verdict(with_side(rule, "rejected"), *changes) == [None, name]
    assert verdict(with_side(rule, "both"), *changes) == [name, name]


def test_a_side_of_a_rule_is_its_first_argument_where_it_has_no_other() -> None:
    """`{no_refusal: chosen}` is `{no_refusal: {side: chosen}}`."""
    changes = [{"chosen_refusal": 1.0}, {"rejected_refusal": 1.0}]
    assert verdict({"no_refusal": "chosen"}, *changes) == verdict({"no_refusal": {"side": "chosen"}}, *changes)


def test_prompt_and_response_together_must_fit() -> None:
    """The sum counts, of each side with its own rung's count of the prompt."""
    changes = [
        {"chosen_prompt_tokens": 90, "chosen_tokens": 10},
        {"chosen_prompt_tokens": 90, "chosen_tokens": 11},
        {"chosen_prompt_tokens": 90, "rejected_tokens": 95},
        {"rejected_prompt_tokens": 90, "rejected_tokens": 95},
    ]
    assert verdict({"fits": 100}, *changes) == [None, "fits", None, "fits"]


def test_a_rule_may_stand_twice() -> None:
    """The second has a number behind its name, in the reasons and in the funnel."""
    low = {"min_delta": {"measure": "tokens", "at_least": 0}}
    high = {"min_delta": {"measure": "characters", "at_least": 5}}
    found = asked(low, high, low)
    changes = [{"delta_tokens": 1.0, "delta_characters": 5.0}, {"delta_tokens": -1.0}, {"delta_characters": 4.0}]
    frame = judged(pairs(*changes), found)
    assert frame["dropped_by"].to_list() == [None, "min_delta", "min_delta_2"]
    counts = {"not_empty": 0, "texts_differ": 0, "min_delta": 1, "min_delta_2": 1, "min_delta_3": 0}
    assert filter.funnel(frame["dropped_by"], found) == counts


MISTAKES: list[tuple[Any, str, str]] = [
    ({"no_refusal": "choosen"}, "no_refusal: side is one of both, chosen, rejected, not 'choosen'", "name one of them"),
    ({"max_length": {"at_most": 3, "measure": "words"}}, "measure is one of tokens, characters", "name one of them"),
    ({"max_repetition": {"at_least": 1}}, "max_repetition takes no 'at_least'", "did you mean 'at_most'?"),
    ({"fits": {"max_token": 1}}, "fits takes no 'max_token'", "did you mean 'max_tokens'?"),
    ({"not_empty": True}, "not_empty takes nothing", "write `- not_empty`"),
    ({"top": {"measure": "token", "share": 0.5}}, "no measure is called 'token'; did you mean 'tokens'?", "name a"),
    ({"top": {"measure": "bold", "share": 0.5}}, "bold is not measured by this recipe", "add bold to pair.measures"),
    ({"top": {"measure": "tokens", "share": 0}}, "top: share is a share, not 0", "give a number above 0, at most 1"),
    ({"top": {"measure": "tokens", "share": 1.1}}, "top: share is a share, not 1.1", "give a number above 0"),
    ({"top": {"measure": "tokens"}}, "top needs share", "{top: {share: …}}"),
    ({"balance": {"by": "prompt", "max_share": 0.5}}, "by is one of pool, chosen_model, rejected_model", "name one"),
    ({"balance": {"by": "pool", "max_share": "half"}}, "max_share is a number, not 'half'", "mend it"),
    ({"length_match": "tokns"}, "no measure is called 'tokns'; did you mean 'tokens'?", "name a measure"),
    ({"max_delta": {"measure": "checks", "at_most": 1}}, "no measure is called 'checks'", "name a measure"),
    ({"max_non_latin": float("inf")}, "at_most is a number, not inf", "mend it"),
    ({"not_contradicted": "both"}, "not_contradicted: keep is one of neither, order, score, not 'both'", "name one"),
    ({"min_soft_label": 2}, "min_soft_label: at_least is a share, not 2", "give a number from 0 to 1"),
    ({"max_non_latin": 5}, "max_non_latin: at_most is a share, not 5", "give a number from 0 to 1"),
    ({"max_repetition": -0.1}, "max_repetition: at_most is a share, not -0.1", "give a number from 0 to 1"),
    ({"max_length_delta": -1}, "max_length_delta: at_most is a size, not -1", "give a number that is not negative"),
    ({"min_length": -1}, "min_length: at_least is a size, not -1", "give a number that is not negative"),
    ({"fits": -2048}, "fits: max_tokens is a size, not -2048", "give a number that is not negative"),
]


@pytest.mark.parametrize(("rule", "what", "cure"), MISTAKES, ids=[str(mistake[0]) for mistake in MISTAKES])
def test_a_mistaken_rule_is_refused(rule: Any, what: str, cure: str) -> None:
    """Sides, measures, shares and parameters that do not exist say so, with their place and the cure."""
    with pytest.raises(UserError) as met:
        asked("finished", rule)
    assert met.value.where == "filter.rules[1]"
    assert what in met.value.what
    assert str(met.value.cure).startswith(cure)


# Two roads to the numbers: from the responses with `run`, from pairs.parquet with `filter`.

TEXTS = [
    "",
    " \n",
    "plain words. And more!",
    "# Head\n\n- one\n- two\n\n**bold** and __bold__\n1. first",
    "```python\n# no heading\nx = 2 ** 3 ** 2\n```\nDone.",
    "~~~\nnever closed",
    "I'm sorry, but I cannot assist with that.",
    "As an AI language model, I can't. I was trained by OpenAI.",
    "As of my last update in 2023, it holds.",
    "你好，世界。这是一个测试！你好，世界。这是一个测试！",
    "Привет, мир. Как дела?",
    "the loop the loop the loop the loop the loop the loop",
    "a\r\nb\x00c\u2028d 🎉 ö\u0308",
]
ALSO = {*measure.OF_TEXT, tables.PROMPT_TOKENS}


def write_prompts(path: Path) -> None:
    rows = {
        tables.PROMPT_ID: [key(letter) for letter in PROMPTS],
        tables.PROMPT: [[{"role": "user", "content": letter}] for letter in PROMPTS],
        tables.POOL: ["own"] * len(PROMPTS),
    }
    pq.write_table(tables.as_rows(tables.PROMPTS, rows), path)


@settings(deadline=None, max_examples=25)
@given(
    texts=st.lists(st.sampled_from(TEXTS) | st.text(max_size=30), min_size=12, max_size=12),
    counts=st.lists(st.none() | st.integers(0, 50), min_size=12, max_size=12),
    control=st.sampled_from(["none", "reversed", "random"]),
)
def test_both_roads_give_the_same_numbers(texts: list[str], counts: list[Any], control: str) -> None:
    """Every text measure of both sides, read back from pairs.parquet, is that of the responses themselves."""
    keys = [(prompt, rung) for prompt in PROMPTS for rung in RUNGS]
    rows = [Response(*at, 0, text, n) for at, text, n in zip(keys, texts, counts, strict=True)]
    made_by = recipe(pair={"pairings": "all", "control": control})
    with tempfile.TemporaryDirectory() as folder:
        files = write_parts(Path(folder), rows)
        numbers = pair.response_numbers(frames(files), prompts_frame(), made_by, also=ALSO)
        first = pair.pair(numbers, made_by, ALSO)
        first = first.with_columns(pl.lit(None, dtype=pl.String).alias("dropped_by"))
        first = first.with_columns(filter.dropped_by(first, filter.rules(recipe(filter={"rules": []}))))
        write_prompts(Path(folder) / "prompts.parquet")
        contract = tables.pairs(pair.measures(made_by), [*rules.ALWAYS])
        pair_text.write_pairs(Path(folder) / "pairs.parquet", contract, first, Path(folder) / "prompts.parquet", files)
        second = pair_text.pair_numbers(Path(folder) / "pairs.parquet", files, ALSO)
    wanted = [f"{side}_{name}" for side in BOTH for name in sorted(ALSO)]
    wanted += [f"{side}_is_empty" for side in BOTH] + ["same_text", "delta_characters", "dropped_by"]
    assert first.height == 12
    assert_frame_equal(second.select(wanted), first.select(wanted))


SIDED: list[tuple[list[Any], str | None]] = [
    ([], "chosen_characters > 120 AND rejected_repetition < 0.05"),
    ([{"fits": {"max_tokens": 54, "side": "chosen"}}, {"max_repetition": 0.01}], None),
    ([{"min_length": {"at_least": 60, "measure": "characters"}}, {"max_length": 49}], "chosen_characters < 230"),
    ([{"max_non_latin": 0.0}, "no_refusal", {"length_match": "characters"}], "chosen_response_ratio > 7.7"),
    ([{"top": {"measure": "characters", "share": 0.4}}, {"balance": {"by": "chosen_model", "max_share": 0.5}}], None),
]


@pytest.mark.parametrize(("given_rules", "where"), SIDED)
def test_run_and_filter_alone_give_the_same_reasons(tmp_path: Path, given_rules: list[Any], where: str | None) -> None:
    """Rules over a side's text drop the same pairs in the pass that makes the pairs and in a pass of their own."""
    write_sources(tmp_path)
    rules_of = {"filter": {"rules": given_rules, "where": where}}
    done = {}
    for name, stages in (("at once", ()), ("apart", ("collect", "generate", "pair", "filter"))):
        do(tmp_path / name, small_run(**rules_of), *stages)
        done[name] = pl.read_parquet(tmp_path / name / "pairs.parquet").select(*tables.PAIR_KEY, "dropped_by")
    assert_frame_equal(done["at once"], done["apart"])
    reasons = set(done["apart"]["dropped_by"].drop_nulls()) - {*rules.ALWAYS}
    assert reasons == {*map(name_of, given_rules)} - {"max_non_latin", "no_refusal"} | ({"where"} if where else set())
    assert done["apart"]["dropped_by"].null_count()


# Rules over all pairs.


def kept(rule: Any, frame: pl.DataFrame, seed: int = 0) -> pl.DataFrame:
    """The pairs that this rule alone keeps."""
    return judged(frame, asked(rule, seed=seed)).filter(pl.col("dropped_by").is_null())


def ids(frame: pl.DataFrame) -> set[str]:
    return {*frame["prompt_id"]}


def of_deltas(*deltas: float | None) -> pl.DataFrame:
    return pairs(*({"delta_tokens": delta} for delta in deltas))


@pytest.mark.parametrize(
    ("share", "expected"), [(0.25, [9]), (0.5, [9, 7]), (0.51, [9, 7, 3]), (0.75, [9, 7, 3]), (1, [9, 7, 3, -2])]
)
def test_top_keeps_the_highest_deltas(share: float, expected: list[float]) -> None:
    """This share of the pairs, rounded up, by the delta with its sign."""
    found = kept({"top": {"measure": "tokens", "share": share}}, of_deltas(-2, 9, 3, 7))
    assert sorted(found["delta_tokens"], reverse=True) == expected


@pytest.mark.parametrize(("count", "share", "expected"), [(10, 0.3, 3), (100, 0.07, 7), (1000, 0.001, 1), (3, 0.34, 2)])
def test_a_share_is_exact(count: int, share: float, expected: int) -> None:
    """0.07 of a hundred pairs are seven, not eight for a hair in the product."""
    assert kept({"top": {"measure": "tokens", "share": share}}, of_deltas(*range(count))).height == expected


def test_top_is_of_what_is_known_and_left() -> None:
    """A pair that an earlier rule dropped, or whose delta is unknown, is no part of the whole."""
    frame = of_deltas(9, 8, 7, 6, None, 99).with_columns(same_text=pl.col("delta_tokens").eq_missing(99))
    found = asked({"top": {"measure": "tokens", "share": 0.5}})
    reasons = judged(frame, found)
    assert reasons["dropped_by"].to_list() == [None, None, "top", "top", "top", "texts_differ"]
    assert filter.unknown(reasons, found) == {"top": 1}


def test_a_draw_decides_among_equals() -> None:
    """Fixed by the seed, another for another seed, and no matter of where the rows stand."""
    rule = {"top": {"measure": "tokens", "share": 0.5}}
    frame = of_deltas(*[1.0] * 40, 5.0, 0.0)
    chosen = [ids(kept(rule, frame, seed)) for seed in (0, 0, 1)]
    assert [len(one) for one in chosen] == [21, 21, 21]
    assert chosen[0] == chosen[1] != chosen[2]
    assert f"{40:016x}" in chosen[0] & chosen[2]
    assert f"{41:016x}" not in chosen[0] | chosen[2]
    assert ids(kept(rule, frame.reverse())) == chosen[0]
    assert chosen[0] != ids(frame.sort("delta_tokens", descending=True, maintain_order=True).head(21))


def pooled(*counts: int, by: str = "pool") -> pl.DataFrame:
    return pairs(*({by: f"group {number}"} for number, count in enumerate(counts) for _ in range(count)))


def best_by_force(counts: tuple[int, ...], share: Fraction) -> int:
    """The most pairs of these groups of which none has more than the share."""
    return max(sum(n) for n in product(*(range(count + 1) for count in counts)) if max(n) <= share * sum(n))


@pytest.mark.parametrize("share", [Fraction(1, 3), Fraction(7, 20), Fraction(2, 5), Fraction(1, 2), Fraction(4, 5), 1])
def test_balance_keeps_as_many_as_can_be(share: Fraction) -> None:
    """No group is above its share, and no larger choice would do: held against every choice of small groups."""
    rule = {"balance": {"by": "pool", "max_share": float(share)}}
    for counts in [(5, 5, 5), (6, 3, 1), (9, 1, 1), (4, 4, 0), (7, 0, 0), (2, 3, 9), (1, 1, 8), (6, 5, 2), (3, 2, 1)]:
        sizes = kept(rule, pooled(*counts))["pool"].value_counts()["count"].to_list()
        assert sum(sizes) == best_by_force(counts, Fraction(share))
        assert all(size <= share * sum(sizes) for size in sizes)


def test_a_group_at_its_share_is_whole() -> None:
    """0.29 of a hundred pairs are 29, though the product is a hair less."""
    rule = {"balance": {"by": "pool", "max_share": 0.29}}
    assert kept(rule, pooled(29, 29, 29, 13)).height == 100


@pytest.mark.parametrize("by", ["pool", "chosen_model", "rejected_model"])
def test_balance_drops_from_the_large_groups_only(by: str) -> None:
    """Ten of twelve in one group: a half each leaves two of them, and all of the small one; a draw says which."""
    frame = pooled(10, 2, by=by)
    rule = {"balance": {"by": by, "max_share": 0.5}}
    found = kept(rule, frame)
    assert sorted(found[by]) == ["group 0", "group 0", "group 1", "group 1"]
    assert len({frozenset(ids(kept(rule, frame, seed))) for seed in range(5)}) > 1
    assert ids(kept(rule, frame.reverse())) == ids(found)
    assert kept({"balance": {"by": by, "max_share": 0.4}}, frame).is_empty()  # two groups cannot be 40 % each


def test_what_balance_dropped_is_known() -> None:
    """A pool is never null: the count of unknowns has nothing to say of it, and does not stumble over text."""
    found = asked({"balance": {"by": "pool", "max_share": 0.5}})
    assert filter.unknown(judged(pooled(5, 1), found), found) == {}


def signs(frame: pl.DataFrame) -> tuple[int, int, int]:
    delta = frame["delta_tokens"]
    return (int((delta > 0).sum()), int((delta < 0).sum()), int((delta == 0).sum()))


def test_length_match_leaves_as_many_longer_as_shorter() -> None:
    """One bin of size 3: the three shorter ones stand against three of five longer ones; zeros and no size stay."""
    frame = of_deltas(3, 3, -3, 3, -3, 3, -3, 3, 0, 0, None)
    found = asked("length_match")
    frame = judged(frame, found)
    assert signs(frame.filter(pl.col("dropped_by").is_null())) == (3, 3, 2)
    assert frame["dropped_by"].to_list()[-1] == "length_match"
    assert filter.unknown(frame, found) == {"length_match": 1}


def test_length_match_holds_in_every_bin() -> None:
    """A long answer is no counterweight to a short one: 20 sizes are evened out each by itself."""
    sizes = [(size, size * sign) for size in range(1, 21) for sign in (1, 1, 1, 1, -1)]
    frame = of_deltas(*(delta for _, delta in sizes))
    found = kept("length_match", frame)
    counts = found["delta_tokens"].value_counts().sort("delta_tokens")
    assert counts["delta_tokens"].to_list() == [*range(-20, 0), *range(1, 21)]
    assert set(counts["count"]) == {1}
    one_sided = of_deltas(*(size if size % 2 else -size for size in range(1, 21)))  # each size on one side only
    assert kept("length_match", one_sided).is_empty()


def test_length_match_takes_the_longer_side_out_of_length() -> None:
    """Of 2,000 pairs whose chosen side is mostly longer, what stays has a mean near zero and both signs alike."""
    draw = Random(3)
    frame = of_deltas(*(round(draw.gauss(60, 100)) for _ in range(2000)))
    found = kept("length_match", frame)
    longer, shorter, _ = signs(found)
    before, after = (float(one["delta_tokens"].mean() or 0) for one in (frame, found))  # type: ignore[arg-type]
    assert longer == shorter
    assert before > 50
    assert abs(after) < 2
    assert found.height > 900
    assert ids(kept("length_match", frame.reverse())) == ids(found) != ids(kept("length_match", frame, seed=1))


def test_length_match_of_characters() -> None:
    """The measure that is named is evened out, whatever the tokens are."""
    frame = pairs(*({"delta_characters": delta, "delta_tokens": 1.0} for delta in (5.0, -5.0, 5.0)))
    assert sorted(kept({"length_match": "characters"}, frame)["delta_characters"]) == [-5.0, 5.0]
    assert kept("length_match", frame).is_empty()


@settings(deadline=None, max_examples=60)
@given(deltas=st.lists(st.integers(-30, 30), max_size=30) | st.lists(st.integers(-12, 12), min_size=40, max_size=70))
def test_length_match_is_maximal_in_its_bins(deltas: list[int]) -> None:
    """In each of the 20 bins all that has a counterpart stays, and every zero."""
    frame = of_deltas(*deltas)
    found = kept("length_match", frame)
    # The bin of a size: how many pairs are of this size or less, in twentieths of all.
    bins: dict[int, list[int]] = {}
    for delta in deltas:
        place = sum(abs(other) <= abs(delta) for other in deltas)
        bins.setdefault((place - 1) * 20 // len(deltas), []).append(delta)
    expected = 0
    for members in bins.values():
        longer, shorter = sum(delta > 0 for delta in members), sum(delta < 0 for delta in members)
        expected += members.count(0) + 2 * min(longer, shorter)
    assert found.height == expected
    longer, shorter, zeros = signs(found)
    assert longer == shorter
    assert zeros == deltas.count(0)


@pytest.mark.parametrize(
    "rule",
    [{"top": {"measure": "tokens", "share": 0.1}}, {"balance": {"by": "pool", "max_share": 0.5}}, "length_match"],
)
def test_no_pairs_are_no_trouble(rule: Any) -> None:
    """A rule over all pairs that are left, when none are left, or all are unknown."""
    assert judged(pairs(GOOD).clear(), asked(rule)).height == 0
    assert verdict(rule, {"same_text": True}, {"same_text": True}) == ["texts_differ"] * 2


# Any rules over any pairs.

SHARE = st.sampled_from([0.1, 0.35, 0.5, 1.0])
SMALL, SIZE = st.integers(-3, 12), st.integers(0, 12)
ROW_RULE = st.one_of(
    st.sampled_from(["finished", "not_empty", "texts_differ", "no_refusal", {"no_identity": "chosen"}]),
    st.builds(lambda n: {"min_delta": {"measure": "tokens", "at_least": n}}, SMALL),
    st.builds(lambda n: {"max_delta": {"measure": "characters", "at_most": n}}, SMALL),
    st.builds(lambda n, side: {"fits": {"max_tokens": n, "side": side}}, SIZE, st.sampled_from(["both", *BOTH])),
    st.builds(lambda n: {"max_length_delta": n}, SIZE),
    st.builds(lambda n: {"max_repetition": n / 12}, SIZE),
)
ANY_RULE = ROW_RULE | st.one_of(
    st.builds(lambda share: {"top": {"measure": "tokens", "share": share}}, SHARE),
    st.builds(lambda by, share: {"balance": {"by": by, "max_share": share}}, st.sampled_from(["pool"]), SHARE),
    st.sampled_from(["length_match", {"length_match": "characters"}]),
)
CHANGE = st.fixed_dictionaries(
    {},
    optional={
        "pool": st.sampled_from(["own", "other", "third"]),
        "same_text": st.sampled_from([True, False, None]),
        "chosen_finish_reason": st.sampled_from(["stop", "length", None]),
        "chosen_refusal": st.sampled_from([0.0, 1.0, None]),
        "chosen_identity": st.sampled_from([0.0, 1.0, None]),
        "rejected_repetition": st.sampled_from([0.0, 0.5, None]),
        "rejected_tokens": st.none() | st.integers(0, 9),
        "delta_tokens": st.none() | st.integers(-5, 5).map(float),
        "delta_characters": st.none() | st.integers(-5, 5).map(float),
    },
)
WHERE = st.sampled_from([None, "delta_tokens > 0", "pool <> 'other' OR chosen_characters < 3"])


@settings(deadline=None, max_examples=80)
@given(changes=st.lists(CHANGE, max_size=25), given_rules=st.lists(ANY_RULE, max_size=5), where=WHERE, data=st.data())
def test_no_pair_is_lost_and_no_order_matters(changes: Any, given_rules: Any, where: Any, data: Any) -> None:
    """Kept and dropped make up all, the funnel has each rule's drops, and rows in another order get equal reasons."""
    found = asked(*given_rules, where=where)
    frame = judged(pairs(*changes), found)
    counts = filter.funnel(frame["dropped_by"], found)
    assert list(counts) == [rule.name for rule in found]
    assert len(set(counts)) == len(counts)
    assert {name: frame["dropped_by"].to_list().count(name) for name in counts} == counts
    assert sum(counts.values()) + frame["dropped_by"].null_count() == len(changes)
    unknown = filter.unknown(frame, found)
    assert all(0 < count <= counts[name] for name, count in unknown.items())
    order = data.draw(st.permutations(range(len(changes))))
    again = judged(frame.drop("dropped_by")[order], found)
    assert_frame_equal(again.sort("prompt_id"), frame.sort("prompt_id"))


@settings(deadline=None, max_examples=60)
@given(
    changes=st.lists(CHANGE, min_size=1, max_size=10),
    added=CHANGE,
    given_rules=st.lists(ROW_RULE, max_size=5),
    where=WHERE,
)
def test_an_added_pair_changes_no_verdict_of_rules_over_one(
    changes: Any, added: Any, given_rules: Any, where: Any
) -> None:
    """Only top, balance and length_match look at the others."""
    found = asked(*given_rules, where=where)
    alone = judged(pairs(*changes), found)["dropped_by"].to_list()
    assert judged(pairs(*changes, added), found)["dropped_by"].to_list()[:-1] == alone


@settings(deadline=None, max_examples=60)
@given(deltas=st.lists(st.integers(-5, 5), min_size=1, max_size=20), added=st.integers(-5, 5))
def test_an_added_pair_changes_nobodys_luck(deltas: list[int], added: int) -> None:
    """Under top, of the pairs that were dropped none is kept but by the larger share: draws belong to pairs."""
    rule = {"top": {"measure": "tokens", "share": 0.5}}
    before, after = (kept(rule, of_deltas(*some)) for some in (deltas, [*deltas, added]))
    changed = ids(before) ^ (ids(after) - {f"{len(deltas):016x}"})
    assert len(changed) <= 1


def test_bounds_of_shares_and_sizes_are_allowed() -> None:
    """Nought and one are shares, nought is a size, and a delta may be negative."""
    assert asked({"max_repetition": 0}, {"max_non_latin": 1}, {"max_length_delta": 0})
    assert asked({"min_delta": {"measure": "tokens", "at_least": -3}})


def test_a_rule_that_leaves_nothing_says_so() -> None:
    """Named only where no pair is kept and there was one."""
    rule = {"balance": {"by": "pool", "max_share": 0.5}}
    found = asked("finished", rule)
    kept = judged(pairs(GOOD, GOOD | {"pool": "other"}), found)
    assert filter.emptied(kept["dropped_by"], found) is None
    assert filter.emptied(kept["dropped_by"].clear(), found) is None
    gone = judged(pairs(GOOD, GOOD), found)["dropped_by"]
    why = "with fewer than 2 values of pool none can be kept at a share of 0.5"
    assert filter.emptied(gone, found) == f"balance: dropped the last 2 pair(s); {why}"
