"""Pairs exist where both responses do, the stronger rung's is chosen, and delta = chosen - rejected.

pytest tests/test_pair.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ladder import LADDER, PROMPTS, RUNGS, Response, frames, key, numbers, prompts_frame, recipe, write_parts
from project import Project

from deltadata import pair
from deltadata.errors import UserError
from deltadata.pair import Pairing, pairings
from deltadata.recipe import Recipe
from deltadata.tables import CHOSEN, MODEL, PROMPT_ID, REJECTED, SAMPLE, SIDES, delta, of

Told = tuple[str, str, str, float | None, float | None, float | None]

STRONG_MIDDLE: list[Told] = [
    # prompt, chosen and rejected as rung/sample, deltas of tokens, characters and log2 of the characters
    ("a", "strong/0", "middle/0", 2, 2, 1),
    ("a", "strong/1", "middle/1", 6, 6, 2),
    ("d", "strong/0", "middle/0", 0, 0, 0),
]
MIDDLE_FRAIL: list[Told] = [
    ("a", "middle/0", "frail/0", 1, 1, 1),
    ("c", "middle/0", "frail/0", None, -2, -1),
    ("d", "middle/0", "frail/0", 1, 1, None),
]
STRONG_FRAIL: list[Told] = [
    ("b", "strong/0", "frail/0", -2, -2, -1),
    ("a", "strong/0", "frail/0", 3, 3, 2),
    ("d", "strong/0", "frail/0", 1, 1, None),
]


def told(pairs: pl.DataFrame) -> list[Told]:
    """The pairs as the literal rows above."""
    columns = [PROMPT_ID, *(of(side, column) for side in SIDES for column in (MODEL, SAMPLE))]
    columns += [delta(name) for name in ("tokens", "characters", "response_ratio")]
    return [
        (prompt[0], f"{chosen}/{i}", f"{rejected}/{j}", *deltas)
        for prompt, chosen, i, rejected, j, *deltas in pairs.select(columns).iter_rows()
    ]


def paired(folder: Path, responses: list[Response] = LADDER, samples: int = 2, **settings: Any) -> list[Told]:
    """The pairs of a ladder under these settings of `pair:`."""
    found = pair.pair(numbers(write_parts(folder, responses), samples), recipe(samples=samples, pair=settings))
    return told(found)


def swapped(rows: list[Told]) -> list[Told]:
    """The same pairs with the sides exchanged."""
    return [(p, r, c, *(None if d is None else -d for d in deltas)) for p, c, r, *deltas in rows]


def test_adjacent_pairs_every_rung_with_the_next(tmp_path: Path) -> None:
    """Rungs 1-2, then 2-3, each in the order of prompts and samples; what has no counterpart makes no pair."""
    assert paired(tmp_path) == STRONG_MIDDLE + MIDDLE_FRAIL
    assert paired(tmp_path, pairings="adjacent") == STRONG_MIDDLE + MIDDLE_FRAIL


def test_ends_pairs_the_first_rung_with_the_last(tmp_path: Path) -> None:
    """The rungs between are left out."""
    assert paired(tmp_path, pairings="ends") == STRONG_FRAIL


def test_all_pairs_every_rung_with_every_weaker_one(tmp_path: Path) -> None:
    """Three rungs give three pairings, stronger first."""
    assert paired(tmp_path, pairings="all") == STRONG_MIDDLE + STRONG_FRAIL + MIDDLE_FRAIL


def test_explicit_pairings_are_taken_as_they_are(tmp_path: Path) -> None:
    """The order of the list holds, and it may even set a rung over a stronger one."""
    asked = [["frail", "strong"], ["strong", "middle"]]
    assert swapped(STRONG_FRAIL) + STRONG_MIDDLE == paired(tmp_path, pairings=asked)


def test_pairings_are_named_stronger_first() -> None:
    """Each shape gives its pairings literally."""
    strong, middle, frail = RUNGS
    expected = {
        "adjacent": [(strong, middle), (middle, frail)],
        "ends": [(strong, frail)],
        "all": [(strong, middle), (strong, frail), (middle, frail)],
    }
    assert expected == {shape: pairings(recipe(pair={"pairings": shape})) for shape in expected}
    assert [Pairing(frail, strong)] == pairings(recipe(pair={"pairings": [[frail, strong]]}))


@pytest.mark.parametrize("shape", ["adjacent", "ends", "all"])
def test_one_rung_is_refused(shape: str) -> None:
    """A single rung leaves nothing to pair, and the message says what to add."""
    with pytest.raises(UserError) as met:
        pairings(recipe(["lonely"], pair={"pairings": shape}))
    assert (met.value.where, met.value.cure) == ("generate.rungs", "add a weaker rung below it")


def test_reversed_swaps_sides_and_signs(tmp_path: Path) -> None:
    """The control `reversed` has the pairs of `none`, the weaker rung's response chosen, every delta negated."""
    assert swapped(STRONG_MIDDLE + MIDDLE_FRAIL) == paired(tmp_path, control="reversed")


