"""What is told of scorers that are models or mixtures: from the record's facts, word for word where it matters.

pytest tests/test_scorer_notes.py
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from ladder import do, small_run, write_sources
from rich.console import Console
from test_report import frame, made

from deltadata import scorer_notes
from deltadata.screen import Screen

JUDGED: dict[str, Any] = {
    "scorer": "judge",
    "engine": "vllm",
    "dtype": "bfloat16",
    "responses": 300,
    "form": "pairwise",
    "aspects": ["honesty", "helpfulness"],
    "scale": None,
    "requests": 1_000,
    "judged": 990,
    "position_bias": 0.07,
    "position_bias_ci95": [0.04, 0.1],
    "flips": 0.31,
    "ties": 0.05,
    "self_consistency": 0.93,
    "prompt_tokens": 1_200_000,
    "response_tokens": 30_000,
    "uncounted": 0,
    "cost": 1.32,
    "nulls": {"refused": 7, "no JSON": 3},
}
JUDGE = {"name": "judge", "scorer": "judge", "model": "org/j", "form": "pairwise"}
FORWARD = {"engine": "transformers", "dtype": "float32", "responses": 300, "max_length": 4096}
ONE = {"agreement": 0.7, "ci95": [0.66, 0.74], "n": 500}
COMBINED: dict[str, Any] = {
    "scorer": "combined",
    "rule": "logistic",
    "of": ["a", "b"],
    "labels": "people",
    "nulls": {"no score by b": 12},
    "weights": {"a": 1.25, "b": -0.5},
    "ridge": 0.1,
    "fitted_prompts": 1_200,
    "agreement": {"judge": ONE, "a": ONE | {"agreement": 0.68}, "b": ONE | {"agreement": 0.41, "ci95": None}},
    "gain": {"over": "a", "difference": 0.02, "ci95": [0.005, 0.035]},
}
MIXED = {"name": "judge", "scorer": "combined", "of": ["a", "b"], "labels": "people"}


def tree(spec: dict[str, Any], facts: dict[str, Any], scored: int = 288) -> dict[str, Any]:
    found = scorer_notes.known(spec, facts, scored)
    assert found is not None
    return found


def told(spec: dict[str, Any], facts: dict[str, Any], pairs: Any = None, **about: Any) -> dict[str, Any]:
    """The report of some pairs whose scorer `judge` is the one given."""
    return made(frame({}) if pairs is None else pairs, scored_by={"judge": tree(spec, facts)}, **about)


def said(spec: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    sentences: list[str] = told(spec, facts)["scored_by"]["judge"]["said"]
    return sentences


def found(kind: str, spec: dict[str, Any], facts: dict[str, Any], pairs: Any = None) -> list[tuple[str, str]]:
    """(level, text) of the findings of one kind."""
    return [(one["level"], one["text"]) for one in told(spec, facts, pairs)["findings"] if one["kind"] == kind]


def test_checks_and_files_are_what_they_are() -> None:
    """An older record does not even say which scorer it was."""
    assert scorer_notes.known({"name": "checks", "scorer": "checks"}, {}, 3) is None
    assert scorer_notes.known({"name": "checks", "form": "auto"}, {"scorer": "checks"}, 3) is None
    assert scorer_notes.known({"name": "g", "scores": "g.csv"}, {"read": 3}, 3) is None


def test_a_judge_word_for_word() -> None:
    """Its failures, position bias, flips, ties, consistency and cost."""
    assert said(JUDGE, JUDGED) == [
        "10 judgements have no verdict: refused (7), no JSON (3).",
        "It prefers the response shown first in 57 % (95 % interval 54-60 %) of the verdicts that are no tie.",
        "It contradicts itself in 31 % of the pairs when the two change places; 5 % of the verdicts are ties.",
        "Its draws agree with each other in 93 %.",
        "It read 1,200,000 tokens and wrote 30,000, 1.3 US dollars.",
    ]
    one = tree(JUDGE, JUDGED)
    assert one["what"] == "a judge's comparisons in both orders on honesty, helpfulness"
    assert (one["kind"], one["model"], one["engine"], one["dtype"]) == ("judge", "org/j", "vllm", "bfloat16")
    alone = "2 responses were compared with none, and have no score: "
    alone += "no other response of its pairings is there, or it has the same text."
    assert alone in said(JUDGE, JUDGED | {"unmet": 2}) and alone not in said(JUDGE, JUDGED | {"unmet": 0})
    assert (one["responses"], one["scored"], one["nulls"]) == (300, 288, {"refused": 7, "no JSON": 3})
    rating = JUDGED | {"form": "rating", "scale": 5, "self_consistency": 0.42, "nulls": {}, "uncounted": 1_500}
    rating |= {"position_bias": None, "position_bias_ci95": None, "flips": None, "ties": None, "cost": None}
    assert tree(JUDGE, rating)["what"] == "a judge's ratings from 1 to 5 on honesty, helpfulness"
    assert said(JUDGE, rating) == [
        "Its draws of one rating differ by 0.42 points (standard deviation).",
        "It read 1,200,000 tokens and wrote 30,000; 1,500 requests were not counted.",
    ]


@pytest.mark.parametrize("missing", sorted(JUDGED))
def test_a_fact_that_is_missing_is_not_told_of(missing: str) -> None:
    """No error and no `None`: of a record of another version what it has is told."""
    some = {key: value for key, value in JUDGED.items() if key != missing}
    assert not [text for text in said(JUDGE, some) if "None" in text]
    assert said({"scorer": "judge", "model": "m"}, {}) == []
    assert tree({"scorer": "judge", "model": "m"}, {})["what"].startswith("a judge's comparisons")


def test_reasons_are_counted_and_few_are_named() -> None:
    """The most frequent first, equals by name, those beyond five in one sum."""
    nulls = {f"reason {n}": n for n in range(1, 8)} | {"a reason": 7}
    text = "35 judgements have no verdict: a reason (7), reason 7 (7), reason 6 (6), reason 5 (5), "
    text += "reason 4 (4), others (6)."
    assert said(JUDGE, JUDGED | {"nulls": nulls})[0] == text


def test_a_reward_model_and_a_log_prob() -> None:
    """Notes are failures by reason, but for what was cut; below its resolution a delta is noise."""
    spec = {"name": "judge", "scorer": "reward_model", "model": "org/rm", "engine": "transformers"}
    facts = FORWARD | {"notes": {"cut": 1_003, "template refused": 2}}
    assert tree(spec, facts)["what"] == "a reward model's number"
    assert said(spec, facts) == [
        "2 responses have no score: template refused (2).",
        "1,003 responses were cut to fit its window of 4,096 tokens.",
    ]
    assert said(spec, FORWARD) == []
    spec |= {"scorer": "logprob"}
    assert tree(spec, FORWARD)["what"] == "mean log-prob of the response's tokens, in nats"
    noted = told(spec, FORWARD | {"resolution": 0.02})["scored_by"]["judge"]
    assert noted["said"] == ["The engine cannot tell a delta below 0.02 from none: 0 % of big over small."]
    sessions = [{"resolution": 0.0001}, {"resolution": 0.02}, {}]
    assert tree(spec, FORWARD | {"resolution": 0.0001, "made_by": sessions})["resolution"] == 0.02


def test_deltas_below_the_resolution_are_counted_by_pairing() -> None:
    """Strictly below, by size, over pairs with a delta; in the order of the pairings, before the filter."""
    spec = {"scorer": "logprob", "model": "m"}
    deltas = [0.0, 0.019, -0.019, 0.02, -0.5, None]
    pairs = [{"delta_judge": x, "dropped_by": "finished" if x == 0 else None} for x in deltas]
    pairs += [{"delta_judge": 0.01, "chosen_model": "small", "rejected_model": "big"}]
    pairs += [{"delta_judge": 1.0, "chosen_model": "big", "rejected_model": "mid"}]
    assert told(spec, FORWARD | {"resolution": 0.02}, frame(*pairs))["scored_by"]["judge"]["unresolved"] == [
        {"chosen": "big", "rejected": "mid", "pairs": 1, "share": 0.0},
        {"chosen": "big", "rejected": "small", "pairs": 5, "share": 0.6},
        {"chosen": "small", "rejected": "big", "pairs": 1, "share": 1.0},
    ]
    assert told(spec, FORWARD, frame(*pairs))["scored_by"]["judge"]["unresolved"] == []
    assert told(spec, FORWARD | {"resolution": 0.02}, frame())["scored_by"]["judge"]["unresolved"] == []


@pytest.mark.parametrize(("below", "n", "warned"), [(4, 40, False), (5, 40, True), (29, 29, False), (30, 30, True)])
def test_many_deltas_below_the_resolution_are_a_warning(below: int, n: int, warned: bool) -> None:
    """From a tenth of at least thirty pairs on."""
    pairs = frame(*({"delta_judge": 0.001 if place < below else 1.0} for place in range(n)))
    spec = {"scorer": "logprob", "model": "m"}
    text = f"judge cannot tell the sides of big over small apart in {100 * below / n:.0f} % of {n} pairs: their deltas "
    text += "are below 0.02, which the engine cannot tell from none."
    assert found("unresolved", spec, FORWARD | {"resolution": 0.02}, pairs) == ([("warn", text)] if warned else [])


def test_a_combined_scorer_word_for_word() -> None:
    """Its weights, and the agreement of each with the labels it was not fitted on."""
    assert tree(MIXED, COMBINED)["what"] == "logistic regression of a, b on the labels of people"
    assert said(MIXED, COMBINED) == [
        "12 responses have no score: no score by b (12).",
        "Weights per standard deviation, fitted on 1,200 prompts: a 1.2, b -0.5.",
        "Agreement with people over 500 held-out pairs: judge 70 % (66-74 %), a 68 % (66-74 %), b 41 %.",
    ]
    ranked = {"rule": "rank_average", "of": ["a", "b"], "constant": ["b"], "labels": None, "nulls": {}}
    assert tree(MIXED, ranked)["what"] == "rank average of a, b"
    assert said(MIXED, ranked) == ["b gave every response the same score."]
    labelled = COMBINED | {"rule": "rank_average", "weights": None, "nulls": {}}
    assert "over 500 labelled pairs" in said(MIXED, labelled)[0]
    nothing = {name: {"agreement": None, "ci95": None, "n": 0} for name in ("judge", "a")}
    unknown = {"agreement": nothing, "gain": {"over": "a", "difference": None, "ci95": None}}
    assert said(MIXED, labelled | unknown) == []


@pytest.mark.parametrize(
    ("limits", "level", "verb"),
    [
        ([0.005, 0.035], "good", "is better than a"),
        ([-0.01, 0.035], "note", "is not shown to be better than a"),
        ([0.0, 0.035], "note", "is not shown to be better than a"),
        ([-0.035, 0.0], "note", "is not shown to be better than a"),
        ([-0.035, -0.005], "warn", "is worse than a"),
    ],
)
def test_whether_combining_was_worth_it(limits: list[float], level: str, verb: str) -> None:
    """By the interval of the difference to the best of its parts."""
    gain = {"over": "a", "difference": 0.02, "ci95": limits}
    text = f"judge {verb}, the best of its parts (70 % and 68 % agreement with people, difference +2.0 points, "
    text += f"95 % interval {100 * limits[0]:+.1f} to {100 * limits[1]:+.1f})."
    assert found("combined", MIXED, COMBINED | {"gain": gain}) == [(level, text)]


def test_a_handful_of_labels_compares_nothing() -> None:
    """Below thirty pairs, or without an interval."""
    few = COMBINED | {"agreement": COMBINED["agreement"] | {"judge": ONE | {"n": 29}}}
    assert found("combined", MIXED, few) == [("note", "29 pairs are too few to compare judge with its parts.")]
    assert found("combined", MIXED, COMBINED | {"gain": COMBINED["gain"] | {"ci95": None}}) == []


@pytest.mark.parametrize(
    ("limits", "warned"), [([0.04, 0.1], True), ([0.0, 0.1], False), ([-0.1, -0.01], True), ([-0.1, 0.0], False)]
)
def test_a_position_bias_is_told_where_it_is_sure(limits: list[float], warned: bool) -> None:
    """Its interval leaves out none; below 50 % it is the second place that is preferred."""
    bias = sum(limits) / 2
    texts = found("position_bias", JUDGE, JUDGED | {"position_bias": bias, "position_bias_ci95": limits})
    assert [level for level, _ in texts] == ["note"] * warned
    if limits[0] == 0.04:
        assert texts[0][1] == (
            "judge prefers the response shown first in 57 % of the verdicts that are no tie (95 % interval 54-60 %); "
            "both orders were asked and count alike."
        )


def test_flips_are_a_warning_above_a_fifth() -> None:
    """Said with what becomes of such a pair."""
    text = (
        "judge contradicts itself in 31 % of pairs when the two responses change places; such a pair counts as a tie."
    )
    assert found("flips", JUDGE, JUDGED) == [("warn", text)]
    assert found("flips", JUDGE, JUDGED | {"flips": 0.2}) == []
    assert found("flips", JUDGE, JUDGED | {"flips": None}) == []


def test_many_responses_without_a_score_are_a_warning() -> None:
    """Above a twentieth of the responses of paired rungs; a rung that is in no pair does not count."""
    ladder = [
        {"model": "big", "responses": 100, "scored": {"judge": 90}},
        {"model": "small", "responses": 100, "scored": {"judge": 100}},
        {"model": "mid", "responses": 100, "scored": {"judge": 0}},
    ]
    report = {"pairings": [{"chosen": "big", "rejected": "small"}], "ladder": ladder}
    one = tree(JUDGE, JUDGED | {"flips": 0.0, "position_bias_ci95": None}) | {"unresolved": []}
    assert [*scorer_notes.findings(report | {"scored_by": {"judge": one}})] == []
    ladder[0]["scored"] = {"judge": 89}
    text = "judge has no score for 6 % of 200 responses: refused (7), no JSON (3)."
    assert [*scorer_notes.findings(report | {"scored_by": {"judge": one}})] == [
        {"kind": "unscored_responses", "text": text, "level": "warn"}
    ]


def test_the_terminal_shows_them_in_a_table() -> None:
    """After the ladder: what it is and how much it scored, then each sentence; without one nothing."""
    out = io.StringIO()
    Screen(Console(file=out, width=120, soft_wrap=True)).report(told(JUDGE, JUDGED))
    text = out.getvalue()
    assert "a judge's comparisons in both orders on honesty, helpfulness: org/j" in " ".join(text.split())
    assert "\njudge: Its draws agree with each other in 93 %.\n" in text
    assert text.index("ladder, strongest") < text.index("scorers that are models") < text.index("rules, and the delta")
    out = io.StringIO()
    Screen(Console(file=out, width=120)).report(made(frame({})))
    assert "scorers that are models" not in out.getvalue()


def test_a_run_tells_of_its_combined_scorer_everywhere(tmp_path: Path) -> None:
    """In report.json, on the page and in the card, where the checks and files beside it stay as they were."""
    write_sources(tmp_path)
    asked = [f"What is the number {number}?" for number in range(24)]
    for name, step in (("one", 5), ("two", 3)):
        rows = [
            {"prompt": text, "model": model, "score": (at * step + place) % 7}
            for at, text in enumerate(asked)
            for place, model in enumerate(("strong", "middle", "frail"))
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [{"name": name, "scores": f"{name}.jsonl"} for name in ("one", "two")]
    both = {"name": "both", "scorer": "combined", "of": ["one", "two"]}
    do(tmp_path / "run", small_run(samples=1, score=[*files, both]))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert list(report["scored_by"]) == ["both"] and report["scorers"] == ["one", "two", "both"]
    assert report["scored_by"]["both"]["what"] == "rank average of one, two"
    assert report["scored_by"]["both"]["scored"] == 24 + 24 + 22  # of two prompts no frail answer
    card = (tmp_path / "run" / "dataset" / "README.md").read_text()
    assert "| both | rank average of one, two | " in card and "| one | scores from one.jsonl | " in card
    assert "rank average of one, two" in (tmp_path / "run" / "report.html").read_text()
