"""Pairs by order and by score in one dataset: which is which, where they contradict, and soft labels beside them.

pytest tests/test_mixed.py
"""

from __future__ import annotations

import json
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ladder import (
    LENGTHS,
    PROMPTS,
    RUNGS,
    Response,
    do,
    frames,
    key,
    prompts_frame,
    small_run,
    write_parts,
    write_sources,
)
from ladder import recipe as ladder_recipe
from polars.testing import assert_frame_equal
from project import Project

from deltadata import columns, filter, mixed, pair, tables
from deltadata.errors import UserError
from deltadata.recipe import Recipe

Key = tuple[Any, ...]
Scores = dict[tuple[str, str, int], float | None]
TYPE = "preference_type"


def recipe(
    pairings: Any = "all", scorers: tuple[str, ...] = ("judge",), seed: int = 0, rules: Any = (), **section: Any
) -> Recipe:
    """A recipe over the three rungs; `section` are further keys of `pair`."""
    asked = {"pairings": pairings, "measures": LENGTHS} | section
    files = [{"name": name, "scores": f"{name}.csv"} for name in scorers]
    return ladder_recipe(samples=100, pair=asked, score=files, seed=seed, filter={"rules": [*rules]})


def paired(made_by: Recipe, *scores: Scores) -> pl.DataFrame:
    """The pairs of the responses that the first scorer knows of, each with a text of its own."""
    rows = [Response(prompt, model, sample, f"{model}{sample}") for prompt, model, sample in scores[0]]
    rows += [Response("e", rung, 0, "x") for rung in RUNGS]  # of a prompt that is no longer asked
    with tempfile.TemporaryDirectory() as folder:
        parts = frames(write_parts(Path(folder), rows))
    scored = [
        pl.DataFrame(
            [(key(prompt), model, sample, score) for (prompt, model, sample), score in given.items()],
            schema={"prompt_id": pl.String, "model": pl.String, "sample": pl.UInt32, one.name: pl.Float64},
            orient="row",
        )
        for one, given in zip(made_by.score, scores, strict=True)
    ]
    return pair.pair(pair.response_numbers(parts, prompts_frame(), made_by, scored), made_by)