TIED = [Response("a", "strong", sample, "a" * 2**sample, sample) for sample in range(5)]
TIED += [Response("b", "strong", 1, "bb", 2), Response("c", "strong", 0, "c", 1)]
TIED += [Response("d", "strong", 0, "dd", 2), Response("d", "strong", 1, None)]
TIED += [Response(prompt, model, 0, "x", 1) for prompt in "abcd" for model in ("middle", "frail")]


def test_tied_pairs_two_samples_of_each_stronger_rung(tmp_path: Path) -> None:
    """Samples 0-1, 2-3 ... of one rung are paired, never with another rung, and a half without its other is left."""
    expected = [("a", "strong/0", "strong/1", -1, -1, -1), ("a", "strong/2", "strong/3", -1, -4, -1)]
    assert expected == paired(tmp_path, TIED, samples=5, pairings="ends", control="tied")
    assert expected == paired(tmp_path, TIED, samples=5, pairings="all", control="tied")


def test_tied_is_refused_with_one_sample(tmp_path: Path) -> None:
    """One sample cannot be paired with itself; the message says which rung and which key."""
    with pytest.raises(UserError) as met:
        paired(tmp_path, samples=1, control="tied")
    assert "two samples of 'strong', which has one" in met.value.what
    assert (met.value.where, "generate.sampling.samples" in str(met.value.cure)) == ("pair.control", True)


def test_tied_takes_the_samples_that_an_imported_rung_has(tmp_path: Path) -> None:
    """Existing responses are not asked for by `samples`, so a file with two of them can be tied."""
    tree = recipe(samples=1, pair={"pairings": "ends", "control": "tied"}).model_dump()
    tree["generate"]["rungs"][0] |= {"model": None, "responses": "theirs.jsonl"}
    found = pair.pair(numbers(write_parts(tmp_path, LADDER)), Recipe.model_validate(tree))
    assert told(found) == [("a", "strong/0", "strong/1", -4, -4, -1)]


MANY = [Response(prompt, model, sample, "x" * (1 + i), i) for i, model in enumerate(RUNGS) for prompt in PROMPTS
        for sample in range(10)]  # fmt: skip


def test_random_tosses_one_coin_per_pair(tmp_path: Path) -> None:
    """The control `random` has the pairs of `none` in their order, some turned round, each by a coin of its own."""
    plain = paired(tmp_path, MANY, samples=10, pairings="all")
    tossed = paired(tmp_path, MANY, samples=10, pairings="all", control="random")
    turned = [row != before for row, before in zip(tossed, plain, strict=True)]
    assert tossed == [swapped([row])[0] if turn else row for row, turn in zip(plain, turned, strict=True)]
    assert 40 <= sum(turned) <= 80 and len(turned) == 120
    for start in range(0, 120, 10):  # the ten samples of one pairing and prompt
        assert {True, False} == set(turned[start : start + 10])
    assert turned[:40] != turned[40:80] != turned[80:]  # the three pairings


