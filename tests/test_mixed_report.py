"""What report, page, card and terminal say of a set that has pairs by order and by score: of the order, by order alone.

pytest tests/test_mixed_report.py
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from card_facts import FACTS, KEPT, TOLD, facts, stats, table_rows, told
from hypothesis import given, settings
from rich.console import Console
from test_limits import limits_of
from test_mixed import TYPE, project_of
from test_page import seen
from test_report import JUDGED, from_rows, ladder_of, made, rungs
from test_report import frame as one_kind

from deltadata import card, figures, kinds, page, pictures
from deltadata.pair_sections import ByScore
from deltadata.recipe import load
from deltadata.report import About
from deltadata.scorer_notes import findings as scorer_findings
from deltadata.screen import Screen

WON, LOST, EVEN = {"delta_judge": 1.0}, {"delta_judge": -1.0}, {"delta_judge": 0.0}
PLAIN = {"chosen", "rejected", "pairs", "kept", "measures", "measures_kept", "by_pool", "by_split", "similarity"}


def frame(*changes: dict[str, Any]) -> pl.DataFrame:
    """Pairs of which each names its kind, or is by order."""
    kinds_of = pl.Series(TYPE, [change.get(TYPE, "order") for change in changes], dtype=pl.String)
    return one_kind(*({k: v for k, v in change.items() if k != TYPE} for change in changes)).with_columns(kinds_of)


def mixed_report(*changes: dict[str, Any], **about: Any) -> dict[str, Any]:
    return made(frame(*changes), about.pop("ladder", None), also="judge", **about)


def test_a_pairing_is_of_one_kind() -> None:
    """The same two rungs by order and by score are two pairings; what both ways found is by order."""
    report = mixed_report(
        {TYPE: "score", "delta_judge": 3.0},
        {TYPE: "both", "delta_judge": 2.0},
        LOST,
        LOST | {"chosen_model": "mid"},
        {TYPE: "score", "chosen_model": "small", "rejected_model": "big", "dropped_by": "finished"},
    )
    assert [(kinds.sides(one), one["pairs"], one["kept"]) for one in report["pairings"]] == [
        ("big over small by order", 2, 2),
        ("mid over small by order", 1, 1),
        ("big over small by score", 1, 1),
        ("small over big by score", 1, 0),
    ]
    assert [one[TYPE] for one in report["pairings"]] == ["order", "order", "score", "score"]
    assert [one["measures"]["judge"]["mean"] for one in report["pairings"]] == [0.5, -1.0, 3.0, 1.0]
    assert [one["measures"]["judge"]["agreement"] for one in report["pairings"]] == [0.5, 0.0, 1.0, 1.0]
    assert report["also"] == "judge"


def test_the_report_of_one_kind_has_no_further_key() -> None:
    """Neither a kind nor who picked the pairs by score."""
    report = made(one_kind(WON, LOST))
    assert set(report["pairings"][0]) == {*PLAIN, "length_bias"}
    assert "also" not in report
    assert kinds.sides(report["pairings"][0]) == "big over small"
    assert TYPE not in About._fields


@settings(deadline=None, max_examples=25)
@given(rows=JUDGED)
def test_pairs_by_order_are_told_of_as_if_they_were_alone(rows: list[tuple[Any, ...]]) -> None:
    """Pairings by order, slices and agreement through the funnel are those of a report without the other pairs."""
    pairs = from_rows(rows)
    by_score = pl.Series([place % 3 == 0 for place in range(pairs.height)], dtype=pl.Boolean)
    named = pairs.with_columns(pl.when(by_score).then(pl.lit("score")).otherwise(pl.lit("order")).alias(TYPE))
    both, alone = made(named, ladder_of(rows), also="judge"), made(pairs.filter(~by_score), ladder_of(rows))
    ordered = [{k: v for k, v in one.items() if k != TYPE} for one in kinds.ordered(both["pairings"])]
    if both["length_measure"] == alone["length_measure"]:
        assert ordered == alone["pairings"]
    for mine, other in zip(both["funnel"], alone["funnel"], strict=True):
        for when in ("delta_before", "delta_after"):
            for measure in ("judge", "tokens"):
                assert mine[when][measure]["agreement"] == other[when][measure]["agreement"]
    assert both["slices_seen"] == alone["slices_seen"]
    assert sum(one["pairs"] for one in both["pairings"]) == pairs.height


def test_the_funnel_has_means_of_all_pairs_and_agreement_of_those_by_order() -> None:
    """Two of four by order agree before the rule, one of three after it; the pair by score is in the means alone."""
    report = mixed_report(
        WON | {"dropped_by": "finished"}, WON, LOST, LOST, {TYPE: "score", "delta_judge": 5.0}, rules=["finished"]
    )
    (rule,) = report["funnel"]
    before, after = (rule[key]["judge"] for key in ("delta_before", "delta_after"))
    assert (before["n"], before["mean"], before["agreement"]) == (5, 1.0, 0.5)
    assert (after["n"], after["mean"], after["agreement"]) == (4, 1.0, pytest.approx(1 / 3))


def test_pairings_by_score_have_no_slices_and_no_length_bias() -> None:
    """Eighty pairs by score in two pools that both lose are no slice where the order inverts."""
    rows = [
        LOST | {TYPE: "score", "pool": pool, "delta_tokens": float(n)} for n in range(40) for pool in ("own", "other")
    ]
    report = mixed_report(WON, *rows)
    assert (report["slices"], report["slices_seen"]) == ([], 0)
    assert [one["length_bias"] is None for one in report["pairings"]] == [False, True]


def test_saturation_counts_all_pairs_and_agreement_of_those_by_order() -> None:
    """Of two pairs with the same chosen score one is by score: both are counted, the agreement is of the other."""
    ladder = rungs(
        {"prompt_id": "p0", "judge": 4.0}, {"prompt_id": "p1", "judge": 4.0}, {"model": "small", "judge": 3.0}
    )
    quarters = mixed_report(LOST, WON | {TYPE: "score"}, ladder=ladder)["saturation"]["quarters"]
    assert [(one["pairs"], one["mean"], one["agreement"]) for one in quarters] == [(2, 0.0, 0.0)]


def test_findings_are_of_the_order() -> None:
    """Pairs by score are counted, their agreement is none; no line for each of their small pairings."""
    scored = [
        WON | {TYPE: "score", "chosen_model": name, "rejected_model": "x"} for name in "abcdefgh" for _ in range(4)
    ]
    report = mixed_report(*[WON] * 30, *[LOST | {"chosen_model": "mid"}] * 30, *scored)
    texts = [one["text"] for one in report["findings"]]
    assert [one["kind"] for one in report["findings"]][:2] == ["inverts", "holds"]
    assert texts[0].startswith("Your stronger rung loses: by judge, small beats mid (")
    assert texts[1].endswith("for big over small by order.")
    assert not [text for text in texts if "too few" in text or "pairings" in text]
    said = "32 pairs are by score: judge picked their two responses, so that its agreement there is no evidence of the "
    assert f"{said}order." in texts
    assert "Pairs by score: the chosen side is longer in 100 % of 32 (tokens)." in texts
    assert sum("by score" in text for text in texts) == 2


def test_strengths_are_held_against_pairings_by_order_alone() -> None:
    """A pairing by score that goes against the recipe is no order to be against."""
    values = {"big": 3.0, "small": 2.0, "mid": 1.0}
    ladder = rungs(*(
        {"prompt_id": f"p{n}", "model": name, "judge": value} for n in range(60) for name, value in values.items()
    ))  # fmt: skip
    against = {"chosen_model": "mid"}
    for kind, level in (("score", "note"), ("order", "warn")):
        report = mixed_report(WON, against | {TYPE: kind}, ladder=ladder)
        ((found, text),) = [(one["level"], one["text"]) for one in report["findings"] if one["kind"] == "strengths"]
        assert found == level
        assert text.endswith("no pairing is against it.") == (kind == "score")


def test_a_set_of_one_kind_has_no_finding_of_pairs_by_score() -> None:
    """Nothing is said where there is nothing to tell apart."""
    assert list(scorer_findings(made(one_kind(*[WON] * 40)))) == []


def drawn_of(report: dict[str, Any], pairs: pl.DataFrame, ladder: pl.DataFrame, folder: Path) -> dict[str, str]:
    return {name: seen(svg) for name, svg in pictures.draw(report, pairs, ladder, folder).items()}


def test_pictures_of_the_order_leave_pairs_by_score_out(tmp_path: Path) -> None:
    """Agreement, quality and length are of pairs by order, and say so; histograms are of all, each with its kind."""
    pairs = frame(*[WON] * 20, *[LOST] * 20, *[WON | {TYPE: "score"}] * 35)
    ladder = rungs(*({"prompt_id": f"p{n}", "judge": float(n % 7), "tokens": float(n)} for n in range(75)))
    report = made(pairs, ladder, also="judge")
    words = drawn_of(report, pairs, ladder, tmp_path)
    for name in ("agreement", "quality", "length"):
        assert "by score are left out" in words[name]
        assert "small by score" not in words[name]
    assert "big over small by order: 50 % agree on judge" in words["agreement"]
    assert "positive in 50 % of the pairs" in words["deltas"]
    assert "big over small by order" in words["deltas"] and "big over small by score" in words["deltas"]
    plain = drawn_of(made(one_kind(*[WON] * 40), ladder), one_kind(*[WON] * 40), ladder, tmp_path)
    assert not [text for text in plain.values() if "by score" in text or "by order" in text]


def test_only_pairs_by_score_are_drawn_as_such(tmp_path: Path) -> None:
    """Without a pair by order there is no picture of the order."""
    pairs = frame(*[WON | {TYPE: "score"}] * 35)
    words = drawn_of(made(pairs, also="judge"), pairs, rungs(), tmp_path)
    assert "agreement" not in words and "100 % of the pairs" in words["deltas"]


def test_the_card_describes_pictures_as_they_are() -> None:
    """In words: agreement and length by order, histograms of both kinds."""
    report = mixed_report(*[LOST] * 30, *[WON | {TYPE: "score"}] * 35)
    assert figures.seen("agreement", report).count(" over ") == 1
    assert "big over small by order: 0\xa0%" in figures.seen("agreement", report)
    assert "by score" not in figures.seen("length", report)
    assert "big over small by score: the delta of judge is positive in 100\xa0%" in figures.seen("deltas", report)


def test_the_page_names_the_kind_and_who_picked() -> None:
    """In the summary of each pairing, above all of them, and on the shelves of examples."""
    report = mixed_report(*[LOST] * 30, *[WON | {TYPE: "score"}] * 35)
    own = {"which": "largest", "chosen_model": "big", "rejected_model": "small", "prompt_id": "0", "pool": "own"}
    own |= {"prompt": [], "chosen": [], "rejected": [], "deltas": {}, "dropped_by": None}
    words = seen(page.render(report, {}, [own | {TYPE: "order"}, own | {TYPE: "score"}]))
    for part in (
        "Of pairs by score: judge picked their two responses, so that its agreement there is no evidence of the order.",
        "big over small by order 30 pairs, 30 kept, agreement on judge 0 %",
        "big over small by score 35 pairs, 35 kept, picked by judge",
        "Agreement is of pairs by order.",
    ):
        assert part in words, part
    assert [words.count(f"big over small by {kind}") for kind in ("score", "order")] == [2, 3], "one more: the finding"
    assert "by order" not in seen(page.render(made(one_kind(*[WON] * 30)), {}, [own]))


def test_the_terminal_marks_what_a_scorer_picked() -> None:
    """Instead of an agreement of 100 %, by that scorer alone."""
    report = mixed_report(*[LOST] * 30, *[WON | {TYPE: "score", "delta_tokens": -1.0}] * 35)
    console = Console(width=120, record=True, quiet=False, file=None, stderr=True)
    Screen(console).report(report)
    lines = console.export_text().splitlines()
    (judge, tokens) = [line.split() for line in lines if "big > small by score" in line]
    assert judge[-2:] == ["it", "picked"] and "picked" not in tokens
    assert [line for line in lines if "agreement of pairs by order" in line]


ALSO: dict[str, Any] = {
    "by": "judge", "pick": "max_min", "share": 1.0, "exclusive": False, "drawn": None,
    "preference_types": {"order": 1090, "score": 30, "both": 7}, "contradictions": 12,
}  # fmt: skip


def with_kinds(**changes: Any) -> dict[str, Any]:
    """A card's facts: the pairing of 70 kept pairs by order, and the same rungs by score."""
    by_order = copy.deepcopy(TOLD["pairings"][0]) | {TYPE: "order"}
    scored = by_order | {TYPE: "score", "kept": 25, "measures_kept": KEPT | {"judge": stats(25, 1.0, 1.0, 0.0)}}
    report = told(pairings=[by_order, scored])
    rows = [FACTS["pairings"][0] | {TYPE: kind} for kind in ("order", "score")]
    mine = {"told": report, "magnitudes": figures.magnitudes(report), "pairings": rows, "also": ALSO}
    return facts(**mine | changes)