def told(pairs: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    """Prompt, chosen and rejected as rung and sample in one word, and these columns."""
    keyed = pairs.select(*tables.PAIR_KEY, *columns).iter_rows()
    return [(prompt[0], f"{x}{i}", f"{y}{j}", *rest) for prompt, x, i, y, j, *rest in keyed]


def keys(pairs: pl.DataFrame) -> list[Key]:
    return pairs.select(tables.PAIR_KEY).rows()


def turned(row: Key) -> Key:
    """The same two responses, the other one chosen."""
    prompt, chosen, i, rejected, j = row
    return (prompt, rejected, j, chosen, i)


HAND: Scores = {
    ("a", "strong", 0): 1.0,
    ("a", "middle", 0): 0.5,
    ("a", "frail", 0): 0.0,  # the score says what the order says
    ("b", "strong", 0): 0.0,
    ("b", "frail", 0): 1.0,  # the score says the opposite
    ("c", "strong", 0): 1.0,
    ("c", "strong", 1): 0.0,  # a pair that no pairing has
    ("c", "frail", 0): 0.5,
    ("d", "strong", 0): 0.5,
    ("d", "frail", 0): 0.5,  # a tie: by order alone
}
MIXED = [
    ("b", "strong0", "frail0", "order", True),
    ("a", "strong0", "frail0", "both", False),
    ("c", "strong0", "frail0", "order", False),
    ("d", "strong0", "frail0", "order", False),
    ("b", "frail0", "strong0", "score", True),
    ("c", "strong0", "strong1", "score", False),
]


def test_two_kinds_of_pairs_by_hand() -> None:
    """Those of the pairings first, then those by score; what both find stands once, what they dispute twice."""
    pairs = paired(recipe("ends", also={"by": "judge"}), HAND)
    assert told(pairs, TYPE, "is_contradicted") == MIXED
    assert pairs["delta_judge"].to_list() == [-1.0, 1.0, 0.5, 0.0, 1.0, 1.0]
    assert mixed.facts(pairs) == {"preference_types": {"order": 3, "score": 2, "both": 1}, "contradictions": 1}


def test_without_also_there_is_no_such_column() -> None:
    """The contract's columns stay as they are."""
    pairs = paired(recipe("ends"), HAND)
    assert {TYPE, "soft_label", "is_contradicted"}.isdisjoint(pairs.columns)
    assert {TYPE, "soft_label"}.isdisjoint(pair.contract(recipe(), []).schema.names)
    asked = recipe(also={"by": "judge"}, soft_label=["judge"])
    names = pair.contract(asked, []).schema.names
    assert names[names.index(TYPE) :][:3] == [TYPE, "soft_label", "delta_tokens"]


RULED = [
    ("not_contradicted", ["not_contradicted", None, None, None, "not_contradicted", None]),
    ({"not_contradicted": "neither"}, ["not_contradicted", None, None, None, "not_contradicted", None]),
    ({"not_contradicted": "order"}, [None, None, None, None, "not_contradicted", None]),
    ({"not_contradicted": "score"}, ["not_contradicted", None, None, None, None, None]),
]


@pytest.mark.parametrize(("rule", "reasons"), RULED, ids=[str(rule) for rule, _ in RULED])
def test_contradictions_are_dropped(rule: Any, reasons: list[str | None]) -> None:
    """Both pairs, or all but one; the others are left alone."""
    asked = recipe("ends", also={"by": "judge"}, rules=[rule])
    assert filter.dropped_by(paired(asked, HAND), filter.rules(asked)).to_list() == reasons


def test_a_contradiction_is_one_whatever_else_is_dropped() -> None:
    """That an earlier rule took one of the two does not clear the other."""
    rules = [{"min_delta": {"measure": "judge", "at_least": 0}}, "not_contradicted"]
    asked = recipe("ends", also={"by": "judge"}, rules=rules)
    reasons = filter.dropped_by(paired(asked, HAND), filter.rules(asked)).to_list()
    assert reasons == ["min_delta", None, None, None, "not_contradicted", None]


def test_pairings_that_turn_each_other_round_are_asked_for() -> None:
    """Both directions by order alone contradict nobody; where a score takes a side, the other side is contradicted."""
    asked = recipe([["strong", "frail"], ["frail", "strong"]], also={"by": "judge"})
    pairs = paired(asked, {at: score for at, score in HAND.items() if at[0] in "ad"})
    assert told(pairs, TYPE, "is_contradicted") == [
        ("a", "strong0", "frail0", "both", True),
        ("d", "strong0", "frail0", "order", False),
        ("a", "frail0", "strong0", "order", True),
        ("d", "frail0", "strong0", "order", False),
    ]
    for keep, left in (("order", [False, True]), ("score", [True, False])):
        ruled = asked.model_copy(update={"filter": recipe(rules=[{"not_contradicted": keep}]).filter})
        kept = filter.dropped_by(pairs, filter.rules(ruled)).is_null().to_list()
        assert [kept[0], kept[2]] == left and kept[1] and kept[3]


def test_where_and_rules_see_both_columns() -> None:
    """`preference_type` and `soft_label` may be named in `where`, and only where the recipe has them."""
    asked = recipe("ends", also={"by": "judge"}, soft_label=["judge"], rules=[{"min_soft_label": 0.5}])
    asked.filter.where = "preference_type <> 'both' AND soft_label < 1"
    reasons = filter.dropped_by(paired(asked, HAND), filter.rules(asked)).to_list()
    assert reasons == ["min_soft_label", "where", "where", None, "where", "where"]
    plain = recipe("ends")
    for rule, cure in (("not_contradicted", "also"), ({"min_soft_label": 0.5}, "soft_label")):
        plain.filter.rules = ["finished", rule]
        with pytest.raises(UserError) as met:
            filter.rules(plain)
        assert met.value.where == "filter.rules[1]"
        assert cure in str(met.value.cure)
    plain.filter.rules, plain.filter.where = [], "preference_type = 'score'"
    with pytest.raises(UserError, match="no column is called 'preference_type'"):
        filter.rules(plain)


def test_reversed_turns_both_kinds_round() -> None:
    """Sides and signs are swapped; of which kind a pair is, and what contradicts it, stays."""
    pairs = paired(recipe("ends", also={"by": "judge"}, control="reversed"), HAND)
    assert told(pairs, TYPE, "is_contradicted") == [(p, r, c, *rest) for p, c, r, *rest in MIXED]
    assert pairs["delta_judge"].to_list() == [1.0, -1.0, -0.5, 0.0, -1.0, -1.0]


MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"also": {"by": "jugde"}}, "pair.also.by: no scorer is called 'jugde'", "did you mean 'judge'?"),
    ({"also": {"by": "judge", "weak": {"rungs": ["weka"]}}}, "pair.also.weak.rungs: no rung is called 'weka'", "weak"),
    (
        {"also": {"by": "judge", "candidates": 2, "weak": {"rungs": ["weak"], "at_least": 3}}},
        "pair.also.weak.at_least: is more than there are candidates",
        "raise `candidates`",
    ),
    ({"also": {"by": "judge"}, "control": "tied"}, "pair.control: tied pairs are two samples of one rung", "reversed"),
    ({"also": {"by": "judge"}, "pairings": {"by": "judge"}}, "pair.also: `pairings` go by score already", "leave"),
    ({"also": {"by": "judge", "share": 1.1}}, "pair.also.share", "1"),
    ({"also": {"by": "judge", "only": True}}, "pair.also.only: unknown key", "exclusive"),
    ({"soft_label": ["jugde"]}, "pair.soft_label[0]: no scorer is called 'jugde'", "did you mean 'judge'?"),
    ({"soft_label": ["judge", "judge"]}, "pair.soft_label[1]: 'judge' is there twice", "keep one"),
]


