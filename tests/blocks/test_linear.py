"""One row by itself, as a text that is written is read token by token."""

import pytest
import torch
from torch.nn import functional as F

from ftheta.blocks import linear
from ftheta.blocks.linear import affine


@pytest.mark.parametrize("tiles", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_row_alone_is_the_row_among_others(monkeypatch, tiles, bias):
    monkeypatch.setattr(linear, "tiles", lambda: tiles)
    draws = torch.Generator().manual_seed(0)
    rows, weight, offset = (torch.randn(shape, generator=draws).bfloat16() for shape in ((5, 96), (130, 96), (130,)))
    given = offset if bias else None
    exact = F.linear(rows.double(), weight.double(), offset.double() if bias else None)
    with torch.no_grad():
        found = torch.stack([affine(row[None, None], weight.float(), given)[0, 0] for row in rows])
    assert found.shape == exact.shape and float((found.double() - exact).abs().max()) <= 2**-8 * float(exact.abs().max())
    learned = rows[:1].clone().requires_grad_()
    affine(learned, weight, given).sum().backward()
    assert learned.grad is not None