def test_random_is_fixed_by_the_seed(tmp_path: Path) -> None:
    """The same seed tosses the same twice; another one tosses otherwise."""
    found = numbers(write_parts(tmp_path, MANY), 10)

    def tossed(seed: int) -> list[Told]:
        return told(pair.pair(found, recipe(samples=10, pair={"control": "random"}, seed=seed)))

    assert tossed(0) == tossed(0)
    assert tossed(0) != tossed(1)


def test_an_added_prompt_turns_no_other_pair_round(tmp_path: Path) -> None:
    """Coins belong to pairs, not to their number."""
    fewer = [response for response in MANY if response.prompt != "b"]
    asked: dict[str, Any] = {"samples": 10, "control": "random"}
    assert paired(tmp_path, fewer, **asked) == [row for row in paired(tmp_path, MANY, **asked) if row[0] != "b"]


def test_what_the_recipe_no_longer_asks_for_makes_no_pair(tmp_path: Path) -> None:
    """Responses to prompts that left the pool, and samples at or above the number asked for, stay out."""
    gone = [Response("e", rung, 0, "e", 1) for rung in RUNGS] + [Response("a", rung, 2, "a", 1) for rung in RUNGS]
    assert paired(tmp_path, LADDER + gone) == STRONG_MIDDLE + MIDDLE_FRAIL
    first_samples = [row for row in STRONG_MIDDLE + MIDDLE_FRAIL if row[1][-1] == "0"]
    assert first_samples == paired(tmp_path, samples=1)


def test_each_rung_has_its_own_number_of_samples(tmp_path: Path) -> None:
    """A rung that is asked for fewer samples than another bounds the pairs of both."""
    files = write_parts(tmp_path, LADDER)
    tree = recipe().model_dump()
    tree["generate"]["rungs"][1]["sampling"] = {"samples": 1}
    found = pair.response_numbers(frames(files), prompts_frame(), Recipe.model_validate(tree))
    assert [STRONG_MIDDLE[0], STRONG_MIDDLE[2], *MIDDLE_FRAIL] == told(pair.pair(found, recipe()))


def test_a_pair_knows_its_sides(tmp_path: Path) -> None:
    """Pool, tokens, finish reasons, emptiness and sameness stand beside each pair, each on its own side."""
    found = pair.pair(numbers(write_parts(tmp_path, LADDER)), recipe())
    facts = ["pool", "chosen_tokens", "rejected_tokens", "chosen_finish_reason", "rejected_finish_reason"]
    facts += ["chosen_is_empty", "rejected_is_empty", "same_text"]
    expected = [
        ("own", 4, 2, "stop", "stop", False, False, False),
        ("own", 8, 2, "stop", "stop", False, False, False),
        ("own", 1, 1, "length", "stop", False, False, True),
        ("own", 2, 1, "stop", "stop", False, False, False),
        ("own", 2, None, "stop", "stop", False, False, False),
        ("own", 1, 0, "stop", "stop", False, True, False),
    ]
    assert expected == found.select(facts).rows()


def test_white_space_is_empty(tmp_path: Path) -> None:
    """A response of spaces and line breaks counts as empty though it has characters."""
    blank = [Response("a", "strong", 0, " \n\t "), Response("a", "middle", 0, "a")]
    found = pair.pair(numbers(write_parts(tmp_path, blank)), recipe(RUNGS[:2]))
    assert found.select("chosen_is_empty", "rejected_is_empty", "delta_characters").rows() == [(True, False, 3.0)]


@st.composite
def ladders(draw: st.DrawFn) -> list[Response]:
    """Any responses of three rungs to four prompts, up to three samples: missing, failed, empty, equal, uncounted."""
    keys = [(prompt, rung, sample) for prompt in PROMPTS for rung in RUNGS for sample in range(3)]
    there = st.tuples(st.sampled_from([None, "", " ", "a", "bb", "ö b"]), st.none() | st.integers(0, 9))
    # Two in three exist, so that most draws have pairs; every rung has a part, if only of a prompt no longer asked.
    drawn = draw(st.lists(st.one_of(st.none(), there, there), min_size=len(keys), max_size=len(keys)))
    rows = [Response(*which, *found) for which, found in zip(keys, drawn, strict=True) if found]
    return rows + [Response("e", rung, 0, "x") for rung in RUNGS]