def test_the_card_of_two_kinds() -> None:
    """Who chooses in each, how many there are of each, and no word that nobody labelled them."""
    text = card.render(with_kinds())
    assert (
        "by order, where the stronger rung's response is `chosen` and the weaker one's is `rejected`, and by score, "
        "where of a prompt the response with the highest score by `judge` is `chosen`, that with the lowest is "
        "`rejected`. The column `preference_type` says which.\nThey were kept of"
    ) in text
    assert "Before the filter 1,090 pairs were found by order alone, 30 by score alone and 7 both ways" in text
    assert "12 times both ways found the same two responses and chose another one" in text
    assert "Agreement is of pairs by order. 4 prompts have no pair" in text
    assert "both ways found the same" not in card.render(with_kinds(also=ALSO | {"contradictions": 0}))
    assert "Pairs by score were looked for" not in text
    rows = table_rows(text)
    assert ["strong over weak by order", "70", "+0.50", "65 % (60–70 %)", "−3", "40 %"] in rows
    assert ["strong over weak by score", "25", "+1", "it picked", "−3", "40 %"] in rows
    spreads = [row[-1] for row in rows if row[0] == "strong over weak by score" and len(row) == 10]
    assert spreads == ["it picked", "50 % (45–55 %)", "it picked", "62 % (57–68 %)"], "by the scorer that picked alone"
    assert [row[:4] for row in rows if row[:2] == ["strong", "weak"]] == [
        ["strong", "weak", "order", "100"],
        ["strong", "weak", "score", "100"],
    ]


