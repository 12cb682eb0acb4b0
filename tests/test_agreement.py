"""Agreement, intervals, strengths and correlations: by hand, against direct numpy, and against plain resampling.

pytest tests/test_agreement.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltadata import agreement, spread

Array = Any
ALL = np.ones(1, dtype=bool)


def one_cell(values: list[float]) -> spread.Column:
    return spread.column(np.array(values, dtype=float), np.zeros(len(values), dtype=int), 1)[0]


def test_a_spread_by_hand() -> None:
    """Five deltas and an unknown one: moments, linear quantiles, shares and agreement."""
    told = spread.spread(one_cell([3.0, -1.0, np.nan, 0.0, 1.0, 2.0]), ALL)
    assert told["n"] == 5
    assert told["mean"] == 1.0
    assert told["std"] == pytest.approx(2.5**0.5)
    assert told["quantiles"] == pytest.approx({"0.05": -0.8, "0.25": 0.0, "0.5": 1.0, "0.75": 2.0, "0.95": 2.8})
    assert (told["share_positive"], told["share_tied"], told["agreement"]) == (0.6, 0.2, 0.7)


def test_a_spread_of_nothing_and_of_one() -> None:
    """No value gives nulls, one value no std."""
    none = spread.spread(one_cell([np.nan]), ALL)
    assert none.pop("n") == 0
    assert set(none.values()) == {None}
    one = spread.spread(one_cell([-0.0]), ALL)
    assert (one["n"], one["mean"], one["std"], one["agreement"]) == (1, 0.0, None, 0.5)
    assert str(one["quantiles"]["0.5"]) == "0.0"


@settings(deadline=None, max_examples=60)
@given(
    values=st.lists(st.one_of(st.integers(-3, 3), st.floats(-1e6, 1e6), st.just(float("nan"))), max_size=40),
    collapse=st.sampled_from([0, spread.COLLAPSE]),
    data=st.data(),
)
def test_every_part_of_a_column_is_what_numpy_says(values: list[float], collapse: int, data: st.DataObject) -> None:
    """Counted or kept row by row, any union of cells has numpy's mean, std and quantiles, whatever the order."""
    cells = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(values), max_size=len(values))), dtype=int)
    member = np.array(data.draw(st.lists(st.booleans(), min_size=4, max_size=4)))
    array = np.array(values, dtype=float)
    mixed = np.array(data.draw(st.permutations(range(len(values)))), dtype=int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spread, "COLLAPSE", collapse)
        told = spread.spread(spread.column(array, cells, 4)[0], member)
        again = spread.spread(spread.column(array[mixed], cells[mixed], 4)[0].part(member), member)
    assert told == again
    own = array[member[cells] & ~np.isnan(array)] if len(values) else array
    assert told["n"] == len(own)
    if len(own):
        assert told["mean"] == pytest.approx(own.mean(), rel=1e-9, abs=1e-9)
        expected = np.quantile(own, spread.QUANTILES)
        assert list(told["quantiles"].values()) == pytest.approx(list(expected), rel=1e-9, abs=1e-9)
        assert told["agreement"] == pytest.approx((own > 0).mean() + (own == 0).mean() / 2)
    if len(own) > 1:
        assert told["std"] == pytest.approx(own.std(ddof=1), rel=1e-9, abs=1e-6)


def test_outcomes_of_prompts_with_several_pairs() -> None:
    """Prompt 0 wins both, prompt 1 wins and loses, prompt 2 ties, prompt 4 as prompt 1; there is no prompt 3."""
    signs, prompts = np.array([1, 1, 1, -1, 0, -1, 1]), np.array([0, 0, 1, 1, 2, 4, 4])
    found = agreement.outcomes(signs, prompts)
    assert sorted(zip(*found, strict=True)) == [(1, 1, 1), (2, 2, 2), (4, 2, 1)]
    assert agreement.agreement(found) == pytest.approx(4.5 / 7)
    assert agreement.outcomes(signs, None) == ((0, 1, 2), (1, 1, 1), (2, 1, 4))


