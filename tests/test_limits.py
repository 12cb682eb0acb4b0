"""What a card warns of follows from the kept pairs, and what was not measured is said to be unknown.

pytest tests/test_limits.py
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
from card_facts import FACTS, KEPT, NO_STATS, TOLD, facts, stats, told

from deltadata import limits
from deltadata.pair_sections import ByScore


def limits_of(report: dict[str, Any] | None = None, **changes: Any) -> dict[str, list[tuple[str, str]]]:
    """What is said of each thing, with its level."""
    found: dict[str, list[tuple[str, str]]] = {}
    for limit in limits.limits(facts(told=report or told(), **changes)):
        found.setdefault(limit["what"], []).append((limit["level"], limit["text"]))
    return found


def with_kept(name: str, *figures: dict[str, Any]) -> dict[str, Any]:
    """A report whose pairings have these figures of a measure over their kept pairs."""
    pairings = [
        TOLD["pairings"][0]
        | {"chosen": f"s{at}", "rejected": f"w{at}"}
        | {"measures_kept": KEPT | {name: one, "repetition": stats(10, 0.01, 0.1, 0.8)}}
        for at, one in enumerate(figures)
    ]
    return told(pairings=copy.deepcopy(pairings))


def test_warnings_come_first() -> None:
    """What must be seen, then what belongs to a whole account; the last is that nothing is promised."""
    levels = [limit["level"] for limit in limits.limits(facts(told=told()))]
    assert levels == sorted(levels, key=lambda level: level != "warn") and set(levels) == {"warn", "note"}
    last = limits.limits(facts(told=told()))[-1]
    assert last["what"] == "Gain" and "does not promise a gain" in last["text"]


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (stats(40, 0.5, 0.6, 0.1), None),
        (
            stats(40, 0.5, 0.5, 0.06),
            "s0 over w0: judge does not tell which side is better (agreement 53 %, 95 % interval",
        ),
        (
            stats(40, -0.5, 0.2, 0.2),
            "s0 over w0: judge prefers the rejected side (agreement 30 %, 95 % interval 25-35 %).",
        ),
        (stats(29, 0.5, 0.9, 0), "s0 over w0: 29 pairs with a score by judge are too few to say which side is better."),
        (NO_STATS, "s0 over w0: no kept pair has a score by judge on both sides, so nothing says which is better."),
    ],
)
def test_an_order_that_is_not_shown_is_warned_of(figures: dict[str, Any], expected: str | None) -> None:
    """By the kept pairs: inverted, undecided, too few, without a score; silence where it holds."""
    found = limits_of(with_kept("judge", figures)).get("Order", [])
    assert [level for level, _ in found] == (["warn"] if expected else [])
    assert all(text.startswith(expected or "") for _, text in found)


def test_an_order_that_nothing_could_show_is_told() -> None:
    """No scorer: a warning. Pairs chosen by a score: it is no evidence for itself. A control: that it is one."""
    ((level, text),) = limits_of(told(lead="tokens", scorers=[]))["Order"]
    assert (level, text) == ("warn", "No score says that the chosen side is better: the order of the rungs is assumed.")
    ((level, text),) = limits_of(by=ByScore(by="judge"))["Order"]
    assert level == "note" and text.startswith("judge chose the sides")
    found = limits_of(with_kept("judge", stats(40, -0.5, 0.2, 0.2)) | {"control": "reversed"})
    assert "Order" not in found
    assert found["Control"][0][0] == "warn" and "the control reversed" in found["Control"][0][1]


def test_length_is_pooled_by_pairs() -> None:
    """Shares over all kept pairs, the pairings at the ends, and a warning where one of them is tilted."""
    even, long = stats(30, 3, 0.5, 0), stats(10, 50, 0.9, 0.1)
    ((level, text),) = limits_of(with_kept("tokens", even, long))["Length"]
    assert level == "warn"
    assert text == (
        "Chosen is longer in 60 % of the pairs and shorter in 38 % (+14.8 tokens on average); longer in 50 % of "
        "s0 over w0, in 90 % of s1 over w1. A student can learn length instead of quality."
    )
    assert limits_of(with_kept("tokens", even, stats(9, -9, 0.3, 0)))["Length"][0][0] == "warn"
    ((level, text),) = limits_of(with_kept("tokens", even))["Length"]
    assert (level, text) == (
        "note",
        "Chosen is longer in 50 % of the pairs and shorter in 50 % (+3 tokens on average).",
    )
    assert limits_of(with_kept("tokens", NO_STATS))["Length"] == [
        ("warn", "The lengths of the two sides are not known.")
    ]


def test_phrases_are_counted_by_side() -> None:
    """A phrase on one side alone, in pairs; a warning where chosen has it oftener; silence is not made up."""
    found = limits_of()
    assert found["Identity"] == [("warn", "Chosen alone names itself a model in 7 of 70 pairs, rejected alone in 0.")]
    assert found["Refusals"] == [("note", "Whether an answer opens with a refusal was not measured.")]
    rarer = limits_of(with_kept("refusal", stats(200, -0.1, 0.05, 0.8)))
    assert rarer["Refusals"] == [
        ("note", "Chosen alone opens with a refusal in 10 of 200 pairs, rejected alone in 30.")
    ]
    assert limits_of(with_kept("refusal", stats(100, 0.02, 0.02, 0.98)))["Refusals"][0][0] == "note"
    assert limits_of(with_kept("refusal", stats(100, 0.03, 0.03, 0.97)))["Refusals"][0][0] == "warn"
    assert limits_of(with_kept("refusal", stats(1000, 0.009, 0.009, 0.991)))["Refusals"][0][0] == "note"


def test_a_chosen_side_that_loops_is_warned_of() -> None:
    """By the mean delta of repetition."""
    ((level, text),) = limits_of(with_kept("judge", stats(40, 0.5, 0.6, 0.1)))["Repetition"]
    assert level == "note" and text.startswith(
        "Chosen repeats itself more in 10 % of the pairs and less in 10 %: +0.010"
    )
    looping = with_kept("judge", stats(40, 0.5, 0.6, 0.1))
    looping["pairings"][0]["measures_kept"]["repetition"] = stats(10, 0.05, 0.6, 0.4)
    assert limits_of(looping)["Repetition"][0][0] == "warn"


def test_cut_off_and_failed_answers_are_told() -> None:
    """Shares by rung, worst first; rungs of which nobody knows; a warning from five in a hundred."""
    found = limits_of()
    assert found["Cut off"] == [
        ("warn", "Of all answers the token limit ended 18 % of strong."),
        ("note", "Whether a token limit ended answers of weak is not known."),
    ]
    assert found["Failed"] == [("note", "Answers that failed and are in no pair: 1 of strong.")]
    few = [rung | {"cut_off": share} for rung, share in zip(TOLD["ladder"], (0.01, 0.04), strict=True)]
    assert limits_of(told(ladder=few))["Cut off"] == [
        ("note", "Of all answers the token limit ended 4 % of weak, 1 % of strong.")
    ]
    none = [rung | {"cut_off": 0.0} for rung in TOLD["ladder"]]
    assert limits_of(told(ladder=none))["Cut off"] == [("note", "No answer was ended by the token limit.")]


def test_languages_are_told_or_said_to_be_unknown() -> None:
    """The frequent ones by share, a number of others; not measured and not tellable are two things."""
    many = {"en": 0.9, "fr": 0.06, "de": 0.035, "la": 0.004, "az": 0.001}
    text = "Of the chosen answers whose language can be told: 90\xa0% en, 6\xa0% fr, 4\xa0% de, and 2 more languages."
    assert limits_of(languages=many)["Languages"] == [("note", text)]
    assert limits_of(languages=None)["Languages"][0][1] == "The language of the answers was not measured."
    assert "cannot be told" in limits_of(languages={})["Languages"][0][1]


def test_contamination_is_told_as_far_as_it_was_looked_for() -> None:
    """Against what, by which n-grams; a warning where nobody looked."""
    assert limits_of()["Contamination"][0] == (
        "note",
        "The prompts were checked against gsm by 8-grams of words; not against other sets, and a paraphrase is not "
        "found.",
    )
    assert limits_of(contamination=None)["Contamination"] == [
        ("warn", "The prompts were not checked against any evaluation set.")
    ]


def test_licences_that_stop_a_push_are_limits() -> None:
    """Unknown ones together, others one by one, with how many were accepted."""
    assert limits_of()["Licence"] == [
        ("warn", "Not known of prompts/own; 1 of 1 not accepted in the recipe."),
        ("warn", "responses/strong is under some-research, non-commercial; accepted in the recipe, with reasons."),
    ]
    unknown = FACTS["licence"]["parts"][1]
    parts = [unknown | {"where": f"prompts/p{at}", "accepted": "mine" if at else ""} for at in range(7)]
    named = "prompts/p0, prompts/p1, prompts/p2, prompts/p3, prompts/p4"
    text = f"Not known of {named} and 2 more; 1 of 7 not accepted in the recipe."
    assert limits_of(licence=FACTS["licence"] | {"parts": parts})["Licence"] == [("warn", text)]
    assert "Licence" not in limits_of(licence=FACTS["licence"] | {"parts": []})
