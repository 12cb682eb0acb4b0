"""Limits that cover, prompts that suffice, verdicts in a sentence: the statistics of `deltadata validate`, by hand.

pytest tests/test_validity.py
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltadata import agreement, tables, validity
from deltadata.validity import Rule, Spread, judged, limits, minimum, notes, rows, settling, spread

DATA = Path(__file__).parents[2] / "shared" / "data" / "alpaca_eval"
PAIRINGS = [
    ("gemma-7b-it", "gemma-2b-it"),
    ("falcon-40b-instruct", "falcon-7b-instruct"),
    ("vicuna-13b", "vicuna-7b"),
]
Z2 = 1.959963985**2


def seen(signs: Sequence[int], prompts: Sequence[int] | None = None) -> Spread:
    """The spread of these pairs; without prompts each has its own."""
    of = None if prompts is None else np.array(prompts)
    found = spread(agreement.outcomes(np.array(signs, dtype=np.int8), of))
    assert found is not None
    return found


def of(up: int, down: int = 0, tied: int = 0) -> Spread:
    return seen([1] * up + [-1] * down + [0] * tied)


def test_a_prompt_counts_by_its_pairs() -> None:
    """Two pairs, of which one agrees and one ties, beside a lone one that does not: worth less than two prompts."""
    found = seen([1, 0, -1], [0, 0, 1])

    # Prompt 0 agrees in 3/4 of 2 pairs, prompt 1 in none of 1: (1.5 + 0) / 3, squared weights 4 and 1.
    assert found.mean == pytest.approx(0.5)
    assert found.variance == pytest.approx((4 * 0.25**2 + 1 * 0.5**2) / 5)
    assert found.worth == pytest.approx(9 / 5)


def test_no_pair_has_no_spread() -> None:
    """Nothing is said of nothing."""
    assert spread(agreement.outcomes(np.array([], dtype=np.int8), None)) is None


def test_one_pair_a_prompt_has_agresti_and_coulls_limits() -> None:
    """8 of 10 agree: (8 + z^2/2) / (10 + z^2) is 0.717, and 1.96 sqrt(0.717 x 0.283 / 13.84) is 0.237."""
    assert limits(of(8, 2), 0.95) == pytest.approx([0.4794, 0.9541], abs=1e-4)


def test_prompts_that_all_agree_have_an_interval_and_no_point() -> None:
    """10 of 10: from 0.679, where a bootstrap says 1 to 1; and ten ties lie around a half, not on it."""
    low, high = limits(of(10), 0.95)
    assert (low, high) == (pytest.approx(0.6791, abs=1e-4), 1.0)

    # z^2 added prompts of variance 1/4 beside ten of none, over 10 + z^2 of them.
    half = math.sqrt(Z2 * Z2 / 4) / (10 + Z2)
    assert limits(of(0, 0, 10), 0.95) == pytest.approx([0.5 - half, 0.5 + half])


def test_a_repeated_pair_tells_nothing_new() -> None:
    """Four samples a prompt that always come out alike have the interval of one."""
    signs = [1, 1, -1, 0, 1, -1, 1, 1]
    repeated = seen(np.repeat(signs, 4).tolist(), np.repeat(np.arange(8), 4).tolist())

    assert limits(repeated, 0.95) == pytest.approx(limits(seen(signs), 0.95))


SIGNS = st.lists(st.tuples(st.sampled_from([-1, 0, 1]), st.integers(0, 12)), min_size=1, max_size=60)
LEVELS = st.floats(0.5, 0.999)


def of_pairs(pairs: list[tuple[int, int]], factor: int = 1) -> Spread:
    return seen([factor * sign for sign, _ in pairs], [prompt for _, prompt in pairs])


@given(SIGNS, LEVELS)
def test_limits_lie_in_0_to_1_and_hold_the_estimate(pairs: list[tuple[int, int]], level: float) -> None:
    """Whatever the outcomes, however many pairs a prompt has."""
    found = of_pairs(pairs)
    low, high = limits(found, level)

    assert 0 <= low <= found.mean <= high <= 1
    assert low < high


@given(SIGNS, LEVELS)
def test_swapped_sides_mirror_the_limits(pairs: list[tuple[int, int]], level: float) -> None:
    """The order and its reverse are judged alike."""
    low, high = limits(of_pairs(pairs), level)

    assert limits(of_pairs(pairs, -1), level) == pytest.approx([1 - high, 1 - low], abs=1e-12)


@given(SIGNS, LEVELS, LEVELS)
def test_a_higher_level_has_the_wider_limits(pairs: list[tuple[int, int]], one: float, other: float) -> None:
    """Those of the lower level lie within."""
    inner, outer = (limits(of_pairs(pairs), level) for level in sorted((one, other)))

    assert outer[0] <= inner[0] + 1e-12
    assert inner[1] <= outer[1] + 1e-12


def covered(size: int, share: float, level: float) -> float:
    """How often the limits hold the true share, exactly: over all outcomes of `size` prompts, one pair each."""
    total = 0.0
    for agree in range(size + 1):
        low, high = limits(of(agree, size - agree), level)
        if low <= share <= high:
            total += math.comb(size, agree) * share**agree * (1 - share) ** (size - agree)
    return total


@pytest.mark.parametrize("size", [10, 30, 100])
def test_limits_cover_at_few_prompts_and_near_1(size: int) -> None:
    """At no true share is the coverage of 95 % limits below 92 % (Wilson's fall to 84), and on average above 95."""
    found = [covered(size, share, 0.95) for share in [*np.linspace(0.5, 0.99, 99), 0.993, 0.995, 0.998, 0.9995]]

    assert min(found) > 0.92
    assert np.mean(found) > 0.95


def test_limits_cover_with_ties_and_several_pairs_a_prompt() -> None:
    """2,000 samples of 40 prompts with 1 to 4 pairs whose outcomes hang together: 93 % or more hold the truth."""
    rng = np.random.default_rng(4)
    for strength in (0.5, 0.8, 0.97):
        held = 0
        for _ in range(2000):
            sizes = rng.integers(1, 5, 40)
            easy = np.repeat(rng.random(40) < strength, sizes)  # of its prompt
            outcome = np.where(rng.random(len(easy)) < 0.2, 0, np.where(easy, 1, -1))
            low, high = limits(seen(outcome.tolist(), np.repeat(np.arange(40), sizes).tolist()), 0.95)
            held += low <= 0.1 + 0.8 * strength <= high
        assert held >= 0.93 * 2000


def test_the_prompts_for_a_width_are_the_fewest() -> None:
    """A coin's: 1.96^2 x 0.99 / 0.01 is 380.3. Prompts that all agree take 42 at 10 points, by hand: z^2 / 0.0916."""
    assert minimum(Spread(0.5, 0.25, 0), 0.1) == 381
    assert minimum(Spread(1.0, 0.0, 0), 0.1) == 42
    assert minimum(Spread(0.5, 0.25, 0), 0.1, 0.975) == math.ceil(2.2414027**2 * 99)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.02, 0.5))
