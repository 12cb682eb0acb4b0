"""The report's numbers: by hand on small frames, against numpy alone on published answers, and whatever the row order.

pytest tests/test_report.py
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltadata.report import About, report

DATA = Path(__file__).parents[2] / "shared" / "data" / "alpaca_eval"
PAIR: dict[str, Any] = {
    "prompt_id": "a",
    "pool": "own",
    "chosen_model": "big",
    "rejected_model": "small",
    "chosen_sample": 0,
    "rejected_sample": 0,
    "chosen_tokens": 20,
    "rejected_tokens": 15,
    "chosen_finish_reason": "stop",
    "rejected_finish_reason": "stop",
    "delta_tokens": 5.0,
    "delta_characters": 20.0,
    "delta_response_ratio": 0.5,
    "delta_judge": 1.0,
    "similarity": 0.5,
    "dropped_by": None,
    "split": "train",
}
KINDS: dict[str, Any] = {name: pl.Float64 for name in PAIR if name.startswith("delta_")} | {
    **dict.fromkeys(["chosen_sample", "rejected_sample", "chosen_tokens", "rejected_tokens"], pl.UInt32),
    **dict.fromkeys(["chosen_finish_reason", "rejected_finish_reason", "dropped_by", "pool", "split"], pl.String),
    **dict.fromkeys(["prompt_id", "chosen_model", "rejected_model"], pl.String),
    "similarity": pl.Float64,
}
LADDER_KINDS: dict[str, Any] = {
    **dict.fromkeys(["prompt_id", "pool", "model", "finish_reason"], pl.String),
    "sample": pl.UInt32,
    **dict.fromkeys(["tokens", "characters", "judge"], pl.Float64),
}
ABOUT = About(
    name="run",
    control="none",
    rungs=["big", "mid", "small"],
    measures=["tokens", "characters", "response_ratio", "judge"],
    scorers=["judge"],
    rules=["not_empty", "finished", "max_length_delta"],
    pools=["own", "other"],
    seed=0,
)


def frame(*changes: dict[str, Any]) -> pl.DataFrame:
    """Pairs that differ from PAIR by `changes`, each of a prompt of its own unless it names one."""
    rows = [PAIR | {"prompt_id": f"p{number}"} | change for number, change in enumerate(changes)]
    return pl.DataFrame(rows, schema=PAIR.keys(), schema_overrides=KINDS, orient="row", infer_schema_length=None)


def rungs(*rows: dict[str, Any]) -> pl.DataFrame:
    base = {
        "prompt_id": "p0",
        "pool": "own",
        "model": "big",
        "finish_reason": "stop",
        "sample": 0,
        "tokens": 5.0,
        "characters": 9.0,
        "judge": None,
    }
    return pl.DataFrame([base | row for row in rows], schema=LADDER_KINDS, orient="row", infer_schema_length=None)


def made(pairs: pl.DataFrame, ladder: pl.DataFrame | None = None, **about: Any) -> dict[str, Any]:
    """A report that is JSON without NaN, read back."""
    told = report(pairs, rungs() if ladder is None else ladder, ABOUT._replace(**about))
    again: dict[str, Any] = json.loads(json.dumps(told, allow_nan=False))
    assert again == told, "JSON types only"
    return told


def test_a_pairing_by_hand() -> None:
    """Five pairs, one without a score, two dropped: whole, kept, by pool and by split."""
    told = made(
        frame(
            {"delta_judge": 2.0},
            {"delta_judge": -1.0, "pool": "other", "dropped_by": "finished"},
            {"delta_judge": 0.0, "split": "test"},
            {"delta_judge": None, "dropped_by": "not_empty"},
            {"delta_judge": 4.0, "pool": "other"},
        )
    )
    assert (told["pairs"], told["kept"], told["prompts"], told["lead"]) == (5, 3, 5, "judge")
    (pairing,) = told["pairings"]
    assert (pairing["chosen"], pairing["rejected"], pairing["pairs"], pairing["kept"]) == ("big", "small", 5, 3)
    judge, kept = pairing["measures"]["judge"], pairing["measures_kept"]["judge"]
    assert (judge["n"], judge["mean"], judge["share_positive"], judge["share_tied"]) == (4, 1.25, 0.5, 0.25)
    assert judge["agreement"] == 0.625
    assert judge["std"] == pytest.approx((14.75 / 3) ** 0.5)
    assert judge["quantiles"] == pytest.approx({"0.05": -0.85, "0.25": -0.25, "0.5": 1.0, "0.75": 2.5, "0.95": 3.7})
    assert (kept["n"], kept["mean"], kept["agreement"], kept["std"]) == (3, 2.0, pytest.approx(5 / 6), 2.0)
    assert list(pairing["by_pool"]) == ["own", "other"]
    own, other = pairing["by_pool"].values()
    assert (own["pairs"], own["kept"], own["measures"]["judge"]["mean"]) == (3, 2, 1.0)
    assert (other["pairs"], other["kept"], other["measures"]["judge"]["mean"]) == (2, 1, 1.5)
    assert list(pairing["by_split"]) == ["train", "test"]
    assert (pairing["by_split"]["test"]["pairs"], pairing["by_split"]["test"]["measures"]["judge"]["n"]) == (1, 1)
    assert pairing["by_split"]["test"]["measures"]["judge"]["agreement_ci95"] is None
    assert pairing["similarity"] == {
        "n": 5, "mean": 0.5, "std": 0.0, "quantiles": dict.fromkeys(["0.05", "0.25", "0.5", "0.75", "0.95"], 0.5)
    }  # fmt: skip


def test_the_funnel_by_hand() -> None:
    """Before of a rule is after of the one ahead; a rule that dropped nothing is there; kept and dropped make all."""
    told = made(
        frame(
            {"delta_judge": 8.0, "dropped_by": "max_length_delta"},
            {"delta_judge": 2.0},
            {"delta_judge": -1.0, "dropped_by": "not_empty"},
            {"delta_judge": -4.0},
        )
    )
    rules = told["funnel"]
    assert [(rule["rule"], rule["dropped"]) for rule in rules] == [
        ("not_empty", 1),
        ("finished", 0),
        ("max_length_delta", 1),
    ]
    befores, afters = ([rule[key]["judge"] for rule in rules] for key in ("delta_before", "delta_after"))
    assert befores[1:] == afters[:-1]
    assert [(one["n"], one["mean"]) for one in [befores[0], *afters]] == [(4, 1.25), (3, 2.0), (3, 2.0), (2, -1.0)]
    assert set(befores[0]) == {"n", "mean", "std", "quantiles", "agreement"}
    assert told["kept"] + sum(rule["dropped"] for rule in rules) == told["pairs"] == 4


def test_the_ladder_by_hand() -> None:
    """Counts, means over what is known, the share cut off of those whose end is known, and strengths by rung."""
    ladder = rungs(
        {"prompt_id": "p0", "model": "big", "judge": 3.0, "characters": 10.0},
        {"prompt_id": "p1", "model": "big", "judge": 1.0, "tokens": None, "finish_reason": "length"},
        {"prompt_id": "p0", "model": "small", "judge": 1.0},
        {"prompt_id": "p1", "model": "small", "judge": None, "finish_reason": None},
    )
    big, mid, small = made(frame({}, {}), ladder)["ladder"]
    assert (big["model"], big["responses"], big["mean_tokens"], big["mean_characters"]) == ("big", 2, 5.0, 9.5)
    assert (big["mean_score"], big["scored"], big["cut_off"]) == ({"judge": 2.0}, {"judge": 2}, 0.5)
    assert (mid["model"], mid["responses"], mid["mean_tokens"], mid["cut_off"]) == ("mid", 0, None, None)
    assert (small["mean_score"], small["scored"], small["cut_off"]) == ({"judge": 1.0}, {"judge": 1}, 0.0)
    assert big["strength"]["judge"] == -small["strength"]["judge"] > 0
    assert mid["strength"] == {"judge": None}
    assert big["strength_ci95"] == {"judge": None}, "one prompt says nothing of its spread"


def test_length_bias_by_hand() -> None:
    """Alike is within 10 % of the mean length: 21 to 19 is, 22 to 18 is not; only pairs with a score count."""
    told = made(
        frame(
            {"chosen_tokens": 21, "rejected_tokens": 19, "delta_tokens": 2.0, "delta_judge": -1.0},
            {"chosen_tokens": 22, "rejected_tokens": 18, "delta_tokens": 4.0, "delta_judge": 1.0},
            {"chosen_tokens": 19, "rejected_tokens": 21, "delta_tokens": -2.0, "delta_judge": 0.0},
            {"chosen_tokens": 20, "rejected_tokens": 20, "delta_tokens": 0.0, "delta_judge": None},
        )
    )
    bias = told["pairings"][0]["length_bias"]
    assert (bias["measure"], bias["share_chosen_longer"]) == ("tokens", pytest.approx(2 / 3))
    assert (bias["matched"]["pairs"], bias["matched"]["agreement"], bias["matched"]["within"]) == (2, 0.25, 0.1)
    assert 0 < bias["controlled"]["agreement"] < 0.5


def test_length_is_characters_where_tokens_are_mostly_unknown() -> None:
    """More than half unknown decides; the ratio of characters tells which lengths are alike."""
    unknown = {"delta_tokens": None, "chosen_tokens": None}
    some = [
        unknown | {"delta_characters": 5.0, "delta_response_ratio": 0.144},
        unknown | {"delta_characters": -5.0, "delta_response_ratio": -0.145},
    ]
    assert made(frame(some[0], {}))["length_measure"] == "tokens"
    told = made(frame(*some, {}))
    assert told["length_measure"] == told["pairings"][0]["length_bias"]["measure"] == "characters"
    assert told["pairings"][0]["length_bias"]["matched"]["pairs"] == 1


@pytest.mark.parametrize(("tokens", "lead"), [(5.0, "tokens"), (None, "characters")])
def test_without_a_scorer_the_report_leads_with_a_length(tokens: float | None, lead: str) -> None:
    """Tokens, or characters where no token count is known; no length bias, slice, saturation or strength then."""
    told = made(frame({"delta_tokens": tokens}), scorers=[], measures=["tokens", "characters", "response_ratio"])
    assert told["lead"] == lead
    assert told["pairings"][0]["length_bias"] is told["saturation"] is None
    assert (told["slices"], told["ladder"][0]["strength"]) == ([], {})


def test_slices_where_the_order_inverts() -> None:
    """Forty pairs lost on one pool, forty won on the other; 29 pairs are no slice, and every slice looked at counts."""
    lost = [{"pool": "other", "delta_judge": -1.0, "delta_tokens": float(n)} for n in range(40)]
    won = [{"delta_judge": 1.0, "delta_tokens": float(n), "chosen_finish_reason": "length"} for n in range(11)]
    rest = [{"delta_judge": 1.0, "delta_tokens": float(n), "split": "test"} for n in range(11, 40)]
    told = made(frame(*lost, *won, *rest))
    by_pool = [
        (one["by"], one["slice"], one["pairs"], one["agreement"]) for one in told["slices"] if one["by"] == "pool"
    ]
    assert by_pool == [("pool", "other", 40, 0.0)]
    # Two pools, the train split, the 69 pairs that both stopped; each quarter of the length has 20 pairs.
    assert told["slices_seen"] == 4
    assert told["slices"][0]["chosen"] == "big"
    more = made(frame(*lost, *won, *rest, *lost, *rest))
    assert more["slices_seen"] == 9
    assert {one["by"] for one in more["slices"]} >= {"pool"}


def test_no_slice_where_the_order_is_undecided_or_all_pairs_are_in_it() -> None:
    """45 % of 40 pairs is no inversion; the only pool, split and end are the pairing itself."""
    pairs = [{"delta_judge": 1.0 if n < 18 else -1.0, "delta_tokens": float(n)} for n in range(40)]
    alone = made(frame(*pairs))
    assert (alone["slices"], alone["slices_seen"]) == ([], 0)
    beside = made(frame(*pairs, *({"pool": "other"} for _ in range(30))))
    assert [one for one in beside["slices"] if one["by"] == "pool"] == []
    assert beside["slices_seen"] > 0


def test_strengths_match_responses_by_sample() -> None:
    """Sample by sample the big rung wins, though the small one's second beats the big one's first."""
    scores = {("big", 0): 2.0, ("small", 0): 1.0, ("big", 1): 6.0, ("small", 1): 5.0}
    rows = [
        {"prompt_id": f"p{n}", "model": model, "sample": sample, "judge": score}
        for n in range(3)
        for (model, sample), score in scores.items()
    ]
    big, _, small = made(frame({}), rungs(*rows))["ladder"]
    # Six wins of six and half a game each: with x above the average, 6 / (1 + exp(2 x)) = 1 / (1 + exp(-x)) - 1 / 2.
    x = big["strength"]["judge"]
    assert small["strength"]["judge"] == pytest.approx(-x)
    assert 6 / (1 + np.exp(2 * x)) == pytest.approx(1 / (1 + np.exp(-x)) - 0.5)
    assert big["strength_ci95"]["judge"] == pytest.approx([x, x])


def test_saturation_by_hand() -> None:
    """Half of the chosen have the highest score seen, a quarter of the pairs on both sides."""
    scores = {"p0": (4.0, 4.0), "p1": (4.0, 1.0), "p2": (3.0, 1.0), "p3": (2.0, 3.0)}
    ladder = rungs(*(
        {"prompt_id": prompt, "model": model, "judge": score}
        for prompt, both in scores.items()
        for model, score in zip(("big", "small"), both, strict=True)
    ))  # fmt: skip
    told = made(frame(*({"delta_judge": big - small} for big, small in scores.values())), ladder)["saturation"]
    quarters = told.pop("quarters")
    assert told == {"scorer": "judge", "n": 4, "max": 4.0, "at_max": 0.5, "both_at_max": 0.25}
    assert [(one["from"], one["to"], one["pairs"], one["mean"]) for one in quarters] == [
        (2.0, 2.0, 1, -1.0), (3.0, 3.0, 1, 2.0), (4.0, 4.0, 2, 1.5)
    ]  # fmt: skip


def test_correlations_leave_out_what_never_varies() -> None:
    """A constant measure has no rank correlation; ties share a rank."""
    tokens, judge = [1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 2.0, 2.0]
    pairs = frame(*({"delta_tokens": x, "delta_judge": y} for x, y in zip(tokens, judge, strict=True)))
    told = made(pairs)["correlations"]
    assert told["measures"] == ["tokens", "judge"]
    assert told["spearman"][0][1] == told["spearman"][1][0] == pytest.approx(3.5 / (5 * 4.5) ** 0.5)


def test_pairings_come_in_the_order_of_the_ladder() -> None:
    """By the stronger rung, then the weaker; a name that the recipe lacks behind the others."""
    sides = [("small", "big"), ("mid", "small"), ("new", "big"), ("big", "small"), ("big", "mid")]
    told = made(frame(*({"chosen_model": a, "rejected_model": b} for a, b in sides)))
    assert [(one["chosen"], one["rejected"]) for one in told["pairings"]] == [
        ("big", "mid"), ("big", "small"), ("mid", "small"), ("small", "big"), ("new", "big")
    ]  # fmt: skip


def test_one_pool_is_the_whole() -> None:
    """Equal pairs have equal numbers, their intervals included."""
    told = made(frame(*({"delta_judge": float(n % 3 - 1)} for n in range(20))))
    (pairing,) = told["pairings"]
    assert pairing["by_pool"]["own"]["measures"] == pairing["measures"] == pairing["measures_kept"]


def test_no_pair_and_no_response() -> None:
    """Nothing to report is a report: no pairing, rules that dropped nothing, rungs without numbers."""
    told = made(frame())
    assert (told["pairs"], told["kept"], told["prompts"], told["pairings"]) == (0, 0, 0, [])
    assert [rule["dropped"] for rule in told["funnel"]] == [0, 0, 0]
    assert [rung["responses"] for rung in told["ladder"]] == [0, 0, 0]
    assert told["correlations"] == {"measures": [], "spearman": []}


JUDGED = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from(["big", "mid"]),
        st.integers(0, 2),
        st.sampled_from([None, "not_empty", "finished"]),
        st.one_of(st.none(), st.integers(-3, 3), st.floats(-10, 10)),
        st.one_of(st.none(), st.integers(-40, 40)),
    ),
    max_size=24,
    unique_by=lambda row: row[:3],
)


def from_rows(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    """A pool and a split per prompt; two pairings; up to three samples."""
    return frame(*(
        {
            "prompt_id": prompt,
            "pool": "own" if prompt < "d" else "other",
            "split": "test" if prompt == "c" else "train",
            "chosen_model": model,
            "chosen_sample": sample,
            "rejected_sample": sample,
            "dropped_by": reason,
            "delta_judge": judge,
            "delta_tokens": tokens,
        }
        for prompt, model, sample, reason, judge, tokens in rows
    ))  # fmt: skip


def ladder_of(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    found = {(prompt, model, sample): judge for prompt, model, sample, _, judge, _ in rows}
    return rungs(*({"prompt_id": p, "model": m, "sample": s, "judge": x} for (p, m, s), x in found.items()))


@settings(deadline=None, max_examples=40)
@given(rows=JUDGED, data=st.data())
def test_the_order_of_the_rows_changes_no_number(rows: list[tuple[Any, ...]], data: st.DataObject) -> None:
    """Not a bit of it, the drawn intervals included."""
    mixed = data.draw(st.permutations(rows))
    assert made(from_rows(rows), ladder_of(rows)) == made(from_rows(mixed), ladder_of(mixed))


@settings(deadline=None, max_examples=40)
@given(rows=JUDGED)
def test_sides_swapped_turn_every_sign(rows: list[tuple[Any, ...]]) -> None:
    """Agreement a becomes 1 - a, mean m becomes -m, and so do the funnel's."""
    pairs = from_rows(rows)
    other = {"chosen_model": "rejected_model", "rejected_model": "chosen_model"}
    swapped = pairs.rename(other).with_columns(-pl.col("^delta_.*$"))
    here, there = made(pairs), made(swapped)
    turned = {(one["rejected"], one["chosen"]): one for one in there["pairings"]}
    for pairing in here["pairings"]:
        for name, stats in pairing["measures"].items():
            back = turned[pairing["chosen"], pairing["rejected"]]["measures"][name]
            assert back["n"] == stats["n"]
            if stats["n"]:
                assert back["agreement"] == pytest.approx(1 - stats["agreement"], abs=1e-12)
                assert back["mean"] == pytest.approx(-stats["mean"], abs=1e-9)
                assert back["quantiles"]["0.25"] == pytest.approx(-stats["quantiles"]["0.75"], abs=1e-9)
    for rule, back in zip(here["funnel"], there["funnel"], strict=True):
        assert rule["dropped"] == back["dropped"]
        if rule["delta_after"]["judge"]["n"]:
            assert back["delta_after"]["judge"]["mean"] == pytest.approx(
                -rule["delta_after"]["judge"]["mean"], abs=1e-9
            )


