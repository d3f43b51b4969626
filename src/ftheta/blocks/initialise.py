"""Initial values as a pure function of (seed, parameter name): neither device nor order of construction changes them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ftheta.core.random import generator


def fill(parameter: Tensor, values: Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(values.to(parameter.device, parameter.dtype))


def normal(parameter: Tensor, std: float, *place: int | str) -> None:
    """N(0, std²)."""
    fill(parameter, torch.randn(parameter.shape, generator=generator(*place)) * std)


def uniform(parameter: Tensor, bound: float, *place: int | str) -> None:
    """U(-bound, bound)."""
    fill(parameter, (torch.rand(parameter.shape, generator=generator(*place)) * 2 - 1) * bound)


def orthogonal(parameter: Tensor, gain: float, *place: int | str) -> None:
    """gain times a random (semi-)orthogonal matrix (Saxe et al. 2013, arXiv:1312.6120)."""
    value = torch.empty(parameter.shape)
    nn.init.orthogonal_(value, gain, generator=generator(*place))
    fill(parameter, value)


def kaiming(parameter: Tensor, *place: int | str, groups: int = 1) -> None:
    """N(0, 2 / fan_out), for convolutions before a ReLU (He et al. 2015, arXiv:1502.01852), fan_out being counted within a group."""
    fan_out = parameter.shape[0] // groups * math.prod(parameter.shape[2:])
    normal(parameter, math.sqrt(2.0 / fan_out), *place)


def glorot(parameter: Tensor, *place: int | str) -> None:
    """U(±sqrt(6 / (fan_in + fan_out))) (Glorot & Bengio 2010)."""
    uniform(parameter, math.sqrt(6.0 / (parameter.shape[0] + parameter.shape[1])), *place)
