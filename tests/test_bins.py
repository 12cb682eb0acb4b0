"""Bins, means, intervals and rank relations of held-out pairs, by hand.

pytest tests/test_bins.py
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltadata import bins


def test_bins_are_even_where_there_are_no_ties() -> None:
    """Eight deltas in four bins: two each, by size whatever their order."""
    assert bins.quantile_bins(np.array([8.0, 1, 7, 2, 6, 3, 5, 4]), 4).tolist() == [3, 0, 3, 0, 2, 1, 2, 1]


def test_a_value_that_many_share_has_a_bin_of_its_own() -> None:
    """A quarter below zero, half at zero, a quarter above: three bins of the four, and none mixes values."""
    deltas = np.array([-1.0] * 25 + [0.0] * 50 + [1.0] * 25)
    assert bins.quantile_bins(deltas, 4).tolist() == [0] * 25 + [1] * 50 + [2] * 25
    assert bins.quantile_bins(np.zeros(5), 4).tolist() == [0] * 5
    assert bins.quantile_bins(np.array([]), 4).tolist() == []


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=60), st.integers(1, 6))
def test_bins_rise_with_the_delta(deltas: list[int], most: int) -> None:
    """A larger delta is never in a lower bin, equal ones are in the same, none is empty, and there are not too many."""
    found = bins.quantile_bins(np.array(deltas, float), most)
    pairs = sorted(zip(deltas, found.tolist(), strict=True))
    assert all(low <= high for (_, low), (_, high) in pairwise(pairs))
    assert len({(delta, number) for delta, number in pairs}) == len(set(deltas))
    assert sorted(set(found.tolist())) == list(range(int(found.max()) + 1)) and found.max() < most


def test_rows_of_a_bin_hold_what_their_pairs_hold() -> None:
    """Six pairs, one of an unknown delta: two bins with range, mean delta and means of a quantity."""
    deltas = np.array([1.0, 2.0, 3.0, 5.0, np.nan, 4.0])
    told = bins.by_bin({"margin": np.array([0.1, 0.3, 1.0, 2.0, 9.0, 3.0])}, deltas, np.arange(6), 2, 0)
    low, high = told
    assert [(row["low"], row["high"], row["pairs"]) for row in told] == [(1.0, 2.0, 2), (3.0, 5.0, 3)]
    assert (low["delta"], low["margin"]["mean"]) == (1.5, pytest.approx(0.2))
    assert (high["delta"], high["margin"]["mean"]) == (4.0, pytest.approx(2.0))
    assert low["margin"]["ci95"] == [pytest.approx(0.1), pytest.approx(0.3)]


def test_an_interval_draws_prompts_and_not_pairs() -> None:
    """A hundred pairs of two prompts are two pieces of evidence: a resample may hold one prompt alone."""
    values, prompts = np.array([0.0] * 50 + [1.0] * 50), np.array(["a"] * 50 + ["b"] * 50)
    assert bins.mean(values, prompts, 0) == {"mean": 0.5, "ci95": [0.0, 1.0]}
    assert bins.mean(values, np.array(["a"] * 100), 0)["ci95"] is None
    assert bins.mean(np.array([np.nan]), np.array(["a"]), 0) == {"mean": None, "ci95": None}


def test_intervals_cover_as_often_as_they_say() -> None:
    """Of 200 samples of 60 draws from a normal of mean 1, 90 to 99 % of the intervals hold the 1."""
    rng, held = np.random.default_rng(0), 0
    for seed in range(200):
        low, high = bins.mean(rng.normal(1, 2, 60), np.arange(60), seed)["ci95"]
        held += low <= 1 <= high
    assert 180 <= held <= 198


def test_a_paired_difference_is_over_what_both_have() -> None:
    """Of four prompts the student lacks one and the reference another; the interval is the difference's, not the sum's.

    Both vary by hundreds, their difference not at all.
    """
    ours, theirs = np.array([101.0, 201, np.nan, 401]), np.array([100.0, 200, 300, np.nan])
    told = bins.paired(ours, theirs, np.arange(4), 0)
    assert told == {"n": 2, "student": 151.0, "reference": 150.0, "difference": 1.0, "ci95": [1.0, 1.0]}


def test_the_relation_is_spearmans() -> None:
    """Against scipy, ties included; a rising curve is 1; nothing is said of a constant."""
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 5, 80).astype(float), rng.normal(size=80)
    told = bins.relation(x, y, np.arange(80), 0)
    assert told["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert told["ci95"][0] < told["spearman"] < told["ci95"][1] and told["pairs"] == 80
    rising = bins.relation(np.arange(9.0), np.exp(np.arange(9.0)), np.arange(9), 0)
    assert rising["spearman"] == pytest.approx(1)
    assert bins.relation(np.zeros(9), np.arange(9.0), np.arange(9), 0)["spearman"] is None


def test_wins_count_ties_half() -> None:
    assert bins.wins(np.array([2.0, -1.0, 0.0])).tolist() == [1.0, 0.0, 0.5]
    assert np.isnan(bins.wins(np.array([np.nan]))).all()
