"""Normalisation: layer norm (Ba et al. 2016, arXiv:1607.06450), root-mean-square norm (Zhang & Sennrich 2019, arXiv:1910.07467)
and batch norm (Ioffe & Szegedy 2015, arXiv:1502.03167).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional as F

Eps = Annotated[float, Field(gt=0, description="Keeps the division finite.")]
Weight = Annotated[bool, Field(description="Whether there is a learned scale.")]


class LayerNorm(nn.Module):
    """y = (x - mean) / sqrt(var + eps) · w + b over the last dimension; `weight: false`, `bias: false` leave w or b out."""

    def __init__(self, dim: int, *, eps: Eps = 1e-5, weight: Weight = True, bias: Annotated[bool, Field(description="Whether there is a learned shift.")] = True):
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim)) if weight else None
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (None if p is None else p.to(x.dtype) for p in (self.weight, self.bias))
        return F.layer_norm(x, (self.dim,), weight, bias, self.eps)


class MapLayerNorm(LayerNorm):
    """Layer norm over the channels of every pixel of a map (B, C, H, W)."""

    def __init__(self, dim: int, *, eps: Eps = 1e-6):
        super().__init__(dim, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class RMSNorm(nn.Module):
    """y = x / sqrt(mean(x²) + eps) · w over the last dimension, the mean in float32; `weight: false` leaves w out."""

    def __init__(self, dim: int, *, eps: Eps = 1e-6, weight: Weight = True):
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim)) if weight else None

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self.eps) if x.dtype != torch.float64 else torch.rsqrt(
            x.square().mean(-1, keepdim=True) + self.eps
        )
        y = x * scale.to(x.dtype)
        return y if self.weight is None else y * self.weight.to(x.dtype)


class NoNorm(nn.Module):
    """y = x."""

    def __init__(self, dim: int):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are those of the whole batch over all processes, so that two processes equal one.

    With m = mean(x), v = mean(x²) - m² over batch and space: y = (x - m) / sqrt(v + eps) · w + b. Running statistics use the
    unbiased variance, as torch does. With frozen weights the statistics stay too, and are used as they are.
    """

    def __init__(
        self, dim: int, *, eps: Eps = 1e-5,
        momentum: Annotated[float, Field(gt=0, le=1, description="How far running statistics go towards those of each batch.")] = 0.1,
    ):
        super().__init__(dim, eps, momentum)

    @staticmethod
    def traits(arguments: Mapping[str, Any]) -> set[str]:
        return {"batch_coupled"}

    def train(self, mode: bool = True) -> Self:
        return super().train(mode and self.weight.requires_grad)

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            narrow = self.weight.dtype == torch.float32 and input.element_size() < 4       # read and written as it is, reckoned in float32
            return super().forward(input if narrow else input.to(self.weight.dtype)).to(input.dtype)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        x = input.to(self.weight.dtype)
        count = torch.tensor([x.numel() / x.shape[1]], dtype=x.dtype, device=x.device)
        sums = all_reduce(torch.cat([x.sum((0, 2, 3)), x.square().sum((0, 2, 3)), count]))
        total = sums[-1]
        mean, square = (sums[:-1] / total).chunk(2)
        var = square - mean.square()
        with torch.no_grad():
            rate = 1 / (1 + int(self.num_batches_tracked)) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), rate)
            self.running_var.lerp_(var.detach() * total / (total - 1), rate)
            self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(var + self.eps)
        y = (x - mean[None, :, None, None]) * scale[None, :, None, None] + self.bias[None, :, None, None]
        return y.to(input.dtype)
