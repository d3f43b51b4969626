"""Intervals hold the truth as often as they say. The simulations are small and seeded; the module says what larger ones gave."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from ftheta.evaluation import statistics
from ftheta.evaluation.statistics import Interval, mean, paired, proportion, ratio, verdict


def coverage(draw: Callable[[np.random.Generator], Interval], truth: float, times: int) -> float:
    """How often an interval holds the truth."""
    draws = np.random.default_rng(7)
    found = [draw(draws) for _ in range(times)]
    return float(np.mean([interval.low <= truth <= interval.high for interval in found]))


def texts(draws: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes of documents as heavy-tailed as source files, and bits at a rate of their own for each; 1.5 on average."""
    sizes = np.round(draws.lognormal(8, 1.3, n)) + 1
    return sizes * draws.gamma(16, 1.5 / 16, n), sizes


@pytest.fixture(autouse=True)
def quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 999)


# proportions: coverage needs no simulation, it is a sum


def exact_coverage(n: int, shares: np.ndarray) -> np.ndarray:
    counts = np.arange(n + 1)
    ends = np.array([proportion(int(k), n)[1:3] for k in counts])
    mass = stats.binom.pmf(counts[None], n, shares[:, None])
    return (mass * ((ends[:, 0] <= shares[:, None]) & (shares[:, None] <= ends[:, 1]))).sum(1)


@pytest.mark.parametrize("n", [1, 2, 5, 10, 30, 100, 200, 360])
def test_proportions_are_covered_never_less_than_they_say(n):
    shares = np.linspace(0.001, 0.999, 333)
    found = exact_coverage(n, shares)
    assert found.min() >= 0.95
    some = np.minimum(shares, 1 - shares) * n >= 10
    if n >= 200:
        assert found[some].max() <= 0.97
        assert found[some].mean() == pytest.approx(0.953, abs=0.004)


def test_proportions_lie_inside_clopper_and_pearson():
    for n in (1, 7, 40, 1000):
        for k in {0, 1, n // 3, n - 1, n}:
            wide = stats.binomtest(k, n).proportion_ci(0.95, "exact")
            found = proportion(k, n)
            assert wide.low - 1e-9 <= found.low <= found.value <= found.high <= wide.high + 1e-9


def test_proportions_at_the_ends_and_of_many():
    assert proportion(0, 10)[:2] == (0.0, 0.0)
    assert proportion(10, 10).high == 1.0
    assert proportion(0, 10).high == pytest.approx(1 - proportion(10, 10).low)
    many = proportion(500_000, 1_000_000)
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.5 / 1000, rel=1e-3)
    for wrong in ((0, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError):
            proportion(*wrong)


# means and ratios


@pytest.mark.parametrize("n", [20, 30, 100])
def test_means_of_skewed_units_are_covered(n):
    assert 0.93 <= coverage(lambda draws: mean(draws.lognormal(0, 0.75, n), 0), math.exp(0.75**2 / 2), 500) <= 0.97


@pytest.mark.parametrize("n", [20, 100])
def test_means_of_even_units_are_covered(n):
    assert 0.93 <= coverage(lambda draws: mean(draws.normal(3, 1, n), 0), 3, 500) <= 0.97


def test_ratios_with_heavy_tailed_denominators_are_covered():
    assert 0.93 <= coverage(lambda draws: ratio(*texts(draws, 30), 0), 1.5, 500) <= 0.97


def test_many_units_are_pooled_without_changing_the_interval():
    draws = np.random.default_rng(0)
    bits, sizes = texts(draws, 3 * statistics.MOST)
    pooled = ratio(bits, sizes, 0)
    error = float(statistics.estimate(bits[None, None], sizes[None, None])[1][0])
    assert pooled.value == pytest.approx(bits.sum() / sizes.sum())
    assert pooled.high - pooled.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(0).lognormal(0, 1, 50)
    assert mean(values, 1) == mean(values, 1)
    assert mean(values, 1) != mean(values, 2)


def test_degenerate_units():
    assert mean(np.full(9, 0.1), 0)[1:3] == (pytest.approx(0.1), pytest.approx(0.1))
    single = mean(np.array([3.0]), 0)
    assert single.value == 3.0
    assert math.isnan(single.low)
    assert math.isnan(single.high)
    only_one_counts = ratio(np.array([1.0, 0, 0]), np.array([2.0, 0, 0]), 0)
    assert only_one_counts.value == 0.5
    assert math.isnan(only_one_counts.low)
    two = mean(np.array([1.0, 2.0]), 0)
    assert two.low < -4
    assert two.high > 7                                                                   # Student's t with one degree of freedom
    rare = mean(np.r_[np.zeros(99), 1.0], 0)
    assert rare.low <= 0 < rare.high


def test_students_quantiles():
    for degrees in (1, 2, 3, 4, 9, 29, 1000):
        assert statistics.student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=2e-3)


