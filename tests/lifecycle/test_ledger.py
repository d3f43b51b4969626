"""FLOPs counted, against what the definition of an operation says."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ftheta.lifecycle.ledger import UNKNOWN_TO_TORCH


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_a_convolution_goes_back_as_it_came_for_inputs_and_for_weights(groups: int, transposed: bool, first: bool) -> None:
    part = (nn.ConvTranspose2d if transposed else nn.Conv2d)(8, 16, 3, stride=2, padding=1, groups=groups)
    x = torch.rand(5, 8, 9, 11, requires_grad=not first)
    with FlopCounterMode(display=False, custom_mapping=UNKNOWN_TO_TORCH) as counter:
        y = part(x)
        y.sum().backward()
    places = x.shape[2] * x.shape[3] if transposed else y.shape[2] * y.shape[3]
    once = 2 * 5 * places * 8 * 16 * 9 // groups
    assert counter.get_total_flops() == once * (2 if first else 3)
