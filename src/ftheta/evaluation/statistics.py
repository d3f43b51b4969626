"""Intervals: exact for proportions, bootstrap for means and ratios, and paired comparisons of two runs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000


class Interval(NamedTuple):
    """An estimate with its 95 % interval and how it was found."""

    value: float
    low: float
    high: float
    method: str


def proportion(successes: int, n: int) -> Interval:
    """Successes out of n, exact interval (Clopper & Pearson 1934), by bisection on the binomial tail."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} successes of {n}")

    def tail(p: float, at_least: int) -> float:
        """P(X ≥ at_least), X ~ Binomial(n, p)."""
        if at_least <= 0:
            return 1.0
        logs = [
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p) for k in range(at_least, n + 1)
        ]
        return math.fsum(math.exp(value) for value in logs)

    def solve(at_least: int, wanted: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if tail(middle, at_least) < wanted else (low, middle)
        return (low + high) / 2

    low = 0.0 if successes == 0 else solve(successes, 0.025)
    high = 1.0 if successes == n else solve(successes + 1, 0.975)
    return Interval(successes / n, low, high, "exact binomial")


def mean(values: np.ndarray, seed: int) -> Interval:
    """The mean of independent units, bootstrap-t interval (Efron 1981): right for skewed units and few of them."""
    return ratio(values, np.ones(len(values)), seed)


def ratio(numerators: np.ndarray, denominators: np.ndarray, seed: int) -> Interval:
    """Σ numerators / Σ denominators over independent units, bootstrap-t interval with the delta method's standard error."""
    x, y = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    n, value = len(x), float(x.sum() / y.sum())
    if n < 2:
        return Interval(value, math.nan, math.nan, "none: a single unit")
    error = standard_error(x[None], y[None])[0]
    if error == 0:
        return Interval(value, value, value, "all units are equal")
    draws = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    a, b = x[draws], y[draws]
    errors = standard_error(a, b)
    usable = errors > 1e-3 * error
    t = (a.sum(1) / b.sum(1) - value)[usable] / errors[usable]
    low, high = np.quantile(t, [0.025, 0.975])
    return Interval(value, float(value - high * error), float(value - low * error), f"bootstrap-t, {RESAMPLES} resamples")


def standard_error(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Delta-method standard error of Σx/Σy, for each row of (resamples, n)."""
    n = x.shape[1]
    value = x.sum(1, keepdims=True) / y.sum(1, keepdims=True)
    residual = (x - value * y) / y.mean(1, keepdims=True)
    return np.sqrt((residual**2).sum(1) / (n * (n - 1)))
