"""Pairs by score: the best response of a prompt over a worse one, whatever their rungs and in whatever order these are.

pytest tests/test_by_score.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ladder import PROMPTS, RUNGS, Response, frames, key, prompts_frame, write_parts
from ladder import recipe as ladder_recipe
from project import Project

from deltadata import filter, pair, tables, unpaired
from deltadata.recipe import Recipe

Key = tuple[str, str, int]


class Given(NamedTuple):
    """A response as prompt, rung and sample, with its score; its text is a single letter unless given."""

    prompt: str
    model: str
    sample: int
    score: float | None
    text: str | None = "x"


def recipe(rungs: tuple[str, ...] = RUNGS, control: str = "none", seed: int = 0, **asked: Any) -> Recipe:
    """Pairs by the scorer `judge`; `asked` are the other fields of `pairings`."""
    section = {"pairings": {"by": "judge"} | asked, "control": control, "measures": ["ladder_distance"]}
    judge = [{"name": "judge", "scores": "judge.csv"}]
    return ladder_recipe(rungs, samples=100, pair=section, score=judge, seed=seed)


def paired(rows: list[Given], made_by: Recipe) -> pl.DataFrame:
    """The pairs of these responses, through the parts of a run and the join with the scores."""
    texts = [Response(row.prompt, row.model, row.sample, row.text) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        parts = frames(write_parts(Path(folder), texts))
    scored = [row for row in rows if row.text is not None]
    scores = pl.DataFrame(
        {
            "prompt_id": [key(row.prompt) for row in scored],
            "model": [row.model for row in scored],
            "sample": [row.sample for row in scored],
            "judge": [row.score for row in scored],
        },
        schema_overrides={"sample": pl.UInt32, "judge": pl.Float64},
    )
    return pair.pair(pair.response_numbers(parts, prompts_frame(), made_by, [scores]), made_by)


def sides(pairs: pl.DataFrame) -> dict[str, tuple[str, str]]:
    """Chosen and rejected of each prompt, as rung and sample in one word."""
    shown = {}
    for row in pairs.iter_rows(named=True):
        assert row["prompt_id"][0] not in shown, "one pair a prompt"
        names = [f"{row[f'{side}_model']}{row[f'{side}_sample']}" for side in ("chosen", "rejected")]
        shown[row["prompt_id"][0]] = (names[0], names[1])
    return shown


# Three rungs, two samples.
HAND = [
    Given("a", "strong", 0, 0.5),
    Given("a", "strong", 1, 0.25),
    Given("a", "middle", 0, 1.0),  # the best is of the middle rung
    Given("a", "middle", 1, 0.75),
    Given("a", "frail", 0, 0.5),
    Given("a", "frail", 1, 0.5),
    Given("b", "strong", 0, 0.0),  # the worst of the strongest
    Given("b", "frail", 0, 0.75),
    Given("b", "frail", 1, None),  # unknown
    Given("c", "strong", 0, 1.0),
    Given("c", "middle", 0, 1.0),  # no two differ
    Given("c", "frail", 0, 0.0, " \n"),  # empty
    Given("c", "frail", 1, 0.0, None),  # failed
    Given("d", "strong", 0, 2.0),
    Given("d", "strong", 1, -2.0),  # both of one rung
]


def test_the_best_over_the_worst_by_hand() -> None:
    """One pair a prompt in the order of the prompts, from any two rungs or from one; ties make none."""
    pairs = paired(HAND, recipe())
    assert [row[0] for row in pairs["prompt_id"]] == ["b", "a", "d"]
    expected = {"b": ("frail0", "strong0"), "a": ("middle0", "strong1"), "d": ("strong0", "strong1")}
    assert sides(pairs) == expected
    assert pairs["delta_judge"].to_list() == [0.75, 0.75, 4.0]
    assert pairs["delta_ladder_distance"].to_list() == [-2.0, -1.0, 0.0]


def test_the_best_over_any_worse_one_by_hand() -> None:
    """The rejected one is any of a lower score, fixed by the seed; over the seeds it is each of them."""
    seen: dict[str, set[tuple[str, str]]] = {}
    for seed in range(40):
        pairs = paired(HAND, recipe(seed=seed, pick="max_random"))
        assert (pairs["delta_judge"] > 0).all()
        for prompt, both in sides(pairs).items():
            seen.setdefault(prompt, set()).add(both)
    worse_than_a = ("strong0", "strong1", "middle1", "frail0", "frail1")
    assert seen == {
        "a": {("middle0", other) for other in worse_than_a},
        "b": {("frail0", "strong0")},
        "d": {("strong0", "strong1")},
    }
    again = [sides(paired(HAND, recipe(seed=3, pick="max_random"))) for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("pick", ["max_min", "max_random"])
@pytest.mark.parametrize(
    ("high", "low", "bound", "makes_a_pair"),
    [
        (0.7, 0.4, 0.3, True),  # 0.29999999999999993 to a machine
        (0.7, 0.4, 0.31, False),
        (0.9, 0.6, 0.3, True),
        (1.1, 0.8, 0.3, True),
        (0.75, 0.5, 0.25, True),
        (0.75, 0.5, 0.26, False),
        (1e6 + 0.3, 1e6, 0.29, True),
        (0.5, 0.5, 0.0, False),
        (0.1 + 0.2, 0.3, 0.0, True),
    ],
)
def test_the_least_difference_at_its_bound(
    high: float, low: float, bound: float, makes_a_pair: bool, pick: str
) -> None:
    """A difference that is the bound in decimals is at the bound, and makes a pair; equal scores never do."""
    rows = [Given("a", "frail", 0, high), Given("a", "strong", 0, low)]
    found = sides(paired(rows, recipe(min_delta=bound, pick=pick)))
    assert found == ({"a": ("frail0", "strong0")} if makes_a_pair else {})


def test_a_pair_at_the_bound_passes_the_rule_of_the_same_bound() -> None:
    """`min_delta: 0.3` of the pairing and the rule `min_delta` with 0.3 speak of the same difference."""
    rows = [Given("a", "strong", 0, 0.7, "one"), Given("a", "frail", 0, 0.4, "two")]
    made_by = recipe(min_delta=0.3)
    bound = [{"min_delta": {"measure": "judge", "at_least": 0.3}}]
    ruled = Recipe.model_validate(made_by.model_dump() | {"filter": {"rules": bound, "where": "delta_judge = 0.3"}})
    assert filter.dropped_by(paired(rows, made_by), filter.rules(ruled)).to_list() == [None]


def test_the_rejected_one_is_worse_by_the_bound_at_least() -> None:
    """max_random draws among those that are far enough below, not among all."""
    rows = [Given("a", "strong", sample, score) for sample, score in enumerate([1.0, 0.9, 0.8, 0.5, 0.0])]
    seen = {sides(paired(rows, recipe(seed=seed, pick="max_random", min_delta=0.5)))["a"] for seed in range(30)}
    assert seen == {("strong0", "strong3"), ("strong0", "strong4")}


def test_equal_bests_are_drawn_by_the_seed() -> None:
    """Which of two best ones is chosen is no matter of rung or sample."""
    rows = [Given("a", "strong", 0, 1.0), Given("a", "frail", 0, 1.0), Given("a", "middle", 0, 0.0)]
    rows += [Given("a", "middle", 1, 0.0)]
    seen = {sides(paired(rows, recipe(seed=seed)))["a"] for seed in range(30)}
    assert seen == {(best, worst) for best in ("strong0", "frail0") for worst in ("middle0", "middle1")}


def test_responses_without_score_or_text_are_no_candidates() -> None:
    """They neither win, nor lose, nor take the place of one that could."""
    rows = [
        Given("a", "strong", 0, None),
        Given("a", "strong", 1, 9.0, ""),
        Given("a", "middle", 0, 9.0, None),
        Given("a", "middle", 1, -9.0, " "),
        Given("a", "frail", 0, 1.0),
        Given("a", "frail", 1, 0.0),
    ]
    for candidates in (None, 2):
        assert sides(paired(rows, recipe(candidates=candidates))) == {"a": ("frail0", "frail1")}
    assert paired(rows[:5], recipe()).is_empty()


SCORES = st.lists(st.none() | st.sampled_from([0.0, 0.1, 0.3, 0.4, 0.7, 1.0]), min_size=24, max_size=24)
KEYS = [(prompt, rung, sample) for prompt in PROMPTS for rung in RUNGS for sample in (0, 1)]


def given_of(scores: list[Any]) -> list[Given]:
    return [Given(*at, score) for at, score in zip(KEYS, scores, strict=True)]


@settings(deadline=None, max_examples=40)
@given(
    scores=SCORES,
    order=st.permutations(RUNGS),
    pick=st.sampled_from(["max_min", "max_random"]),
    candidates=st.sampled_from([None, 2, 3]),
    weak=st.sampled_from([None, {"rungs": ["frail"], "at_least": 1}, {"rungs": ["frail", "middle"], "at_least": 2}]),
    control=st.sampled_from(["none", "reversed", "random"]),
)
def test_the_order_of_rungs_changes_no_pair(
    scores: list[Any], order: Any, pick: str, candidates: Any, weak: Any, control: str
) -> None:
    """Rungs written in another order, and parts read in another order, give the same pairs and deltas."""
    asked = {"pick": pick, "candidates": candidates, "weak": weak}
    first = paired(given_of(scores), recipe(control=control, **asked))
    second = paired(given_of(scores)[::-1], recipe(tuple(order), control, **asked))
    columns = [*tables.PAIR_KEY, "delta_judge"]
    assert second.select(columns).rows() == first.select(columns).rows()


@settings(deadline=None, max_examples=60)
@given(scores=SCORES, bound=st.sampled_from([0.0, 0.3, 0.6]), pick=st.sampled_from(["max_min", "max_random"]))
def test_what_pairs_by_score_promise(scores: list[Any], bound: float, pick: str) -> None:
    """The chosen one has the best score of its prompt, the rejected one the worst or any far enough below."""
    known = {at: score for at, score in zip(KEYS, scores, strict=True) if score is not None}
    pairs = paired(given_of(scores), recipe(pick=pick, min_delta=bound))
    found = sides(pairs)
    for prompt in PROMPTS:
        own = {f"{rung}{sample}": score for (asked, rung, sample), score in known.items() if asked == prompt}
        best, worst = max(own.values(), default=0.0), min(own.values(), default=0.0)
        far = best > worst and round(best - worst, 9) >= bound
        assert (prompt in found) == far
        if not far:
            continue
        chosen, rejected = (own[name] for name in found[prompt])
        assert chosen == best
        assert rejected == worst if pick == "max_min" else best > rejected and round(best - rejected, 9) >= bound
    assert (pairs["delta_judge"] > 0).all()


def eight(prompt: str, weak: int, strong: int) -> list[Given]:
    """So many frail and strong responses, every score another."""
    rows = [Given(prompt, "frail", sample, sample / 100) for sample in range(weak)]
    return rows + [Given(prompt, "strong", sample, 1 + sample / 100) for sample in range(strong)]


@pytest.mark.parametrize("at_least", [1, 2, 3, 4])
def test_weak_responses_are_among_the_candidates(at_least: int) -> None:
    """Of four candidates so many are weak at least, as the candidates themselves show."""
    asked = {"rungs": ["frail"], "at_least": at_least}
    for seed in range(12):
        made_by = recipe(seed=seed, weak=asked)
        found = candidates(eight("a", 5, 5), made_by)["a"]
        assert len(found) == 4
        assert sum(model == "frail" for model, _ in found) >= at_least


def candidates(rows: list[Given], made_by: Recipe) -> dict[str, list[tuple[str, int]]]:
    """Which responses are looked at: each that wins over all others once it alone is lifted above them.

    A response that is no candidate can be given any score without becoming chosen.
    """
    looked_at: dict[str, list[tuple[str, int]]] = {}
    for number, row in enumerate(rows):
        lifted = [*rows[:number], row._replace(score=1000.0), *rows[number + 1 :]]
        if sides(paired(lifted, made_by)).get(row.prompt, ("", ""))[0] == f"{row.model}{row.sample}":
            looked_at.setdefault(row.prompt, []).append((row.model, row.sample))
    return looked_at


def test_the_number_of_candidates() -> None:
    """As many as asked for, four with `weak`, all without either; a seed draws them, and each has its turn."""
    rows = eight("a", 3, 4)
    assert len(candidates(rows, recipe())["a"]) == 7
    seen: set[tuple[str, int]] = set()
    for seed in range(20):
        two = candidates(rows, recipe(seed=seed, candidates=2))["a"]
        assert len(two) == 2
        seen |= {*two}
    assert len(seen) == 7
    weak = {"rungs": ["frail"], "at_least": 1}
    assert len(candidates(rows, recipe(weak=weak))["a"]) == 4
    assert len(candidates(rows, recipe(weak=weak, candidates=6))["a"]) == 6
    assert len(candidates(eight("a", 6, 6), recipe(weak={"rungs": ["frail"], "at_least": 5}))["a"]) == 5


def test_a_prompt_with_too_few_weak_responses_makes_no_pair() -> None:
    """One weak response where two are asked for: nothing; failed, empty and unscored ones do not count."""
    rows = eight("a", 1, 5) + eight("b", 2, 5) + eight("c", 0, 4)
    rows += [Given("d", "frail", 0, 0.0), Given("d", "frail", 1, None), Given("d", "frail", 2, 0.0, "")]
    rows += [Given("d", "strong", 0, 1.0)]
    assert set(sides(paired(rows, recipe(weak={"rungs": ["frail"]})))) == {"b"}
    assert set(sides(paired(rows, recipe(weak={"rungs": ["frail"], "at_least": 1})))) == {"a", "b", "d"}


def test_the_weak_may_be_of_several_rungs() -> None:
    """They count together."""
    rows = [Given("a", "frail", 0, 0.1), Given("a", "middle", 0, 0.2)] + eight("a", 0, 6)
    for seed in range(10):
        found = candidates(rows, recipe(seed=seed, weak={"rungs": ["frail", "middle"], "at_least": 2}))["a"]
        assert {("frail", 0), ("middle", 0)} <= {*found}


def test_another_prompt_changes_no_candidates() -> None:
    """Draws belong to responses: adding prompts moves nobody."""
    made_by = recipe(weak={"rungs": ["frail"]}, pick="max_random")
    alone = sides(paired(eight("a", 5, 5), made_by))
    together = sides(paired(eight("b", 4, 4) + eight("a", 5, 5) + eight("d", 3, 3), made_by))
    assert together["a"] == alone["a"]
    assert set(together) == {"a", "b", "d"}


def test_reversed_turns_every_pair_round() -> None:
    """The same pairs, the worse one chosen: every delta has the other sign."""
    there, back = (paired(HAND, recipe(control=control)) for control in ("none", "reversed"))
    assert sides(back) == {prompt: both[::-1] for prompt, both in sides(there).items()}
    assert back["delta_judge"].to_list() == [-delta for delta in there["delta_judge"]] == [-0.75, -0.75, -4.0]


def test_random_tosses_a_coin_for_each_pair() -> None:
    """The same pairs, some turned round, which ones by the seed."""
    there = sides(paired(HAND, recipe()))
    turned = set()
    for seed in range(30):
        pairs = paired(HAND, recipe(control="random", seed=seed))
        found = sides(pairs)
        assert found.keys() == there.keys()
        assert all({*found[prompt]} == {*there[prompt]} for prompt in there)
        for prompt, delta in zip(found, pairs["delta_judge"], strict=True):
            assert (delta < 0) == (found[prompt] != there[prompt])
        turned.add(tuple(found[prompt] != there[prompt] for prompt in there))
    assert len(turned) == 8  # all ways for three coins to fall


MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"by": "jugde"}, "pair.pairings.by: no scorer is called 'jugde'", "did you mean 'judge'?"),
    (
        {"by": "judge", "weak": {"rungs": ["weka"]}},
        "pair.pairings.weak.rungs: no rung is called 'weka'",
        "did you mean 'weak'?",
    ),
    (
        {"by": "judge", "candidates": 3, "weak": {"rungs": ["weak"], "at_least": 4}},
        "pair.pairings.weak.at_least: is more than there are candidates",
        "raise `candidates`",
    ),
    ({"by": "judge", "candidates": 1}, "pair.pairings.candidates", "2"),
    ({"by": "judge", "pick": "min_max"}, "pair.pairings.pick", "max_min"),
    ({"by": "judge", "min_delta": -0.1}, "pair.pairings.min_delta", "0"),
    ({"by": "judge", "least": 1}, "pair.pairings.least", "unknown key"),
    ({"pick": "max_min"}, "pair.pairings.by", "by"),
]


def by_score(folder: Path, pairings: dict[str, Any]) -> Project:
    """A project that pairs by scores of a file; the file has a row of each response."""
    project = Project(folder, prompts=6)
    lines = [
        f"Tell me about number {number}.,{rung},{score}"
        for number in range(6)
        for rung, score in (("strong", 0.4), ("weak", 0.7 if number else 0.4))
    ]
    (folder / "judge.csv").write_text("\n".join(["prompt,model,score", *lines]) + "\n")
    project.recipe["score"] = [{"name": "judge", "scores": "judge.csv"}]
    project.recipe["pair"] = {"pairings": pairings}
    project.recipe["filter"] = {"rules": []}
    return project


@pytest.mark.parametrize(("pairings", "what", "cure"), MISTAKES, ids=[str(mistake[0]) for mistake in MISTAKES])
def test_a_mistake_in_the_recipe_ends_with_exit_2(
    tmp_path: Path, pairings: dict[str, Any], what: str, cure: str
) -> None:
    """With its address, file and line, before any work."""
    said = by_score(tmp_path, pairings).run(code=2)
    assert said.startswith("error: recipe.yaml:")
    assert what in said
    assert cure in said
    assert not (tmp_path / "runs").exists()


def test_tied_pairs_do_not_go_by_score(tmp_path: Path) -> None:
    """Two samples of one rung and the best of a prompt cannot both be asked for."""
    project = by_score(tmp_path, {"by": "judge"})
    project.recipe["pair"]["control"] = "tied"
    said = project.run(code=2)
    assert "pair.control: tied pairs are two samples of one rung, and these go by score" in said
    assert "name rungs in `pairings`, or take `reversed` or `random`" in said


def test_a_run_by_score_from_recipe_to_dataset(tmp_path: Path) -> None:
    """The weak rung wins where its score is higher, the tie makes no pair, and the dataset has the same rows."""
    project = by_score(tmp_path, {"by": "judge", "min_delta": 0.3})
    project.recipe["holdout"] = 0.0
    project.run()
    told = json.loads((project.path / "report.json").read_text())
    assert [finding["text"] for finding in told["findings"] if finding["kind"] in ("by_score", "holds")] == [
        f"{told['by']} chose the sides, so that its own agreement is no evidence."
    ]
    pairs = project.pairs()
    assert pairs.height == 5
    assert set(pairs["chosen_model"]) == {"weak"}
    assert set(pairs["rejected_model"]) == {"strong"}
    assert pairs["delta_judge"].round(9).to_list() == [0.3] * 5
    rows = pl.read_parquet(project.path / "dataset" / "data" / "default" / "train-*.parquet")
    assert rows["prompt_id"].to_list() == pairs["prompt_id"].to_list()
    facts = project.record()["tables"]["pairs"]["facts"]
    assert facts["prompts_without_pair"] == 1
    assert facts["unpaired"] == {"their candidates' scores are not far enough apart": 1}


NO_ORDER = "a rung has no answer to them"
FEW = "they have fewer than two answers"
UNSCORED = "fewer than two of their answers have a score by judge"
ALIKE = "their candidates' scores are not far enough apart"


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ({"pairings": "ends"}, {NO_ORDER: 1}),
        ({"pairings": "ends", "also": {"by": "judge"}}, {NO_ORDER: 1}),
        ({"pairings": "ends", "also": {"by": "judge", "exclusive": True}}, {ALIKE: 1, UNSCORED: 1, FEW: 1}),
        ({"pairings": {"by": "judge"}}, {ALIKE: 1, UNSCORED: 1, FEW: 1}),
        ({"pairings": {"by": "judge", "min_delta": 9.0}}, {ALIKE: 2, UNSCORED: 1, FEW: 1}),
    ],
)
def test_each_prompt_without_a_pair_is_counted_under_what_it_lacks(
    section: dict[str, Any], why: dict[str, int]
) -> None:
    """Answers, scores, or a difference of scores."""
    a, b, c, d = list(PROMPTS)
    texts = [Response(prompt, rung, 0, f"{rung} says") for prompt in (a, b, c) for rung in RUNGS]
    texts.append(Response(d, RUNGS[0], 0, "alone"))
    numbers = {(a, 0): 1.0, (a, 1): 0.0, (a, 2): 0.0, (b, 0): 1.0, (b, 1): 1.0, (b, 2): 1.0, (c, 0): 1.0}
    scores = pl.DataFrame(
        [(key(prompt), RUNGS[place], 0, score) for (prompt, place), score in numbers.items()],
        schema={"prompt_id": pl.String, "model": pl.String, "sample": pl.UInt32, "judge": pl.Float64},
        orient="row",
    )
    made_by = ladder_recipe(
        samples=1, pair=section | {"measures": []}, score=[{"name": "judge", "scores": "judge.csv"}], seed=0
    )
    with tempfile.TemporaryDirectory() as folder:
        responses = pair.response_numbers(frames(write_parts(Path(folder), texts)), prompts_frame(), made_by, [scores])
    pairs = pair.pair(responses, made_by)
    told = unpaired.facts(prompts_frame(), unpaired.counted(responses, made_by), pairs, made_by)
    assert told == {"prompts_without_pair": sum(why.values()), "unpaired": why}
    assert sum(why.values()) == prompts_frame().height - pairs["prompt_id"].n_unique()


def test_reasons_have_counts_where_there_are_several() -> None:
    """One reason stands alone; pairs of an older version have none."""
    assert unpaired.said({"unpaired": {FEW: 3}}) == FEW
    assert unpaired.said({"unpaired": {FEW: 3, ALIKE: 1}}) == f"{FEW} (3); {ALIKE} (1)"
    assert unpaired.said({}) == "why was not counted when the pairs were made"


def test_a_run_by_score_without_a_pair_says_why(tmp_path: Path) -> None:
    """Scores that do not differ enough, or that no response has: neither is for want of responses."""
    project = by_score(tmp_path, {"by": "judge", "min_delta": 0.5})
    said = project.run(code=2)
    assert "error: pair.pairings: no prompt has two responses whose scores by 'judge' differ by 0.5\n" in said
    assert "cure: ask for less, or score more responses" in said
    assert "deltadata show runs/tiny scores/judge" in said
    project.recipe["pair"] = {"pairings": {"by": "judge", "weak": {"rungs": ["weak"], "at_least": 2}}}
    said = project.run("run", "recipe.yaml", "--run", "runs/weak", code=2)
    assert "whose scores by 'judge' differ, with 2 of weak among its candidates\n" in said
    blank = [line.rpartition(",")[0] + "," for line in (tmp_path / "judge.csv").read_text().splitlines()[1:]]
    (tmp_path / "judge.csv").write_text("\n".join(["prompt,model,score", *blank]) + "\n")
    said = project.run("run", "recipe.yaml", "--run", "runs/blank", code=2)
    assert "judge: 0 of 12 responses have a score; 'score' of judge.csv is empty in every row that matches\n" in said
    assert "error: pair.pairings: no response has a score by 'judge'\n" in said


def test_fields_of_pairs_by_score_stand_under_pairings(tmp_path: Path) -> None:
    """`pair: {by: judge}` is told where it goes."""
    project = by_score(tmp_path, {"by": "judge"})
    project.recipe["pair"] = {"by": "judge"}
    said = project.run(code=2)
    assert "pair.by: goes under `pairings`" in said
    assert "cure: write pair: {pairings: {by: SCORER, ...}}" in said