# two runs on the same units


def test_paired_differences_are_covered():
    def means(draws: np.random.Generator) -> Interval:
        base = draws.lognormal(0, 1, 30)
        return paired({"value": base + 0.3 + 0.3 * draws.standard_t(5, 30)}, {"value": base}, "lower", 0).difference

    def ratios(draws: np.random.Generator) -> Interval:
        bits, sizes = texts(draws, 30)
        return paired({"numerator": bits + sizes * draws.normal(0.05, 0.05, 30), "denominator": sizes}, {"numerator": bits, "denominator": sizes}, "lower", 0).difference

    def answers(draws: np.random.Generator) -> Interval:
        first, luck = draws.random(200) < 0.9, draws.random(200)
        return paired({"value": np.where(luck < 0.05, ~first, first)}, {"value": first}, "higher", 0).difference

    assert 0.93 <= coverage(means, 0.3, 500) <= 0.97
    assert 0.93 <= coverage(ratios, 0.05, 500) <= 0.97
    assert 0.93 <= coverage(answers, 0.05 * (0.1 - 0.9), 2000) <= 0.97


def test_pairing_finds_what_separate_intervals_cannot():
    draws = np.random.default_rng(0)
    bits, sizes = texts(draws, 100)
    a = {"numerator": 0.98 * bits, "denominator": sizes}
    b = {"numerator": bits * draws.normal(1, 0.01, 100), "denominator": sizes}
    assert ratio(*a.values(), 0).high > ratio(*b.values(), 0).low
    assert paired(a, b, "lower", 0).verdict == "A is better"
    assert paired(b, a, "lower", 0).verdict == "B is better"
    assert paired(a, b, "higher", 0).verdict == "B is better"
    assert paired(a, b, "neither", 0).verdict == "B is higher"
    assert paired(a, a, "lower", 0).verdict == "no detectable difference"


def test_few_answers_that_differ_are_not_overrated():
    """As McNemar's exact test: four of four differences on one side may be chance (p = 0.125), eight are not (p = 0.008)."""
    wrong = np.zeros(300)
    for right, words in ((4, "no detectable difference"), (8, "A is better")):
        a = wrong.copy()
        a[:right] = 1
        assert paired({"value": a}, {"value": wrong}, "higher", 0).verdict == words


def test_a_false_alarm_is_as_rare_as_said():
    draws = np.random.default_rng(3)
    alarms = 0
    for _ in range(400):
        base = draws.lognormal(0, 1, 25)
        alarms += paired({"value": base + draws.normal(0, 1, 25)}, {"value": base}, "lower", 0).verdict != "no detectable difference"
    assert alarms <= 0.07 * 400


def test_units_that_do_not_match_are_refused():
    values = np.arange(3.0)
    with pytest.raises(ValueError, match="3 units on one side and 2 on the other"):
        paired({"value": values}, {"value": values[:2]}, "lower", 0)
    with pytest.raises(ValueError, match="on one side and"):
        paired({"value": values}, {"numerator": values, "denominator": values}, "lower", 0)


def test_an_interval_that_cannot_be_known_detects_nothing():
    assert verdict(Interval(1.0, math.nan, math.nan, ""), "lower") == "no detectable difference"
    assert paired({"value": np.array([0.3])}, {"value": np.array([0.2])}, "lower", 0).verdict == "no detectable difference"