@pytest.mark.parametrize(
    ("changes", "control", "said"),
    [
        ({"drawn": 4}, "none", "highest score by `judge` among 4 drawn ones is `chosen`"),
        ({"pick": "max_random"}, "none", "one of a lower score, drawn by the seed, is `rejected`. The column"),
        ({}, "reversed", "is `rejected`; then turned round: a CONTROL. The column"),
        ({}, "random", "is `rejected`; then turned round by a coin: a CONTROL. The column"),
        ({"share": 0.5}, "none", "looked for in a share of 50 % of the prompts, drawn by the seed.\n\n|"),
        ({"exclusive": True}, "none", "100 % of the prompts, drawn by the seed, which have no pairs by order.\n\n|"),
    ],
)
def test_the_card_says_how_they_were_asked_for(changes: dict[str, Any], control: str, said: str) -> None:
    """Candidates, the pick, the share, and what a control made of them."""
    assert said in card.render(with_kinds(also=ALSO | changes, control=control))


def test_who_labelled_is_told_as_it_is() -> None:
    """Checks judge nobody; other scores stand beside; soft labels and pairs by score are labels."""
    assert "No judge labelled them. They were kept" in card.render(facts(judged=False))
    assert "No score chose a side. They were kept" in card.render(facts(judged=True))
    labelled = card.render(facts(soft_label=["judge", "rm_1"]))
    assert "`.\nThey were kept" in labelled
    said = "`soft_label` is the share of these scorers that prefer `chosen`, a tie counting half: judge, rm\\_1; null"
    assert said in labelled
    assert "soft_label" not in card.render(facts())
    some = card.render(facts(by=ByScore(by="judge", candidates=3)))
    assert "of each prompt the response with the highest score by `judge` among 3 drawn ones is `chosen`" in some