def project_of(folder: Path, pair_section: dict[str, Any]) -> Project:
    """Six prompts, two rungs; the score prefers the weak rung for the even ones and is silent of the last."""
    project = Project(folder, prompts=6)
    lines = [
        f"Tell me about number {number}.,{rung},{score}"
        for number in range(5)
        for rung, score in (("strong", 0.5), ("weak", 0.25 if number % 2 else 1.0))
    ]
    (folder / "judge.csv").write_text("\n".join(["prompt,model,score", *lines]) + "\n")
    project.recipe["score"] = [{"name": "judge", "scores": "judge.csv"}]
    project.recipe["pair"] = pair_section
    project.recipe["holdout"] = 0.0
    return project


@pytest.mark.parametrize(("section", "what", "cure"), MISTAKES, ids=[str(mistake[0]) for mistake in MISTAKES])
def test_a_mistake_in_the_recipe_ends_with_exit_2(
    tmp_path: Path, section: dict[str, Any], what: str, cure: str
) -> None:
    """With its address, file and line, before any work."""
    said = project_of(tmp_path, section).run(code=2)
    assert said.startswith("error: recipe.yaml:")
    assert what in said
    assert cure in said


SCORED = list(product(PROMPTS, RUNGS, (0, 1)))
NUMBERS = st.lists(st.none() | st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=len(SCORED), max_size=len(SCORED))
SHAPES = st.sampled_from(["adjacent", "all", "ends", [["frail", "strong"], ["middle", "frail"]]])


def scores_of(numbers: list[float | None]) -> Scores:
    return dict(zip(SCORED, numbers, strict=True))


@settings(deadline=None, max_examples=60)
@given(
    numbers=NUMBERS,
    shape=SHAPES,
    share=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    exclusive=st.booleans(),
    pick=st.sampled_from(["max_min", "max_random"]),
    seed=st.integers(0, 5),
)
def test_every_pair_is_of_the_kind_that_found_it(
    numbers: list[Any], shape: Any, share: float, exclusive: bool, pick: str, seed: int
) -> None:
    """Recomputed from a recipe of each kind alone: the same pairs, no other, each once, contradictions as they are."""
    scores, by = scores_of(numbers), {"by": "judge", "pick": pick}
    also = by | {"share": share, "exclusive": exclusive}
    pairs = paired(recipe(shape, seed=seed, also=also), scores)
    ours = {key(p) for p in PROMPTS if tables.rank(seed, "also", key(p)) < share * 2**63}
    by_order = {row for row in keys(paired(recipe(shape, seed=seed), scores)) if not (exclusive and row[0] in ours)}
    by_score = {row for row in keys(paired(recipe(by, seed=seed), scores)) if row[0] in ours}
    found = dict(zip(keys(pairs), pairs[TYPE], strict=True))
    assert len(found) == pairs.height
    assert found == {
        row: "both" if row in by_order & by_score else "order" if row in by_order else "score"
        for row in by_order | by_score
    }
    disputed = {row for row in by_order if turned(row) in by_score} | {
        row for row in by_score if turned(row) in by_order
    }
    assert {row for row, is_so in zip(found, pairs["is_contradicted"], strict=True) if is_so} == disputed
    assert mixed.facts(pairs)["contradictions"] * 2 == len(disputed)


