"""Findings say what the numbers say: each kind from a report made by hand, word for word where it matters.

pytest tests/test_findings.py
"""

from __future__ import annotations

from typing import Any

import pytest

from deltadata.findings import findings, percent, verdict

HOLDS, INVERTS, OPEN = (0.62, [0.59, 0.66]), (0.41, [0.36, 0.46]), (0.5, [0.45, 0.55])


def stats(told: tuple[float, list[float]] = HOLDS, n: int = 805, tied: float = 0.0) -> dict[str, Any]:
    return {"n": n, "agreement": told[0], "agreement_ci95": told[1], "share_positive": 0.5, "share_tied": tied}


def pairing(chosen: str = "a", rejected: str = "b", **changes: Any) -> dict[str, Any]:
    measures = {"judge": stats(), "tokens": stats(OPEN)} | changes.pop("measures", {})
    return {"chosen": chosen, "rejected": rejected, "measures": measures, "length_bias": None} | changes


def rung(model: str, strength: float | None, cut_off: float | None = None) -> dict[str, Any]:
    limits = None if strength is None else [strength - 0.1, strength + 0.1]
    told = {"strength": {"judge": strength}, "strength_ci95": {"judge": limits}, "scored": {"judge": 805}}
    return {"model": model, "cut_off": cut_off} | told


def rule(name: str, dropped: int, before: float | None = 0.21, after: float | None = 0.21) -> dict[str, Any]:
    means = {"delta_before": before, "delta_after": after}
    return {"rule": name, "dropped": dropped} | {
        key: {"judge": {"mean": x}, "tokens": {"mean": x}} for key, x in means.items()
    }


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "control": "none",
        "pairs": 1_000,
        "kept": 900,
        "scorers": ["judge"],
        "lead": "judge",
        "length_measure": "tokens",
        "pairings": [pairing()],
        "funnel": [],
        "ladder": [],
        "slices": [],
        "slices_seen": 0,
        "saturation": None,
    } | changes


def said(kind: str, report: dict[str, Any]) -> list[tuple[str, str]]:
    """(level, text) of the findings of one kind."""
    return [(one["level"], one["text"]) for one in findings(report) if one["kind"] == kind]


def test_a_stronger_rung_that_wins() -> None:
    """The share, the count and the interval."""
    text = "judge agrees with the ladder in 62 % of 805 pairs (95 % interval 59-66 %) for a over b."
    assert said("holds", facts()) == [("good", text)]


def test_a_stronger_rung_that_loses_comes_first() -> None:
    """Before those that win, with who beats whom."""
    report = facts(pairings=[pairing(), pairing("b", "c", measures={"judge": stats(INVERTS)})])
    text = "Your stronger rung loses: by judge, c beats b (agreement 41 % of 805 pairs, 95 % interval 36-46 %)."
    assert findings(report)[0] == {"kind": "inverts", "text": text, "level": "warn"}


def test_an_interval_that_holds_one_half_is_undecided() -> None:
    """And said so; too few pairs are no verdict, and no score is a warning."""
    text = "judge agrees with the ladder in 50 % of 805 pairs (95 % interval 45-55 %) for a over b: undecided."
    assert said("undecided", facts(pairings=[pairing(measures={"judge": stats(OPEN)})])) == [("note", text)]
    few = facts(pairings=[pairing(measures={"judge": stats(HOLDS, n=29)})])
    assert said("few", few) == [("note", "a over b: 29 pairs with a score by judge are too few to say who is better.")]
    none = facts(pairings=[pairing(measures={"judge": stats(HOLDS, n=0)})])
    assert said("unscored", none) == [("warn", "judge says nothing about a over b: no pair has a score on both sides.")]


