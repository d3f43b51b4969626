"""Sketches estimate Jaccard similarity without bias, and bands are shared as often as the S-curve says."""

from __future__ import annotations

import numpy as np
import pytest
from datasketch.lsh import _optimal_param

from ftheta.data.dedup import minhash
from ftheta.data.dedup.minhash import alike, banded, banding, candidate, least, orders, sketches


def planted(pairs: int, union: int, similarity: float, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """`pairs` pairs of sets of random 32-bit numbers with |A ∪ B| = union and exactly this similarity, flat: A_1, B_1, A_2, ...; and their sizes."""
    shared = round(similarity * union)
    own = (union - shared) // 2
    draws = np.random.default_rng(seed).integers(1 << 32, size=(pairs, shared + 2 * own), dtype=np.uint32)
    a, b = draws[:, : shared + own], np.concatenate([draws[:, :shared], draws[:, shared + own :]], axis=1)
    return np.stack([a, b], axis=1).reshape(-1), np.full(2 * pairs, shared + own), shared / (shared + 2 * own)


def test_the_least_numbers_are_those_of_the_definition(monkeypatch) -> None:
    draws = np.random.default_rng(0)
    counts = draws.integers(0, 9, size=50)
    things = draws.integers(1 << 32, size=counts.sum(), dtype=np.uint32)
    factors = orders(7)
    assert (factors % 2 == 1).all()
    expected, at = np.full((7, 50), (1 << 32) - 1), 0
    for number, count in enumerate(counts.tolist()):
        for order in range(7):
            ordered = [int(factors[order]) * int(x) % (1 << 32) for x in things[at : at + count]]
            expected[order, number] = min(ordered, default=(1 << 32) - 1)
        at += count
    for block in (1, 20, 1 << 16):
        monkeypatch.setattr(minhash, "BLOCK", block)
        assert np.array_equal(least(things, counts, 7), expected)


@pytest.mark.parametrize("similarity", [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.97])
@pytest.mark.parametrize("union", [40, 400])
def test_estimates_are_unbiased_and_spread_as_binomial_ones(similarity: float, union: int) -> None:
    pairs, count = 1500, 128
    things, counts, exact = planted(pairs, union, similarity, union)
    sketch = least(things, counts, count)
    full, byte = (sketch[:, ::2] == sketch[:, 1::2]).mean(axis=0), alike(*(side.T.astype(np.uint8) for side in (sketch[:, ::2], sketch[:, 1::2])))
    spread = (exact * (1 - exact) / count) ** 0.5
    for estimate in (full, byte):
        assert abs(estimate.mean() - exact) < 5 * spread / pairs**0.5 + 0.002
        assert estimate.std() == pytest.approx(spread, rel=0.15, abs=0.004)


@pytest.mark.parametrize(("bands", "rows"), [(14, 8), (21, 6), (26, 3), (9, 13)])
def test_candidates_follow_the_s_curve_within_two_percent(bands: int, rows: int) -> None:
    """Of 4,000 pairs each: the standard error of a share is at most 0.8 %, at the steepest place."""
    for similarity in (0.3, 0.45, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        things, counts, exact = planted(4000, 200, similarity, int(100 * similarity))
        keys = banded(least(things, counts, bands * rows), bands, rows)
        share = (keys[:, ::2] == keys[:, 1::2]).any(axis=0).mean()
        expected = candidate(exact, bands, rows)
        assert abs(share - expected) < 0.02 + 1e-9, (similarity, share, expected)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("balance", [0.1, 0.5, 0.8])
def test_bands_and_rows_cost_no_more_than_datasketchs(threshold: float, balance: float) -> None:
    """The same sum is minimised there; where its integrals' coarser steps end elsewhere, ours must cost no more by exact integrals."""
    def cost(bands: int, rows: int) -> float:
        s = (np.arange(200_000) + 0.5) / 200_000
        found = candidate(s, bands, rows)
        return balance * np.where(s < threshold, found, 0).mean() + (1 - balance) * np.where(s >= threshold, 1 - np.asarray(found), 0).mean()

    ours, theirs = banding(threshold, 128, balance), _optimal_param(threshold, 128, balance, 1 - balance)
    assert ours[0] * ours[1] <= 128
    assert cost(*ours) <= cost(*theirs) * 1.0001 and cost(*ours) == pytest.approx(cost(*theirs), rel=0.01)


def test_texts_without_a_word_have_no_runs_and_short_ones_one() -> None:
    [(_, sketch, sizes)] = sketches(["", "...", "one two", "One, two!", "one two three four five six", "中文"], 16, 5)
    assert sizes.tolist() == [0, 0, 1, 1, 2, 1]
    assert (sketch[:, 2] == sketch[:, 3]).all() and not (sketch[:, 2] == sketch[:, 5]).any()