def test_an_interval_needs_two_prompts() -> None:
    """None below two prompts; where all prompts agree there is nothing to resample."""
    assert agreement.interval(agreement.outcomes(np.array([], dtype=int), None), 0) is None
    assert agreement.interval(agreement.outcomes(np.array([1, 1]), np.array([0, 0])), 0) is None
    assert agreement.interval(agreement.outcomes(np.array([1, 1]), None), 0) == [1.0, 1.0]
    assert agreement.agreement(agreement.outcomes(np.array([], dtype=int), None)) is None


def plain_bootstrap(signs: Array, prompts: Array, seed: int) -> Array:
    """Prompts drawn one by one with replacement, their pairs taken along: 10,000 times."""
    random, points = np.random.default_rng(seed), (signs + 1) / 2
    sums, sizes = np.bincount(prompts, points), np.bincount(prompts)
    drawn = random.integers(0, len(sizes), (10_000, len(sizes)))
    return np.quantile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), (0.025, 0.975))


@pytest.mark.parametrize("per_prompt", [1, 2, 5])
def test_the_interval_is_that_of_plain_resampling_of_prompts(per_prompt: int) -> None:
    """Within 0.01 of an ordinary cluster bootstrap, with ties and with prompts whose pairs go together."""
    random = np.random.default_rng(per_prompt)
    luck = np.repeat(random.random(160), per_prompt)
    signs = np.where(random.random(len(luck)) < 0.1, 0, np.where(random.random(len(luck)) < luck, 1, -1))
    prompts = np.repeat(np.arange(160), per_prompt)
    limits = agreement.interval(agreement.outcomes(signs, prompts), 7)
    assert limits == pytest.approx(plain_bootstrap(signs, prompts, 1), abs=0.01)
    assert limits == agreement.interval.__wrapped__(agreement.outcomes(signs[::-1], prompts[::-1]), 7)
    if per_prompt == 5:  # prompts go together: pairs drawn one by one would claim too much
        assert limits is not None
        alone = agreement.interval(agreement.outcomes(signs, None), 7)
        assert alone is not None
        assert limits[1] - limits[0] > 1.2 * (alone[1] - alone[0])


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of 400 draws of 200 pairs with agreement 0.6, the 95 % interval holds 0.6 in 91 to 98 %."""
    random, hits = np.random.default_rng(3), 0
    for _ in range(400):
        wins = int(random.binomial(200, 0.6))
        limits = agreement.interval(agreement.single(np.array([200 - wins, 0, wins])), 0)
        hits += limits is not None and limits[0] <= 0.6 <= limits[1]
    assert 0.91 <= hits / 400 <= 0.98


@pytest.mark.parametrize("counts", [[50, 3_000, 950], list(range(1, 60))])
def test_both_ways_to_resample_have_the_moments_of_the_multinomial(counts: list[int]) -> None:
    """Few outcomes are drawn as counts, many prompt by prompt: all prompts each time, mean and variance fit."""
    total = np.array(counts)
    n = total.sum()
    drawn = np.concatenate(list(agreement.resamples(total, 3_000, np.random.default_rng(0))))
    assert drawn.shape == (3_000, len(total))
    assert set(drawn.sum(axis=1)) == {n}
    variance = total * (1 - total / n)
    assert np.all(np.abs(drawn.mean(axis=0) - total) < 4.5 * np.sqrt(variance / 3_000))
    assert drawn.var(axis=0) == pytest.approx(variance, rel=0.2)


def test_batches_change_no_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches draw what one large batch draws."""
    for counts in (np.array([50, 3_000]), np.arange(1, 40)):
        whole = np.concatenate(list(agreement.resamples(counts, 50, np.random.default_rng(0))))
        monkeypatch.setattr(agreement, "BATCH", 60)
        parts = list(agreement.resamples(counts, 50, np.random.default_rng(0)))
        monkeypatch.undo()
        assert len(parts) > 1
        assert np.array_equal(np.concatenate(parts), whole)


def log_likelihood(strength: Array, wins: Array) -> float:
    """Directly: every win and, per rung, half a win and half a loss against an opponent of strength 0."""
    total = 0.0
    for i in range(len(strength)):
        total -= 0.5 * (np.log1p(np.exp(-strength[i])) + np.log1p(np.exp(strength[i])))
        for j in range(len(strength)):
            if i != j:
                total -= wins[i, j] * np.log1p(np.exp(strength[j] - strength[i]))
    return float(total)