@pytest.mark.parametrize(
    ("limits", "n", "expected"),
    [
        ([0.5, 0.6], 30, "undecided"),
        ([0.501, 0.6], 30, "holds"),
        ([0.4, 0.5], 30, "undecided"),
        ([0.4, 0.499], 30, "inverts"),
        ([0.9, 1.0], 29, "few"),
        (None, 30, "few"),
    ],
)
def test_the_verdict_at_its_edges(limits: list[float] | None, n: int, expected: str) -> None:
    """Wholly above or below one half, from thirty pairs on."""
    assert verdict(limits, n) == expected


def test_many_pairings_are_counted() -> None:
    """Seven pairings are one sentence, and each loser one more."""
    report = facts(
        pairings=[pairing("a", str(n)) for n in range(6)] + [pairing("x", "y", measures={"judge": stats(INVERTS)})]
    )
    text = (
        "Of 7 pairings judge agrees with the ladder in 6, disagrees in 1, is undecided in 0 and says too little in 0."
    )
    assert said("pairings", report) == [("warn", text)]
    assert said("holds", report) == []
    assert len(said("inverts", report)) == 1


@pytest.mark.parametrize("control", ["reversed", "tied", "random"])
def test_a_control_says_so_first_and_blames_nobody(control: str) -> None:
    """The first finding names the control; an inverted order is what was asked for."""
    found = findings(facts(control=control, pairings=[pairing(measures={"judge": stats(INVERTS)})]))
    assert (found[0]["kind"], found[0]["level"]) == ("control", "note")
    assert f"`{control}`" in found[0]["text"]
    text = "judge prefers the chosen side in 41 % of 805 pairs (95 % interval 36-46 %) for a over b."
    assert found[1] == {"kind": "inverts", "text": text, "level": "note"}


def test_without_a_scorer_it_says_what_is_missing() -> None:
    """Nothing is claimed of who is better; a chosen side that is mostly longer is told."""
    report = facts(scorers=[], lead="tokens")
    text = "No scorer: nothing here says that the stronger rung is better; `score:` in the recipe can."
    assert [(one["kind"], one["text"]) for one in findings(report)] == [("no_scorer", text)]
    report["pairings"][0]["measures"]["tokens"]["share_positive"] = 0.71
    assert said("length", report) == [("note", "a over b: the chosen side is longer in 71 % of pairs (tokens).")]


def test_no_pair_at_all() -> None:
    """One warning, nothing else."""
    assert [one["kind"] for one in findings(facts(pairs=0, kept=0, pairings=[]))] == ["empty"]


def test_scorers_that_contradict_each_other() -> None:
    """Named with both shares, where one holds and the other inverts."""
    two = pairing(measures={"other": stats(INVERTS)})
    ladder = [rung("a", 0.2) | {"strength": {"judge": 0.2, "other": -0.1}, "scored": {"judge": 9, "other": 9}}]
    report = facts(scorers=["judge", "other"], pairings=[two], ladder=ladder)
    text = "judge and other contradict each other on a over b: agreement 62 % and 41 %."
    assert said("disagree", report) == [("warn", text)]
    two["measures"]["other"] = stats(OPEN)
    assert said("disagree", report) == []


def test_the_order_of_the_strengths() -> None:
    """The recipe's order, another one that no pairing contradicts, and one that a pairing does."""
    same = facts(ladder=[rung("a", 0.5), rung("b", 0.0), rung("c", -0.5)])
    assert said("strengths", same) == [("good", "The Bradley-Terry order by judge is the recipe's: a > b > c.")]
    other = facts(ladder=[rung("a", 0.5), rung("b", -0.5), rung("c", 0.0)])
    text = "The Bradley-Terry order by judge is a > c > b, the recipe says a > b > c"
    assert said("strengths", other) == [("note", f"{text}; no pairing is against it.")]
    other["pairings"].append(pairing("b", "c"))
    assert said("strengths", other) == [("warn", f"{text}.")]
    assert said("strengths", facts(ladder=[rung("a", -0.5), rung("b", 0.5)])) == [], "two rungs: agreement says it"


