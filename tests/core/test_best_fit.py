"""Best-fit packing: every document once, no row too full, hardly any room left over."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ftheta.core.best_fit import best_fit


def naive(lengths: list[int], room: int) -> list[list[int]]:
    """The definition: longest first, one by one into the fullest row that has room, of equally full ones into that which became so last."""
    rows: list[tuple[int, int, list[int]]] = []
    for time, index in enumerate(sorted(range(len(lengths)), key=lambda i: -min(lengths[i], room))):
        need = min(lengths[index], room)
        enough = [i for i, (left, _, _) in enumerate(rows) if left >= need]
        if enough:
            best = min(enough, key=lambda i: (rows[i][0], -rows[i][1]))
            rows[best] = (rows[best][0] - need, time, [*rows[best][2], index])
        else:
            rows.append((room - need, time, [index]))
    return [row for *_, row in rows]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 33))
def test_rows_are_those_of_the_definition(lengths: list[int], room: int) -> None:
    rows = best_fit(lengths, room)
    assert rows == naive(lengths, room)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(min(lengths[i], room) for i in row) <= room for row in rows)


def test_utilisation_on_documents_of_natural_lengths() -> None:
    lengths = np.random.default_rng(0).lognormal(5, 1, 20_000).astype(int).clip(1, 2048)
    rows = best_fit(lengths, 2048)
    assert lengths.sum() / (len(rows) * 2048) > 0.995