def test_one_prompt_fewer_would_be_too_wide(mean: float, share: float, width: float) -> None:
    """The least is wide enough, and the one before it is not."""
    found = Spread(mean, share * mean * (1 - mean), 0)
    size = minimum(found, width)

    wide = [high - low for low, high in (limits(found._replace(worth=n), 0.95) for n in (size, max(size - 1, 1)))]
    assert wide[0] <= width
    assert size == 1 or wide[1] > width


def test_the_prompts_that_settle_a_difference_do_so_four_times_in_five() -> None:
    """60 % against a half: (1.96 + 0.84)^2 x 0.24 / 0.1^2 is 188, 197 with the limits' own caution."""
    size = settling(Spread(0.6, 0.24, 200), 0.5, 0.95)
    assert size == 197

    agree = np.random.default_rng(2).binomial(size, 0.6, 4000)
    found = np.mean(
        [limits(of(up, size - up), 0.95)[0] > 0.5 for up in np.unique(agree) for _ in range((agree == up).sum())]
    )
    assert 0.77 < found < 0.85
    assert settling(Spread(0.5, 0.25, 200), 0.5, 0.95) is None
    assert settling(Spread(0.6, 0.24, 200), 0.5, 0.99) > size


def pairs_of(pools: dict[str, tuple[int, int, int]], unknown: int = 0) -> pl.DataFrame:
    """Pairs `a` over `b`: by pool so many that agree, do not, and tie, by 2 points; and some without a score."""
    found = [
        {"pool": pool, "delta_judge": delta}
        for pool, counts in pools.items()
        for delta, count in zip((2.0, -2.0, 0.0), counts, strict=True)
        for _ in range(count)
    ]
    found += [{"pool": next(iter(pools)), "delta_judge": None}] * unknown
    frame = pl.DataFrame(found, schema={"pool": pl.String, "delta_judge": pl.Float64})
    ids = [f"{row:016x}" for row in range(frame.height)]
    sides = (pl.lit("a").alias("chosen_model"), pl.lit("b").alias("rejected_model"))
    return frame.with_columns(pl.Series("prompt_id", ids), *sides)