@settings(deadline=None, max_examples=40)
@given(
    numbers=NUMBERS,
    shape=SHAPES,
    control=st.sampled_from(["none", "reversed", "random"]),
    keep=st.sampled_from(["neither", "order", "score"]),
    bound=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 5),
)
def test_kept_and_dropped_make_up_all(
    numbers: list[Any], shape: Any, control: str, keep: str, bound: float, seed: int
) -> None:
    """Under every control keys are unique, nothing is lost, and of no two kept pairs one is the other turned round."""
    rules = [{"not_contradicted": keep}, {"min_soft_label": bound}]
    section = {"also": {"by": "judge"}, "soft_label": ["judge"], "control": control}
    asked = recipe(shape, seed=seed, rules=rules, **section)
    pairs = paired(asked, scores_of(numbers))
    tables.check_keys(tables.pairs([], [], True), pairs, "here")
    read = filter.rules(asked)
    dropped = filter.dropped_by(pairs, read)
    counts = filter.funnel(dropped, read)
    assert sum(counts.values()) + dropped.null_count() == pairs.height
    kept = {*keys(pairs.filter(dropped.is_null()))}
    assert not kept & {turned(row) for row in kept}
    left = pairs.filter(dropped.is_null() | (dropped == "min_soft_label"))
    lost = pairs.filter(dropped == "not_contradicted")
    assert lost["is_contradicted"].all()
    if keep == "neither":
        assert not left["is_contradicted"].any()
    else:
        assert {turned(row) for row in keys(lost)} <= {*keys(left)}
        assert set(lost[TYPE]) <= {"score" if keep == "order" else "order"}


@settings(deadline=None, max_examples=30)
@given(numbers=NUMBERS, shape=st.sampled_from(["adjacent", "all", "ends"]), seed=st.integers(0, 20))
def test_a_coin_turns_a_pair_and_its_contradiction_alike(numbers: list[Any], shape: str, seed: int) -> None:
    """`random` has the pairs of `none`, each with its type; some are turned round."""
    scores = scores_of(numbers)
    plain, tossed = (
        dict(zip(keys(pairs), pairs.select(TYPE, "is_contradicted").rows(), strict=True))
        for pairs in (
            paired(recipe(shape, seed=seed, also={"by": "judge"}, control=c), scores) for c in ("none", "random")
        )
    )
    assert len(tossed) == len(plain)
    for row, kind in plain.items():
        assert kind in (tossed.get(row), tossed.get(turned(row)))


def test_the_coin_falls_either_way() -> None:
    """Over the seeds each of the pairs is turned round in about half of them."""
    seen = [
        told(paired(recipe("ends", also={"by": "judge"}, control="random", seed=seed), HAND), TYPE)
        for seed in range(40)
    ]
    both = [row for rows in seen for row in rows if row[3] == "both"]
    assert {row[:3] for row in both} == {("a", "strong0", "frail0"), ("a", "frail0", "strong0")}
    assert 10 <= both.count(("a", "strong0", "frail0", "both")) <= 30


IDS = st.lists(st.text("0123456789abcdef", min_size=16, max_size=16), unique=True, max_size=40)


@given(ids=IDS, more=IDS, shares=st.tuples(st.floats(0, 1), st.floats(0, 1)), seed=st.integers(0, 9))
def test_a_share_only_grows(ids: list[str], more: list[str], shares: tuple[float, float], seed: int) -> None:
    """A larger share keeps the prompts of a smaller one, more prompts change nobody's lot; 0 is none and 1 is all."""

    def taken(share: float, prompts: list[str]) -> set[str]:
        asked = recipe(also={"by": "judge", "share": share}).pair.also
        assert asked
        given_ids = pl.Series(prompts, dtype=pl.String)
        return {*given_ids.filter(mixed.takes_part(given_ids, asked, seed))}

    small, large = sorted(shares)
    assert taken(small, ids) <= taken(large, ids)
    assert taken(large, [*ids, *more]) & {*ids} == taken(large, ids)
    assert taken(0.0, ids) == set()
    assert taken(1.0, ids) == {*ids}


def test_a_share_is_about_that_many() -> None:
    """Of 2,000 prompts 500 give or take 80 are of a quarter, and another seed takes others."""
    ids = pl.Series([f"{number:016x}" for number in range(2000)])
    asked = recipe(also={"by": "judge", "share": 0.25}).pair.also
    assert asked
    first, second = (mixed.takes_part(ids, asked, seed) for seed in (0, 1))
    assert 420 < first.sum() < 580
    assert (first != second).any()