SHAPES = st.sampled_from(["adjacent", "ends", "all", [["frail", "middle"], ["middle", "strong"]]])


@settings(deadline=None, max_examples=25)
@given(ladder=ladders(), shape=SHAPES)
def test_a_pair_exists_exactly_where_both_responses_do(ladder: list[Response], shape: Any) -> None:
    """For any ladder the pairs are those keys that have a text on both rungs of a pairing."""
    asked = recipe(pair={"pairings": shape})
    there = {(row.prompt, row.model, row.sample) for row in ladder if row.text is not None}
    expected = [
        (prompt, f"{chosen}/{sample}", f"{rejected}/{sample}")
        for chosen, rejected in pairings(asked)
        for prompt in PROMPTS
        for sample in range(2)
        if {(prompt, chosen, sample), (prompt, rejected, sample)} <= there
    ]
    with tempfile.TemporaryDirectory() as folder:
        assert expected == [row[:3] for row in paired(Path(folder), ladder, pairings=shape)]


@settings(deadline=None, max_examples=25)
@given(ladder=ladders(), shape=SHAPES)
def test_swapping_the_sides_flips_every_delta(ladder: list[Response], shape: Any) -> None:
    """For any ladder, `reversed` and pairings written the other way round negate every delta; null stays null."""
    other_way = [list(pairing)[::-1] for pairing in pairings(recipe(pair={"pairings": shape}))]
    with tempfile.TemporaryDirectory() as folder:
        plain = paired(Path(folder), ladder, pairings=shape)
        assert swapped(plain) == paired(Path(folder), ladder, pairings=shape, control="reversed")
        assert swapped(plain) == paired(Path(folder), ladder, pairings=other_way)


@settings(deadline=None, max_examples=25)
@given(
    ladder=ladders(),
    random=st.randoms(use_true_random=False),
    part_rows=st.integers(1, 5),
    control=st.sampled_from(["none", "reversed", "tied", "random"]),
)
def test_neither_rows_nor_files_have_an_order(
    ladder: list[Response], random: Any, part_rows: int, control: str
) -> None:
    """Rows shuffled, rungs read in another order and parts cut elsewhere give the same pairs in the same order."""
    asked = recipe(pair={"pairings": "all", "control": control})
    shuffled = random.sample(ladder, len(ladder))
    with tempfile.TemporaryDirectory() as folder:
        (here := Path(folder) / "here").mkdir()
        (there := Path(folder) / "there").mkdir()
        whole = pair.pair(numbers(write_parts(here, ladder)), asked)
        cut = pair.pair(numbers(write_parts(there, shuffled, part_rows)), asked)
    places = [of(side, pair.ROW) for side in SIDES]
    assert whole.drop(places).to_dicts() == cut.drop(places).to_dicts()


def test_a_place_is_the_row_of_the_response_over_all_parts(tmp_path: Path) -> None:
    """Error rows and rows that make no pair are counted too, so that the text can be fetched by number."""
    ladder = [Response("e", rung, 0, "x") for rung in RUNGS] + LADDER
    found = pair.pair(numbers(write_parts(tmp_path, ladder, part_rows=2)), recipe(pair={"pairings": "ends"}))
    expected = [(key("b"), 3, 2), (key("a"), 1, 1), (key("d"), 5, 4)]
    assert expected == found.select(PROMPT_ID, of(CHOSEN, pair.ROW), of(REJECTED, pair.ROW)).rows()


def test_tied_pairs_of_an_answer_each_are_none(tmp_path: Path) -> None:
    """An imported rung with one response a prompt: that is the cause, not a weaker rung that did not answer."""
    project = Project(tmp_path, prompts=3)
    rows = [{"prompt": f"Tell me about number {i}.", "response": "So."} for i in range(3)]
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    project.recipe["generate"]["rungs"][0] = {"name": "old", "responses": "old.jsonl"}
    project.recipe["pair"] = {"control": "tied"}
    said = project.run(code=2)
    assert "error: pair.control: no prompt has two samples of 'old'\n" in said
    assert "several responses a prompt" in said