@pytest.mark.parametrize(
    ("strengths", "text"),
    [
        ((0.0, 0.0, 0.0), "judge sees no difference in strength between any two rungs."),
        ((0.5, 0.4, -0.9), "The Bradley-Terry order by judge is the recipe's: a > b > c; 1 of 2 steps are undecided."),
        (
            (0.0, 0.1, -0.1),
            "The Bradley-Terry order by judge is b > a > c, the recipe says a > b > c: undecided, for the intervals "
            "of those that differ overlap.",
        ),
    ],
)
def test_an_order_within_the_intervals_is_no_order(strengths: tuple[float, ...], text: str) -> None:
    """Equal strengths are no difference, and overlapping intervals leave a step undecided: a note either way."""
    ladder = [rung(name, value) for name, value in zip("abc", strengths, strict=True)]
    assert said("strengths", facts(ladder=ladder, pairings=[pairing(), pairing("b", "c")])) == [("note", text)]


def test_a_handful_of_scores_is_no_order() -> None:
    """Three rungs with five scores each: their intervals may be points, and say nothing."""
    few = [rung(name, value) | {"scored": {"judge": 5}} for name, value in (("a", 2.0), ("b", 0.0), ("c", -2.0))]
    ((level, text),) = said("strengths", facts(ladder=few))
    assert (level, text.rpartition("; ")[2]) == ("note", "2 of 2 steps are undecided.")


def test_a_handful_of_pairs_says_nothing_of_length() -> None:
    """From thirty pairs on; below, that they are too few."""
    few = pairing(measures={"tokens": stats(n=29) | {"share_positive": 0.9}})
    text = "a over b: 29 pairs are too few to say which side is longer (tokens)."
    assert said("length", facts(pairings=[few])) == [("note", text)]


def test_a_rung_that_nothing_links() -> None:
    """Scored and without strength is said; not scored is not."""
    text = "judge gives no strength to c: no score there is matched with one of the others."
    ladder = [rung("a", 0.5), rung("b", -0.5), rung("c", None), rung("d", None) | {"scored": {"judge": 0}}]
    assert said("unlinked", facts(ladder=ladder)) == [("warn", text)]


def test_slices_are_named_with_how_many_were_looked_at() -> None:
    """Slices of a pairing that loses as a whole are not news."""
    one = {"by": "pool", "slice": "maths", "pairs": 120, "agreement": 0.38, "agreement_ci95": [0.3, 0.47]}
    slices = [{"chosen": "a", "rejected": "b"} | one, {"chosen": "c", "rejected": "d"} | one]
    lost = pairing("c", "d", measures={"judge": stats(INVERTS)})
    report = facts(pairings=[pairing(), lost], slices=slices, slices_seen=14)
    text = (
        "The order inverts in parts, by judge: a over b on pool maths (38 % of 120 pairs, 30-47 %). "
        "14 slices were looked at; where there is no order, 2.5 % come out so by chance."
    )
    assert said("slices", report) == [("warn", text)]
    assert said("slices", facts(slices=slices[1:], slices_seen=14, pairings=[lost])) == []
    assert said("slices", facts(slices=slices[:1], slices_seen=14, control="random")) == []


def bias(agreement: float, limits: list[float], fitted: float | None = 0.57, pairs: int = 120) -> dict[str, Any]:
    matched = {"pairs": pairs, "agreement": agreement, "agreement_ci95": limits}
    return {"share_chosen_longer": 0.71, "matched": matched, "controlled": {"agreement": fitted}}