def rule(pools: Sequence[str] = ("own",), at_least: float = 0.5, looks: int = 1, prompts: int = 9000) -> Rule:
    return Rule("judge", at_least, looks, list(pools), prompts)


def told(pools: dict[str, tuple[int, int, int]], at_least: float = 0.5, looks: int = 1) -> dict[str, Any]:
    return judged(pairs_of(pools), [("a", "b")], rule(list(pools), at_least, looks))[0]


def test_the_figures_of_a_pairing_by_hand() -> None:
    """60 agree, 30 do not, 10 tie, 5 have no score: 65 % of 100, a mean of 0.6 points."""
    found = judged(pairs_of({"own": (60, 30, 10)}, unknown=5), [("a", "b"), ("b", "a")], rule())

    first = found[0]
    assert (first["chosen"], first["rejected"]) == ("a", "b")
    assert (first["pairs"], first["unknown"], first["prompts"]) == (105, 5, 100)
    assert first["agreement"] == pytest.approx(0.65)
    assert first["share_tied"] == pytest.approx(0.1)
    assert first["mean_delta"] == pytest.approx(0.6)
    assert first["variance"] == pytest.approx(0.6 + 0.025 - 0.65**2)
    assert first["agreement_ci95"] == first["limits"] == limits(of(60, 30, 10), 0.95)
    assert first["by_pool"]["own"]["agreement"] == pytest.approx(0.65)
    assert validity.least(first, 0.1) == minimum(of(60, 30, 10), 0.1) < minimum(Spread(0.65, 0.65 * 0.35, 0), 0.1)
    # Nobody is `b` over `a`: no figure, no verdict, and a coin's prompts.
    assert (found[1]["pairs"], found[1]["agreement_ci95"], found[1]["verdict"]) == (0, None, "no scores")
    assert validity.least(found[1], 0.1) == 381


VERDICTS = [
    ((70, 30, 0), 0.5, "worth it", "above 50 %"),
    ((59, 41, 0), 0.5, "undecided", "about 250 prompts would settle a difference of this size"),
    ((50, 50, 0), 0.5, "undecided", "no difference is seen"),
    ((30, 70, 0), 0.5, "not worth it", "reverse the pairing or drop it"),
    ((56, 44, 0), 0.7, "not worth it", "below 70 %."),
    ((29, 0, 0), 0.5, "too few prompts", "29 prompts are too few"),
    ((30, 0, 0), 0.5, "worth it", "(95 % interval 86.5-100 %, 30 prompts)"),
    ((0, 0, 0), 0.5, "no scores", "nothing is said of the order"),
]