@settings(deadline=None, max_examples=40)
@given(rows=JUDGED)
def test_kept_and_dropped_make_all_pairs(rows: list[tuple[Any, ...]]) -> None:
    """In the whole and in each pairing, pool and split."""
    told = made(from_rows(rows))
    assert told["kept"] + sum(rule["dropped"] for rule in told["funnel"]) == told["pairs"] == len(rows)
    assert sum(one["kept"] for one in told["pairings"]) == told["kept"]
    for pairing in told["pairings"]:
        for by in ("by_pool", "by_split"):
            for key in ("pairs", "kept"):
                assert sum(part[key] for part in pairing[by].values()) == pairing[key]


def test_an_interval_is_no_matter_of_the_other_pairings_and_one_of_the_seed() -> None:
    """The same pairing alone or beside another has the same interval; another seed gives another."""
    rows = [("abcdef"[n % 6], "big", n // 6, None, (n * 7) % 5 - 1.5, n) for n in range(18)]
    more = [("abcdef"[n % 6], "mid", n // 6, None, 1.0 - n % 3, n) for n in range(18)]
    alone, beside = made(from_rows(rows)), made(from_rows(rows + more))
    assert alone["pairings"][0]["measures"] == beside["pairings"][0]["measures"]
    many = frame(*({"delta_judge": 1.0 if n % 3 else -1.0} for n in range(4_001)))
    first, second = (made(many, seed=seed)["pairings"][0]["measures"]["judge"] for seed in (0, -1))
    assert first["agreement_ci95"] != second["agreement_ci95"]


def test_several_pairs_of_a_prompt_widen_the_interval() -> None:
    """Four samples that go together in each of 40 prompts are 40 observations, not 160."""
    rows = [{"delta_judge": 1.0 if n % 3 else -1.0, "prompt_id": f"p{n}"} for n in range(40)]
    samples = [row | {"chosen_sample": s, "rejected_sample": s} for row in rows for s in range(4)]
    together = made(frame(*samples))["pairings"][0]
    apart = made(frame(*(row | {"prompt_id": f"q{n}"} for n, row in enumerate(samples))))["pairings"][0]
    widths = [np.ptp(one["measures"]["judge"]["agreement_ci95"]) for one in (together, apart)]
    assert widths[0] == pytest.approx(2 * widths[1], rel=0.15)
    assert np.ptp(together["by_pool"]["own"]["measures"]["judge"]["agreement_ci95"]) == widths[0]


FAMILIES = {
    "gemma-7b-it": "gemma-2b-it",
    "falcon-40b-instruct": "falcon-7b-instruct",
    "vicuna-13b": "vicuna-7b",
}


def answers(model: str) -> dict[str, str]:
    return {
        row["instruction"]: row["output"] for row in json.loads((DATA / f"{model}.json").read_text(encoding="utf-8"))
    }


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the published answers and preferences beside the checkout")
def test_published_preferences_against_numpy_alone() -> None:
    """Three size pairs judged by GPT-4-turbo: means, deltas and agreement to 1e-9, intervals to 0.01, strengths."""
    models = [model for pair in FAMILIES.items() for model in pair]
    with (DATA / "preferences.csv").open(encoding="utf-8", newline="") as source:
        judged = {(row["prompt"], row["model"]): float(row["score"]) for row in csv.DictReader(source)}
    texts = {model: answers(model) for model in models}
    prompts = list(texts["vicuna-7b"])
    scores = {model: np.array([judged[prompt, model] for prompt in prompts]) for model in models}
    sizes = {model: np.array([float(len(texts[model][prompt])) for prompt in prompts]) for model in models}
    told = made(*_frames(prompts, scores, sizes), rungs=models, pools=["own"])

    for row in told["ladder"]:
        assert row["mean_score"]["judge"] == pytest.approx(scores[row["model"]].mean(), abs=1e-9)
        assert row["mean_characters"] == pytest.approx(sizes[row["model"]].mean(), abs=1e-9)
    random = np.random.default_rng(99)
    for pairing, (big, small) in zip(told["pairings"], FAMILIES.items(), strict=True):
        deltas, stats = scores[big] - scores[small], pairing["measures"]["judge"]
        won = (deltas > 0) + (deltas == 0) / 2
        assert (pairing["chosen"], pairing["rejected"], stats["n"]) == (big, small, 805)
        assert stats["mean"] == pytest.approx(deltas.mean(), abs=1e-9)
        assert stats["std"] == pytest.approx(deltas.std(ddof=1), abs=1e-9)
        assert stats["agreement"] == pytest.approx(won.mean(), abs=1e-9)
        drawn = won[random.integers(0, 805, (10_000, 805))].mean(axis=1)
        assert stats["agreement_ci95"] == pytest.approx(list(np.quantile(drawn, (0.025, 0.975))), abs=0.01)
        lengths = sizes[big] - sizes[small]
        assert pairing["measures"]["characters"]["mean"] == pytest.approx(lengths.mean(), abs=1e-9)
        alike = np.abs(lengths) <= 0.05 * (sizes[big] + sizes[small])
        alike &= (sizes[big] > 0) & (sizes[small] > 0)
        assert pairing["length_bias"]["matched"]["pairs"] == alike.sum()
        assert pairing["length_bias"]["matched"]["agreement"] == pytest.approx(won[alike].mean(), abs=1e-9)
        assert pairing["length_bias"]["share_chosen_longer"] == pytest.approx((lengths > 0).mean(), abs=1e-9)
    expected = _climb(np.stack([scores[model] for model in models]))
    assert [row["strength"]["judge"] for row in told["ladder"]] == pytest.approx(list(expected), abs=1e-5)


def _frames(prompts: list[str], scores: dict[str, Any], sizes: dict[str, Any]) -> tuple[pl.DataFrame, pl.DataFrame]:
    pairs = [
        {
            "prompt_id": prompt,
            "chosen_model": big,
            "rejected_model": small,
            "chosen_tokens": None,
            "rejected_tokens": None,
            "delta_tokens": None,
            "delta_characters": sizes[big][n] - sizes[small][n],
            "delta_response_ratio": float(np.log2(sizes[big][n] / sizes[small][n]))
            if sizes[big][n] * sizes[small][n]
            else None,
            "delta_judge": scores[big][n] - scores[small][n],
        }
        for big, small in FAMILIES.items()
        for n, prompt in enumerate(prompts)
    ]
    responses = [
        {"prompt_id": prompt, "model": model, "tokens": None, "characters": sizes[model][n], "judge": scores[model][n]}
        for model in scores
        for n, prompt in enumerate(prompts)
    ]
    return frame(*pairs), rungs(*responses)


def _climb(scores: Any) -> Any:
    """Bradley-Terry by plain gradient ascent on the likelihood, half games against an average opponent included."""
    above = (scores[:, None] > scores[None]) + (scores[:, None] == scores[None]) / 2
    wins = above.sum(axis=2) * (1 - np.eye(len(scores)))
    strength = np.zeros(len(scores))
    for _ in range(20_000):
        odds = 1 / (1 + np.exp(strength[None] - strength[:, None]))
        slope = (wins - (wins + wins.T) * odds).sum(axis=1) + 0.5 - 1 / (1 + np.exp(-strength))
        strength += slope / wins.sum() * 2
    return strength - strength.mean()