def test_what_is_left_among_pairs_of_like_length() -> None:
    """Falls and is decided no more: a warning; stays: a note; too few of like length: nothing."""
    head = "a over b: the chosen side is longer in 71 % of pairs (tokens); among 120 pairs of like length agreement"
    falls = facts(pairings=[pairing(length_bias=bias(0.55, [0.46, 0.64]))])
    text = f"{head} falls from 62 % to 55 % (46-64 %), and to 57 % at length delta 0 by regression."
    assert said("length", falls) == [("warn", text)]
    stays = facts(pairings=[pairing(length_bias=bias(0.621, [0.53, 0.7], None))])
    assert said("length", stays) == [("note", f"{head} stays at 62 % (53-70 %).")]
    few = facts(pairings=[pairing(length_bias=bias(0.2, [0.1, 0.3], pairs=29))])
    assert said("length", few) == [("note", "a over b: the chosen side is longer in 71 % of pairs (tokens).")]


def test_what_a_rule_cost() -> None:
    """A third of the signal is a warning, little of it a note, and what dropped nothing is named once."""
    funnel = [rule("max_length_delta", 120, 0.21, 0.14), rule("not_empty", 3), rule("x", 0), rule("y", 0)]
    heavy, light = (
        "max_length_delta removed 12 % of pairs and took the mean delta of judge",
        "not_empty removed under 1 % of pairs",
    )
    report = facts(funnel=funnel)
    assert said("rule", report) == [
        ("warn", f"{heavy} from 0.21 to 0.14 (a third of the signal)."),
        ("note", f"{light} and left the mean delta of judge at 0.21."),
    ]
    assert said("idle_rules", report) == [("note", "x, y dropped nothing.")]


@pytest.mark.parametrize(
    ("before", "after", "level", "tail"),
    [
        (1.0, 0.75, "warn", "from 1 to 0.75 (a quarter of the signal)."),
        (1.0, 0.59, "warn", "from 1 to 0.59 (41 % of the signal)."),
        (0.4, -0.1, "warn", "from 0.4 to -0.1 (all of the signal)."),
        (0.4, 0.31, "note", "from 0.4 to 0.31."),
        (-0.1, 0.2, "note", "from -0.1 to 0.2."),
        (250.0, 1234.5, "note", "from 250 to 1,234."),
    ],
)
def test_how_much_of_the_signal(before: float, after: float, level: str, tail: str) -> None:
    """From a quarter on it is called by its share; a signal that grows or was none is just told."""
    ((found, text),) = said("rule", facts(funnel=[rule("r", 100, before, after)]))
    assert (found, text.partition("judge ")[2]) == (level, tail)


def test_nothing_kept_and_nothing_left_to_measure() -> None:
    """A filter that leaves nothing is a warning."""
    report = facts(kept=0, funnel=[rule("finished", 1_000, 0.2, None)])
    assert said("nothing_kept", report) == [("warn", "The filter left no pair.")]
    assert said("rule", report) == [("note", "finished removed 100 % of pairs.")]


def test_saturation_ties_and_cut_off_responses() -> None:
    """Said from a tenth, three tenths and a twentieth on."""
    full = {"scorer": "judge", "max": 1.0, "at_max": 0.38, "both_at_max": 0.21}
    text = "38 % of chosen responses already have the highest score by judge (1); 21 % of pairs have it on both sides."
    assert said("saturation", facts(saturation=full)) == [("note", text)]
    assert said("saturation", facts(saturation=full | {"at_max": 0.09})) == []
    tied = facts(
        pairings=[
            pairing(measures={"judge": stats(tied=0.45)}),
            pairing("b", "c", measures={"judge": stats(tied=0.29)}),
        ]
    )
    assert said("ties", tied) == [("note", "judge sees no difference in many pairs: 45 % for a over b.")]
    cut = facts(ladder=[rung("a", 0.1, 0.12), rung("b", 0.0, 0.04), rung("c", -0.1, None)])
    assert said("cut_off", cut) == [("note", "Responses cut off at max_tokens: 12 % of a.")]


def test_percentages() -> None:
    """What is not nothing is never said to be 0 %."""
    assert [percent(x) for x in (0.0, 0.004, 0.006, 0.625, 1.0)] == ["0 %", "under 1 %", "1 %", "62 %", "100 %"]