def test_an_exclusive_share_splits_the_prompts() -> None:
    """A prompt has pairs of one kind, and each kind has those that it would have alone."""
    scores = {
        (prompt, model, 0): {"strong": 1.0, "frail": 0.0}[model] for prompt in PROMPTS for model in ("strong", "frail")
    }
    kinds = {}
    for seed in range(20):
        pairs = paired(recipe("ends", seed=seed, also={"by": "judge", "share": 0.5, "exclusive": True}), scores)
        assert pairs.height == pairs["prompt_id"].n_unique() == 4
        kinds[seed] = set(pairs[TYPE])
    assert set().union(*kinds.values()) == {"order", "score"}


def test_a_soft_label_by_hand() -> None:
    """The share of scorers that prefer the chosen side: a tie is half, silence is not counted, none is null."""
    one: Scores = {("a", "strong", 0): 1.0, ("a", "frail", 0): 0.0}
    marks: list[tuple[list[tuple[float | None, float | None]], float | None]] = [
        ([(2, 1), (2, 1), (2, 1)], 1.0),
        ([(2, 1), (1, 2), (2, 1)], 2 / 3),
        ([(1, 2), (1, 2), (1, 1)], 1 / 6),
        ([(2, 1), (None, 2), (1, 1)], 0.75),
        ([(1, 1), (1, None), (None, None)], 0.5),
        ([(1, 2), (1, None), (None, 3)], 0.0),
        ([(None, 1), (1, None), (None, None)], None),
    ]
    names = ("x", "y", "z")
    for given_marks, expected in marks:
        scores: list[Scores] = [dict(zip(one, both, strict=True)) for both in given_marks]
        pairs = paired(recipe("ends", names, soft_label=list(names)), *scores)
        assert pairs["soft_label"].to_list() == [pytest.approx(expected)]
    pairs = paired(recipe("ends", names, soft_label=["y"]), *([one] * 3))
    assert pairs["soft_label"].to_list() == [1.0]


@settings(deadline=None, max_examples=40)
@given(
    numbers=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    shape=SHAPES,
    also=st.sampled_from([None, {"by": "x"}, {"by": "y", "pick": "max_random"}]),
)
def test_swapping_sides_turns_a_soft_label_into_its_complement(numbers: Any, shape: Any, also: Any) -> None:
    """1 - x, null stays null; every value is a share, and the mean of the votes counted in plain Python."""
    scores, names = [scores_of(given_numbers) for given_numbers in numbers], ("x", "y", "z")
    section = {"also": also, "soft_label": list(names)}
    pairs = paired(recipe(shape, names, **section), *scores)
    back = paired(recipe(shape, names, control="reversed", **section), *scores)
    assert keys(back) == [turned(row) for row in keys(pairs)]
    labels = pairs["soft_label"].to_list()
    for row, label, other in zip(keys(pairs), labels, back["soft_label"], strict=True):
        sides = [[given_scores[row[0][0], *row[at : at + 2]] for at in (1, 3)] for given_scores in scores]
        votes = [0.5 + 0.5 * ((x > y) - (x < y)) for x, y in sides if x is not None and y is not None]
        assert label == (pytest.approx(sum(votes) / len(votes)) if votes else None)
        assert other == (None if label is None else pytest.approx(1 - label))
        assert label is None or 0 <= label <= 1


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [(TYPE, ["order", "score", "both"], ["neither", "", None]), ("soft_label", [0.0, 1.0, 0.5, None], [1.01, -0.1])],
)
def test_a_bad_value_breaks_the_contract(column: str, good: list[Any], bad: list[Any]) -> None:
    """A kind that is none, and a label that is no share, are never written."""
    contract = tables.pairs([], [], mixed=True, soft_label=True)
    rules = tables.Table("pairs", contract.schema, contract.key, contract.rules)
    for value in (*good, *bad):
        frame = pl.DataFrame({"prompt_id": ["0" * 16], column: [value]}, schema_overrides={column: frame_kind(column)})
        if value in good:
            tables.check_rows(rules, frame, "here")
        else:
            with pytest.raises(tables.BrokenTable, match=column):
                tables.check_rows(rules, frame, "here")


def frame_kind(column: str) -> Any:
    return pl.String if column == TYPE else pl.Float64


def test_both_columns_are_explained() -> None:
    """The card's table of columns has a line for each."""
    assert "`order` of the rungs, `score`, or `both`" in columns.meaning(TYPE, [])
    assert "a tie counting half" in columns.meaning("soft_label", [])