def test_limits_doubt_the_order_by_its_own_pairs() -> None:
    """Small pairings by score are no doubt; one note says who picked them, and lengths are told of them together."""
    scored = [
        TOLD["pairings"][0] | {TYPE: "score", "kept": 3, "chosen": name}
        | {"measures_kept": {"judge": stats(3, 1.0, 1.0, 0.0), "tokens": stats(3, 9, 1.0, 0.0)}}
        for name in "abcd"
    ]  # fmt: skip
    even = {"judge": stats(40, 0.5, 0.5, 0.06), "tokens": stats(40, 0, 0.5, 0.0)}
    by_order = TOLD["pairings"][0] | {TYPE: "order", "measures_kept": even}
    found = limits_of(told(pairings=[by_order, *scored]), also=ALSO)
    (warn, doubt), (note, picked) = found["Order"]
    assert warn == "warn" and doubt.startswith("strong over weak by order: judge does not tell which side is better")
    assert (note, picked) == (
        "note",
        "12 of the pairs are by score alone: judge picked their two responses, so that its agreement there is no "
        "evidence; its mistakes are the labels'.",
    )
    ((level, length),) = found["Length"]
    assert level == "warn"
    assert "longer in 50 % of strong over weak by order, in 100 % of those by score." in length


def test_a_mixed_run_from_recipe_to_card(tmp_path: Path) -> None:
    """Kinds stand in report.json, the record, the card and the terminal; the counts are those of pairs.parquet."""
    project = project_of(tmp_path, {"also": {"by": "judge"}, "soft_label": ["judge"]})
    said = project.run()
    assert "strong > weak by order" in said and "weak > strong by score" in said
    pairs = project.pairs()
    report = json.loads((project.path / "report.json").read_text())
    assert [(kinds.sides(one), one["pairs"]) for one in report["pairings"]] == [
        ("strong over weak by order", 6),
        ("weak over strong by score", 3),
    ]
    recorded = project.record()["tables"]["filter"]["facts"]["pairings"]
    assert [(one[TYPE], one["pairs"]) for one in recorded] == [("order", 6), ("score", 3)]
    assert (pairs[TYPE] == "score").sum() == 3
    text = (project.path / "dataset" / "README.md").read_text()
    assert "Before the filter 4 pairs were found by order alone, 3 by score alone and 2 both ways" in text
    assert "3 times both ways found" in text
    html = seen((project.path / "report.html").read_text())
    assert "weak over strong by score 3 pairs" in html
    assert "weak over strong by score largest delta" in html
    again = load(project.path / "dataset" / "recipe.yaml")
    assert again.pair.also


def test_a_hint_of_token_counts_is_for_token_counts(tmp_path: Path) -> None:
    """A soft label that nobody knows is not cured by characters; a length in tokens that nobody counted is."""
    project = project_of(tmp_path, {"soft_label": ["judge"]})
    project.recipe["filter"] = {"rules": [{"min_soft_label": 0.0}]}
    said = project.run()
    assert "min_soft_label: 1 pair(s) dropped since what it asks for is unknown\n" in said
    assert "token counts" not in said
    lines = [json.dumps({"prompt": f"Tell me about number {n}.", "response": f"It is {n}."}) for n in range(6)]
    (tmp_path / "old.jsonl").write_text("\n".join(lines))
    project.recipe["generate"]["rungs"][1] = {"name": "weak", "responses": "old.jsonl"}
    project.recipe |= {"name": "old", "filter": {"rules": [{"min_soft_label": 0.0}, {"max_length_delta": 9}]}}
    said = project.run(code=2)
    assert "min_soft_label: 1 pair(s) dropped since what it asks for is unknown\n" in said
    assert "max_length_delta: 5 pair(s) dropped since what it asks for is unknown (imported responses have no" in said
