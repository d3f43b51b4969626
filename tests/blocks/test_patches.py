"""Positions of patches and attention within windows equal their formulas, written out patch by patch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ftheta.blocks import PATCH_MIXERS, PATCH_POSITIONS
from ftheta.blocks.context import Context
from ftheta.blocks.patch_attention import windows
from ftheta.blocks.position import rotate
from ftheta.core.config import Part, Slot

GRID = (3, 4)


def positions(kind: str, dim: int = 8, first: int = 2, **arguments: Any) -> Any:
    part = Slot(PATCH_POSITIONS).parse({"kind": kind, **arguments})
    assert isinstance(part, Part)
    return part.build(dim=dim, grid=GRID, first=first, head_dim=8)


def context(grid: tuple[int, int] = GRID, first: int = 2) -> Context:
    return Context(torch.arange(first + grid[0] * grid[1])[None], grid=grid)


def test_sines_of_column_and_row() -> None:
    hidden = torch.zeros(1, 14, 8, dtype=torch.float64)
    found = positions("sincos", base=50.0)(hidden, context())[0]
    assert not found[:2].any()
    for row in range(3):
        for column in range(4):
            speeds = [1.0, 50.0**-0.5]
            expected = [f(place * s) for place in (column, row) for f in (math.sin, math.cos) for s in speeds]
            torch.testing.assert_close(found[2 + row * 4 + column], torch.tensor(expected, dtype=torch.float64))


def test_rotary_scores_depend_on_how_far_rows_and_columns_are_apart() -> None:
    told = context((5, 6), 1)
    hidden = torch.zeros(1, 31, 8, dtype=torch.float64)
    assert torch.equal(positions("rotary", first=1)(hidden, told), hidden)
    draws = torch.Generator().manual_seed(0)
    q, k = (torch.randn(8, generator=draws, dtype=torch.float64).expand(1, 1, 31, 8) for _ in range(2))
    assert told.rotary is not None
    turned = [rotate(x, told.rotary)[0, 0] for x in (q, k)]
    torch.testing.assert_close(turned[0][0], q[0, 0, 0])                                  # no patch: not turned
    scores = (turned[0] @ turned[1].T)[1:, 1:].view(5, 6, 5, 6)
    by_distance: dict[tuple[int, int], float] = {}
    for r in range(5):
        for c in range(6):
            for rr in range(5):
                for cc in range(6):
                    score = float(scores[r, c, rr, cc])
                    assert by_distance.setdefault((rr - r, cc - c), score) == pytest.approx(score, abs=1e-9)
    assert len({round(score, 6) for score in by_distance.values()}) == len(by_distance) == 9 * 11


def test_learned_positions_are_a_table_that_is_resized_for_other_grids() -> None:
    made = positions("learned")
    torch.nn.init.normal_(made.weight)
    hidden = torch.zeros(2, 14, 8)
    assert torch.equal(made(hidden, context())[0], made.weight[0])
    found = made(torch.zeros(1, 2 + 30, 8), context((5, 6)))[0]
    table = made.weight[0, 2:].T.reshape(1, 8, 3, 4)
    expected = F.interpolate(table, size=(5, 6), mode="bicubic", align_corners=False)[0].reshape(8, 30).T
    torch.testing.assert_close(found, torch.cat([made.weight[0, :2], expected]))
    made.weight.data[:, 2:] = 3.0
    torch.testing.assert_close(made(torch.zeros(1, 9, 8), context((7, 1)))[0, 2:], torch.full((7, 8), 3.0))


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("grid, size, shift", [((4, 4), 2, 0), ((3, 5), 2, 0), ((5, 4), 3, 1), ((2, 2), 7, 3), ((6, 6), 3, 2)])
@pytest.mark.parametrize("more", [{}, {"kv_heads": 1, "qk_norm": "rmsnorm", "bias": True}])
def test_windowed_attention_is_attention_with_other_windows_hidden(first: int, grid: tuple[int, int], size: int, shift: int, more: dict[str, Any]) -> None:
    part, plain = (Slot(PATCH_MIXERS).parse({"kind": kind, "heads": 2, **extra, **more}) for kind, extra in (("windowed", {"size": size, "shift": shift}), ("attention", {})))
    assert isinstance(part, Part) and isinstance(plain, Part)
    made, whole = part.build(dim=8).double(), plain.build(dim=8).double()
    draws, told = torch.Generator().manual_seed(0), context(grid, first)
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draws, dtype=torch.float64)
    whole.load_state_dict(made.state_dict())
    rows, columns = grid
    x = torch.randn(3, first + rows * columns, 8, generator=draws, dtype=torch.float64)
    window = [((r + shift) // size, (c + shift) // size) for r in range(rows) for c in range(columns)]
    seen = torch.ones(len(x[0]), len(x[0]), dtype=torch.bool)
    for i, a in enumerate(window):
        for j, b in enumerate(window):
            seen[first + i, first + j] = a == b
    told.biases[(False, None)] = torch.zeros(seen.shape, dtype=torch.float64).masked_fill(~seen, -math.inf)
    torch.testing.assert_close(made(x, context(grid, first)), whole(x, told))


def test_windows_hold_every_patch_once() -> None:
    for grid, size, shift in (((7, 9), 4, 0), ((7, 9), 4, 3), ((1, 1), 5, 4)):
        index = windows(grid, size, shift)
        assert index.shape[1] == size**2 and sorted(index[index >= 0].tolist()) == list(range(grid[0] * grid[1]))
        assert bool((index >= 0).any(1).all())