def test_a_run_of_two_kinds_from_recipe_to_dataset(tmp_path: Path) -> None:
    """Six pairs by order, five by score of which two are the same: all in the dataset, with what was said of them."""
    project = project_of(tmp_path, {"also": {"by": "judge"}, "soft_label": ["judge"]})
    said = project.run()
    assert "4 pair(s) by order, 3 by score, 2 by both; 3 contradiction(s)" in said
    assert "no rule not_contradicted drops them" in said
    facts = project.record()["tables"]["pairs"]["facts"]
    assert facts["preference_types"] == {"order": 4, "score": 3, "both": 2}
    assert facts["contradictions"] == 3
    rows = pl.read_parquet(project.path / "dataset" / "data" / "default" / "train-*.parquet")
    assert rows[TYPE].to_list() == project.pairs()[TYPE].to_list()
    assert sorted(rows[TYPE]) == ["both"] * 2 + ["order"] * 4 + ["score"] * 3
    assert rows.filter(pl.col(TYPE) == "score")["chosen_model"].unique().to_list() == ["weak"]
    assert rows.filter(pl.col(TYPE) != "order")["soft_label"].to_list() == [1.0] * 5
    assert sorted(rows.filter(pl.col(TYPE) == "order")["soft_label"].to_list(), key=str) == [0.0] * 3 + [None]
    card = (project.path / "dataset" / "README.md").read_text()
    assert "| `preference_type` | string |" in card
    assert "| `soft_label` | float64 |" in card
    project.run("report", "runs/tiny", "--json")
    report = json.loads(project.stdout)
    assert [(one["chosen"], one["rejected"], one["pairs"]) for one in report["pairings"]] == [
        ("strong", "weak", 6),
        ("weak", "strong", 3),
    ]
    assert "made anew" not in project.run()


def test_a_run_without_either_key_is_as_it_was(tmp_path: Path) -> None:
    """Pairs of a recipe that has neither key are recorded as ever: an older run is done, and no drift."""
    project = project_of(tmp_path, {})
    project.run()
    spec = project.record()["tables"]["pairs"]["spec"]["pair"]
    assert set(spec) == {"pairings", "control", "measures"}
    assert {TYPE, "soft_label"}.isdisjoint(project.pairs().columns)


def test_filtering_apart_drops_the_same(tmp_path: Path) -> None:
    """Contradictions and labels read back from pairs.parquet are those of the pass that made the pairs."""
    section = {"also": {"by": "judge", "share": 0.8}, "soft_label": ["judge"]}
    rules = {"rules": ["not_contradicted", {"min_soft_label": 0.5}], "where": "preference_type <> 'order'"}
    done = []
    for name, stages in (("at_once", ["run"]), ("apart", ["collect", "generate", "score", "pair", "filter"])):
        (tmp_path / name).mkdir()
        project = project_of(tmp_path / name, section)
        project.recipe["filter"] = rules
        said = "".join(project.run(stage, "recipe.yaml") for stage in stages)
        assert "no rule not_contradicted" not in said
        done.append(project.pairs())
    assert_frame_equal(done[0], done[1])
    assert "not_contradicted" in set(done[0]["dropped_by"])


def test_prompts_that_have_scores_alone_say_so_without_a_pair(tmp_path: Path) -> None:
    """Where every prompt is to have a pair by score alone and no scores differ, that is what is told."""
    project = project_of(tmp_path, {"also": {"by": "judge", "exclusive": True, "min_delta": 3.0}})
    said = project.run(code=2)
    assert "error: pair.also: no prompt has two responses whose scores by 'judge' differ by 3\n" in said


def test_all_kinds_of_rungs_go_together(tmp_path: Path) -> None:
    """A ladder with failures, cut-off and imported answers has a mixed table that keeps its contract."""
    write_sources(tmp_path)
    rows = [
        f"What is the number {n}?,{rung},{(n * 7 + place) % 3}" for n in range(24) for place, rung in enumerate(RUNGS)
    ]
    (tmp_path / "judge.csv").write_text("\n".join(["prompt,model,score", *rows]) + "\n")
    section = {"pairings": "all", "measures": LENGTHS, "also": {"by": "judge"}, "soft_label": ["judge"]}
    do(tmp_path / "run", small_run(pair=section, score=[{"name": "judge", "scores": "judge.csv"}]))
    pairs = pl.read_parquet(tmp_path / "run" / "pairs.parquet")
    assert set(pairs[TYPE]) == {"order", "score", "both"}
    agreed = pairs.filter(pl.col(TYPE) != "order")
    assert (agreed["soft_label"] == 1.0).all()