@pytest.mark.parametrize("wins", [[[0, 7, 9], [3, 0, 6], [1, 4, 0]], [[0, 5, 5], [0, 0, 5], [0, 0, 0]]])
def test_strengths_are_where_the_likelihood_is_highest(wins: list[list[int]]) -> None:
    """No small step in any direction is more likely, for a mixed ladder and for a rung that wins or loses all."""
    table = np.array(wins, dtype=float)
    strength = agreement.bradley_terry(table[None])[0]
    assert strength.sum() == pytest.approx(0, abs=1e-9)
    assert list(np.argsort(-strength)) == [0, 1, 2]
    # The scale's zero is free in the games and held by the half games: look along both.
    shifts = np.linspace(-1, 1, 20_001)
    best = max(shifts, key=lambda shift: log_likelihood(strength + shift, table))
    top = log_likelihood(strength + best, table)
    for step in np.random.default_rng(0).normal(0, 1e-3, (200, 3)):
        assert log_likelihood(strength + best + step, table) <= top + 1e-7


def test_two_rungs_have_the_log_odds_of_their_games() -> None:
    """Of 1,000,000 games 750,000 are won: the strengths are apart by log 3, and the half games do not show."""
    strength = agreement.bradley_terry(np.array([[[0.0, 750_000.0], [250_000.0, 0.0]]]))[0]
    assert strength[0] - strength[1] == pytest.approx(np.log(3), abs=1e-5)


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 6), st.integers(0, 2**32), st.sampled_from([1, 100, 10**6]))
def test_strengths_stay_finite_whatever_the_games(size: int, seed: int, most: int) -> None:
    """Rungs that never win, never play or always tie: finite, mean 0, the gradient vanishes."""
    random = np.random.default_rng(seed)
    wins = random.integers(0, most + 1, (size, size)) * (random.random((size, size)) < 0.5) * (1 - np.eye(size))
    strength = agreement.bradley_terry(wins[None])[0]
    assert np.isfinite(strength).all()
    assert strength.mean() == pytest.approx(0, abs=1e-8)


def test_strengths_from_scores() -> None:
    """Ties are half a win each; more prompts of the same kind narrow the interval; row order is no matter."""
    scores = np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, np.nan], [3.0, 1.0, 2.0]])
    wins = np.array([[0, 2.5, 3], [1.5, 0, 2], [0, 1, 0]])
    strength, limits = agreement.strengths(np.tile(scores, (50, 1)), None, 0)
    assert strength == pytest.approx(list(agreement.bradley_terry(50 * wins[None])[0]), abs=1e-9)
    wide = agreement.strengths(np.tile(scores, (5, 1)), None, 0)[1]
    for one, other, point in zip(limits, wide, strength, strict=True):
        assert one is not None and other is not None and point is not None
        assert one[0] < point < one[1]
        assert other[1] - other[0] > 2 * (one[1] - one[0])
    assert agreement.strengths(np.tile(scores[::-1], (50, 1)), None, 0) == (strength, limits)


def test_strengths_resample_prompts_and_not_their_samples() -> None:
    """Four samples of each prompt that say the same are no more evidence than one of them."""
    random = np.random.default_rng(0)
    scores = random.normal(0, 1, (300, 2)) + [0.4, 0]
    once = agreement.strengths(scores, None, 0)[1][0]
    four = agreement.strengths(np.repeat(scores, 4, axis=0), np.repeat(np.arange(300), 4), 0)[1][0]
    assert once is not None and four is not None
    assert four[1] - four[0] == pytest.approx(once[1] - once[0], rel=0.15)


def test_rungs_that_nothing_links_have_no_strength() -> None:
    """Two groups never scored on one prompt: the larger has strengths, the other none; alone there is no strength."""
    nan = np.nan
    scores = np.array([[2.0, 1.0, 0.0, nan, nan], [1.0, 2.0, 0.0, nan, nan], [nan, nan, nan, 1.0, 0.0]])
    strength, limits = agreement.strengths(scores, None, 0)
    assert [x is None for x in strength] == [x is None for x in limits] == [False, False, False, True, True]
    turned, _ = agreement.strengths(scores[:, ::-1], None, 0)
    assert turned == pytest.approx([None, None, *reversed(strength[:3])])
    assert agreement.strengths(scores[:, 2:4], None, 0) == ([None, None], [None, None])
    assert agreement.strengths(np.empty((0, 2)), None, 0) == ([None, None], [None, None])
    assert agreement.strengths(scores[:, :1], None, 0) == ([None], [None])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(2, 30))