@pytest.mark.parametrize(("counts", "at_least", "verdict", "said"), VERDICTS)
def test_a_verdict_is_a_word_and_its_sentence(
    counts: tuple[int, int, int], at_least: float, verdict: str, said: str
) -> None:
    """By the limits of the agreement beside what was asked for; below 30 prompts there is none."""
    found = told({"own": counts}, at_least)

    assert found["verdict"] == verdict
    assert found["sentence"].startswith("a over b: ")
    assert said in found["sentence"]
    assert ("reverse" in found["sentence"]) == (counts == (30, 70, 0))


def test_pools_that_differ_are_named() -> None:
    """Some above and some below: worth it on those alone, whatever the whole; limits share the level among pools."""
    pools = {"code": (80, 20, 0), "chat": (20, 80, 0), "few": (20, 0, 0)}
    found = told(pools)

    assert found["verdict"] == "only on these pools"
    assert "only on these pools: code, 80 % (98.33 % interval" in found["sentence"]
    assert "; not on chat, 20 % (" in found["sentence"]
    assert "few" not in found["sentence"]
    code = found["by_pool"]["code"]
    assert code["limits"] == limits(of(80, 20), 1 - 0.05 / 3)
    assert code["agreement_ci95"] == limits(of(80, 20), 0.95)


def test_a_pool_against_the_whole_is_named_too() -> None:
    """Below as a whole and above on one pool: on that one. Above as a whole and below on one: but not there."""
    low = told({"code": (80, 20, 0)} | {name: (465, 535, 0) for name in ("chat", "law", "art", "maths", "letters")})
    assert low["verdict"] == "only on these pools"
    assert low["sentence"].endswith("; not on the rest.")
    between = told({"code": (80, 20, 0), "chat": (90, 110, 0), "maths": (95, 105, 0)})
    assert between["verdict"] == "undecided"
    assert "and 50 % lies within; it is worth it on code, 80 %" in between["sentence"]
    high = told({"maths": (20, 60, 0)} | {f"pool{number}": (190, 160, 0) for number in range(10)})
    assert high["verdict"] == "worth it"
    assert "worth it, but not on maths, 25 %" in high["sentence"]


def test_several_looks_share_the_5_percent() -> None:
    """With two looks a verdict takes 97.5 %; the agreement's own interval stays one of 95 %."""
    one, two = told({"own": (61, 39, 0)}), told({"own": (61, 39, 0)}, looks=2)

    assert (one["verdict"], two["verdict"]) == ("worth it", "undecided")
    assert two["limits"] == limits(of(61, 39), 0.975)
    assert two["agreement_ci95"] == one["agreement_ci95"]
    assert "97.5 % interval" in two["sentence"]
    assert rule(["a", "b"], looks=2).level_by_pool == pytest.approx(0.9875)


def test_several_pairings_share_the_5_percent() -> None:
    """Twenty-one of them, five looks each and two pools; the note says among what."""
    many = rule(["a", "b"], looks=5)._replace(pairings=21)
    assert many.level == pytest.approx(1 - 0.05 / 105) and many.level_by_pool == pytest.approx(1 - 0.05 / 210)
    one = told({"own": (61, 39, 0)}) | {"minimum_prompts": 300}
    shown = {"pairings": [one] * 2, "width": 0.1, "looks": 5, "level": 0.995, "level_by_pool": 0.995}
    assert notes(shown)[-1] == (
        "the table's intervals are of 95 %, those that a verdict goes by of 99.5 %: "
        "5 looks and 2 pairings err in 5 % together"
    )