def test_rank_correlation_is_pearson_of_polars_ranks(seed: int, rows: int) -> None:
    """Ties share their average rank; each pair of columns over the rows that know both."""
    random = np.random.default_rng(seed)
    table = random.integers(-3, 4, (3, rows)).astype(float)
    table[0, random.random(rows) < 0.3] = np.nan
    cells = np.zeros(rows, dtype=int)
    found = spread.spearman([spread.column(row, cells, 1)[1] for row in table])
    ranks = [
        pl.Series(row).fill_nan(None).rank("average").cast(pl.Float64).fill_null(np.nan).to_numpy() for row in table
    ]
    for i in range(3):
        for j in range(3):
            both = ~np.isnan(ranks[i]) & ~np.isnan(ranks[j])
            mine, other = ranks[i][both], ranks[j][both]
            if len(set(mine)) > 1 and len(set(other)) > 1:
                assert found[i][j] == pytest.approx(np.corrcoef(mine, other)[0, 1], abs=1e-9)
            else:
                assert found[i][j] is None


def test_rank_correlation_goes_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of rows add up to the whole; no column, no table."""
    ranks = [np.array([1.0, 2, 3, 4]), np.array([2.0, 1, 4, 3])]
    monkeypatch.setattr(spread, "BLOCK", 3)
    assert spread.spearman(ranks) == [[1.0, 0.6], [0.6, 1.0]]
    assert spread.spearman([]) == []


def test_the_regression_finds_what_the_data_were_made_from() -> None:
    """Won with log-odds 0.3 + delta / 150: agreement at delta 0, and the coefficient per standard deviation."""
    random = np.random.default_rng(0)
    lengths = random.integers(-300, 300, 40_000).astype(float)
    signs = np.where(random.random(40_000) < 1 / (1 + np.exp(-0.3 - lengths / 150)), 1, -1)
    told = agreement.controlled(lengths, signs)
    assert told["agreement"] == pytest.approx(1 / (1 + np.exp(-0.3)), abs=0.01)
    assert told["coefficient"] == pytest.approx(lengths.std() / 150, abs=0.05)


def test_the_regression_is_at_the_maximum_of_the_likelihood() -> None:
    """Ties weigh half on each side: the score equations of the unpenalised fit hold."""
    lengths = np.array([-5.0, -5, -2, 0, 0, 1, 1, 4, 4, 9])
    signs = np.array([-1, 1, -1, 1, -1, 0, -1, 1, 0, 1])
    told = agreement.controlled(lengths, signs)
    assert told["agreement"] is not None and told["coefficient"] is not None
    slope = told["coefficient"] / lengths.std()
    expected = 1 / (1 + np.exp(-np.log(told["agreement"] / (1 - told["agreement"])) - slope * lengths))
    missed = (signs + 1) / 2 - expected
    assert missed.sum() == pytest.approx(0, abs=1e-12)
    assert (missed * lengths).sum() == pytest.approx(0, abs=1e-11)


@pytest.mark.parametrize(
    ("lengths", "signs", "share", "coefficient"),
    [
        ([-5, -5, -2, 0, 0, 1, 1, 4, 4, 9], [-1, 1, -1, 1, -1, 0, -1, 1, 0, 1], 0.469342919, 0.778457004),
        # One length far out, and outcomes that hardly overlap.
        ([-40, -12, -7, 0, 2, 2, 5, 30, 31, 250], [-1, -1, -1, 1, -1, 0, 1, 1, 1, 1], 0.420081023, 28.0463444),
        ([100, 120, 120, 150, 180, 400], [1, 1, -1, 0, -1, -1], 0.999285094, -5.62560336),
    ],
)  # fmt: skip
def test_the_regression_is_that_of_scikit_learn(
    lengths: list[int], signs: list[int], share: float, coefficient: float
) -> None:
    """What LogisticRegression of scikit-learn 1.9 without a penalty says of these pairs (tolerance 1e-12)."""
    told = agreement.controlled(np.array(lengths, dtype=float), np.array(signs))
    assert told == {"agreement": pytest.approx(share, rel=1e-8), "coefficient": pytest.approx(coefficient, rel=3e-8)}


def test_the_regression_halves_steps_that_leap_past_the_top() -> None:
    """One win far off among a million pairs: whole Newton steps run away from here; the score equations hold."""
    x, won, lost = np.array([-20.0, 0, 2]), np.array([1.0, 1000, 300]), np.array([1000.0, 900_000, 100])
    level, slope = agreement.logistic(x, won, lost)
    missed = won - (won + lost) / (1 + np.exp(-level - slope * x))
    assert (missed.sum(), missed @ x) == pytest.approx((0, 0), abs=1e-7)


def test_an_outlier_costs_the_regression_no_digits() -> None:
    """A length of 1e9 beside six of some units: its outcome is certain, the rest has its own even maximum."""
    lengths = np.array([-1.0, 0, 1, 0, 1, -1, 1e9])
    told = agreement.controlled(lengths, np.array([-1, 1, 1, -1, -1, 1, 1]))
    assert told["agreement"] == pytest.approx(0.5, abs=1e-7)


@pytest.mark.parametrize("counts", [[3, 5], [1, 2, 1, 1], [40, 30, 30], [20] * 100])
def test_resamples_are_those_of_one_prompt_after_the_other(counts: list[int]) -> None:
    """Drawing many at once is drawing each of its prompts in turn, from the same stream."""
    outcome, seen = np.repeat(np.arange(len(counts)), counts), np.random.default_rng(5)
    found = np.concatenate(list(agreement.resamples(np.array(counts), 300, np.random.default_rng(5))))
    for row in found[: 300 if len(counts) * 30 > sum(counts) else 0]:
        assert (row == np.bincount(outcome[seen.integers(0, len(outcome), len(outcome))], minlength=len(counts))).all()
    assert (found.sum(axis=1) == sum(counts)).all() and len(found) == 300


def test_where_score_is_length_alone_the_agreement_at_equal_length_is_even() -> None:
    """The longer side always wins: 50 % at length delta 0, with and without pairs there, and no coefficient."""
    lengths = np.arange(-50.0, 51.0)
    even = {"agreement": 0.5, "coefficient": None}
    assert agreement.controlled(lengths, np.sign(lengths)) == even
    assert agreement.controlled(lengths[lengths != 0], np.sign(lengths[lengths != 0])) == even
    assert agreement.controlled(lengths, -np.sign(lengths)) == even
    noise = np.random.default_rng(0).normal(0, 10, 101 * 50)
    many = np.tile(lengths, 50)
    assert agreement.controlled(many, np.sign(many + noise))["agreement"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("lengths", "signs", "expected"),
    [
        ([], [], None),
        ([3], [1], None),
        ([3, 5], [1, 1], None),  # one outcome only
        ([4, 4], [1, -1], None),  # one length only
        ([2, 3], [-1, 1], 0.0),  # the boundary lies above 0
        ([-3, -2], [-1, 1], 1.0),  # and below
        ([2, 3], [1, -1], 1.0),
        ([-1, 0, 0, 0, 1], [-1, 1, 1, -1, 1], 2 / 3),
    ],
)
def test_the_regression_on_next_to_nothing(lengths: list[float], signs: list[int], expected: float | None) -> None:
    """None or the limit, and never a warning."""
    told = agreement.controlled(np.array(lengths, dtype=float), np.array(signs, dtype=np.int8))
    assert told == {"agreement": expected, "coefficient": None}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-1, 1)), max_size=12), st.sampled_from([1e-3, 1.0, 1e5]))
def test_the_regression_never_warns_and_is_never_nan(pairs: list[tuple[int, int]], scale: float) -> None:
    """Whatever few pairs come: a share or None."""
    lengths, signs = np.array([x for x, _ in pairs]) * scale, np.array([y for _, y in pairs], dtype=int)
    told = agreement.controlled(lengths, signs)
    assert told["agreement"] is None or 0 <= told["agreement"] <= 1
    assert told["coefficient"] is None or np.isfinite(told["coefficient"])