def test_looking_again_and_again_errs_in_5_percent_at_most() -> None:
    """Of 2,000 coins looked at five times at most 5 % ever seem decided; by plain 95 % limits more than 10 %."""
    coins = np.cumsum(np.random.default_rng(0).random((2000, 500)) < 0.5, axis=1)[:, 99::100]
    wrong = {
        level: sum(
            any(
                not low <= 0.5 <= high
                for low, high in (limits(of(up, n - up), level) for up, n in zip(row, sizes, strict=True))
            )
            for row in coins.tolist()
        )
        for sizes in [range(100, 501, 100)]
        for level in (rule(looks=5).level, 0.95)
    }
    assert wrong[0.99] <= 0.05 * 2000
    assert wrong[0.95] > 0.1 * 2000


def test_more_prompts_than_there_are_is_said() -> None:
    """Who cannot have them should know."""
    found = judged(pairs_of({"own": (52, 48, 0)}), [("a", "b")], rule(prompts=805))[0]

    assert "about 5,000 prompts would settle a difference of this size (the run has 805)" in found["sentence"]


def test_the_table_has_a_row_per_pairing_and_per_pool_of_several() -> None:
    """Pools only where there are several; what is not plain of it is said below, and nothing else."""
    whole: dict[str, Any] = {"level": 0.95, "level_by_pool": 0.95, "width": 0.1}
    plain = whole | {"pairings": [told({"own": (70, 30, 0)}) | {"minimum_prompts": 1300}]}
    assert rows(plain) == [
        {
            "pairing": "a > b",
            "pairs": "100",
            "agree % (95 %)": "70.0 (60.4-78.1)",
            "tied %": "0.0",
            "mean delta": "+0.8",
            "least": "1,300",
        }
    ]
    assert notes(plain) == ["least: prompts for a 95 % interval that is 10 points wide"]

    pools = pairs_of({"own": (70, 30, 0), "other": (0, 0, 40)}, unknown=2)
    twice = pl.concat([pools, pools])  # two samples of each prompt
    both = judged(twice, [("a", "b")], rule(["own", "other"], looks=2))[0] | {"minimum_prompts": 300}
    shown = whole | {"looks": 2, "level": 0.975, "level_by_pool": 0.9875, "pairings": [both]}
    assert [(row["pairing"], row["pairs"], row["least"]) for row in rows(shown)] == [
        ("a > b", "280/140", "300"),
        ("  own", "200/100", ""),
        ("  other", "80/40", ""),
    ]
    assert notes(shown)[1:] == [
        "pairs: with a score, of so many prompts",
        "4 of 284 pairs have no score on both sides",
        "the table's intervals are of 95 %, those that a verdict goes by of 97.5 %, 98.75 % for a pool: "
        "2 looks err in 5 % together",
    ]


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the eight models' answers beside the checkout")
def test_of_100_samples_of_real_scores_at_least_93_hold_the_agreement_of_all() -> None:
    """AlpacaEval: 200 of 805 prompts by seed, GPT-4 Turbo's scores, each of the pairings that have them."""
    with (DATA / "preferences.csv").open(newline="", encoding="utf-8") as file:
        scores = {(row["prompt"], row["model"]): float(row["score"]) for row in csv.DictReader(file)}
    prompts = sorted({prompt for prompt, _ in scores})
    assert len(prompts) == 805
    ids = {prompt: tables.prompt_id([{"role": "user", "content": prompt}]) for prompt in prompts}
    for chosen, rejected in PAIRINGS:
        signs = {ids[p]: int(np.sign(scores[p, chosen] - scores[p, rejected])) for p in prompts}
        truth, held = (1 + np.mean([*signs.values()])) / 2, []
        for seed in range(300):
            sample = sorted(signs, key=lambda name: tables.rank(seed, "validate", name))[:200]
            low, high = limits(seen([signs[name] for name in sample]), 0.95)
            held.append(low <= truth <= high)
        assert sum(held[:100]) >= 93
        assert sum(held) >= 0.95 * 300  # of 1,500 seeds it is 97.4, 97.6 and 98.2 %: a quarter of all prompts is drawn
