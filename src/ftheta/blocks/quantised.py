"""Frozen linear maps and tables whose weights are kept in 8 or 4 bits and made real numbers again whenever they are used.

8 bits: every row by itself, w ≈ q · max|w| / 127 with whole q (Dettmers et al. 2022, arXiv:2208.07339). 4 bits: blocks of 64 values one after
another, w ≈ c_q · max|w| with the 16 values c of NF4, the quantiles of a normal distribution; two to a byte, the first in the upper half; with
`double`, the blocks' maxima are kept in 8 bits too, less their mean, 256 together (QLoRA; Dettmers et al. 2023, arXiv:2305.14314).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from ftheta.blocks.linear import Linear
from ftheta.core.config import Config
from ftheta.core.device import tiles

NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)
"""The values that 4 bits stand for, as published (arXiv:2305.14314, appendix E)."""
FINE, COARSE = 127 * 254, 254
"""Steps from 0 to the largest value of a row, when rows are made whole numbers; and how many of them are one of the coarse part."""
NEAR = 8 << 20
"""Codes that a second row finds near the processor after the first."""
WITH = "whole_rows"
"""What the whole numbers of a tensor's rows are called where they are kept with it."""
TOGETHER = 256
"""Maxima of blocks kept with one maximum of their own."""


class Quantisation(Config):
    """How the weights of frozen linear maps are kept."""

    bits: Literal[8, 4] = 4
    """Bits of a weight: 8, row by row, or 4 (NF4), block by block."""
    block: int | None = Field(default=None, gt=1, multiple_of=2)
    """Values that share a maximum (4 bits); none: 64."""
    double: bool = False
    """Whether the blocks' maxima are kept in 8 bits too (4 bits)."""

    @model_validator(mode="after")
    def belongs(self) -> Quantisation:
        if self.bits == 8 and (self.block is not None or self.double):
            raise ValueError("block and double are for bits: 4; with 8 bits every row has its maximum: leave them out")
        return self


class QuantisedLinear(nn.Module):
    """y = x Wᵀ + b (..., inputs) → (..., outputs), W kept in few bits; nothing of it can be learned."""

    def __init__(self, plain: Linear, how: Quantisation):
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.how, self.block = how, how.block or 64
        weight = plain.weight.detach()
        parts = rows_in_8_bits(weight) if how.bits == 8 else blocks_in_4_bits(weight, self.block)
        if how.double:
            mean = parts[1].mean()
            kept, maxima = rows_in_8_bits(in_rows(parts[1] - mean, TOGETHER))
            parts = (parts[0], kept.flatten()[: len(parts[1])], maxima, mean)
        for name, part in zip(("codes", "scale", "scale_of_scale", "mean"), parts, strict=False):
            self.register_buffer(name, part)
        self.bias = None if plain.bias is None else nn.Parameter(plain.bias.detach(), requires_grad=False)

    def parts(self) -> tuple[Tensor, ...]:
        """What is kept: codes and scales."""
        return tuple(part for part in self._buffers.values() if part is not None)

    @property
    def weight(self) -> Tensor:
        """W (outputs, inputs), made anew."""
        return dequantised((self.out_features, self.in_features), self.block, *self.parts())

    def forward(self, x: Tensor) -> Tensor:
        if self.how.bits == 8 and in_whole_numbers(x):
            y = whole_products(x, *self.parts())
            return (y if self.bias is None else y + self.bias).to(x.dtype)
        y = FrozenProduct.apply(x, (self.out_features, self.in_features), self.block, *self.parts())
        assert isinstance(y, Tensor)
        return y if self.bias is None else y + self.bias.to(x.dtype)

    def plain(self) -> Linear:
        """The ordinary linear map that computes the same."""
        made = Linear(self.in_features, self.out_features, bias=self.bias is not None, device=self.weight.device, dtype=self.weight.dtype)
        made.weight.data.copy_(self.weight)
        if self.bias is not None:
            made.bias.data.copy_(self.bias)
        return made


class QuantisedTable(nn.Module):
    """A table of vectors (V, D), each in 8 bits: some of them by their numbers, as embeddings are looked up, or the products with all of them."""

    codes: Tensor
    scale: Tensor

    def __init__(self, table: Tensor):
        super().__init__()
        codes, scale = rows_in_8_bits(table.detach())
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale)

    @property
    def weight(self) -> Tensor:
        """The whole table (V, D), made anew."""
        return self.codes.to(self.scale.dtype) * self.scale

    def forward(self, numbers: Tensor) -> Tensor:
        """(...) → (..., D)"""
        return self.codes[numbers].to(self.scale.dtype) * self.scale[numbers]

    def product(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., V)"""
        if in_whole_numbers(x):
            return whole_products(x, self.codes, self.scale)
        y = FrozenProduct.apply(x, self.codes.shape, 1, self.codes, self.scale)
        assert isinstance(y, Tensor)
        return y


def in_whole_numbers(x: Tensor) -> bool:
    """Whether products with codes of 8 bits are taken in whole numbers: on a CPU, for use in bfloat16. (torch's are wrong where there is one input.)"""
    return x.dtype == torch.bfloat16 and not torch.is_grad_enabled() and x.device.type == "cpu" and x.shape[-1] > 1


def whole_products(x: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
    """x (..., inputs) → (..., outputs) float32, with codes (outputs, inputs) and scales (outputs, 1).

    Products of the whole numbers that rows are made are sums of whole numbers, which are exact. So a row gives the same alone and among any others, and no
    weight is rounded. Two products in 8 bits take about the time of one in bfloat16, and for some rows less: half as many bytes are read.
    """
    parts, step = whole_rows(x)
    if tiles():                                                                           # the longer side first takes two thirds of the time
        pairs = torch._int_mm(codes, parts.flatten(0, 1).t())
        high, low = pairs.tensor_split(2, dim=1)
        return low.float().add_(high, alpha=COARSE).mul_(step[:, 0]).mul_(scale).t().reshape(*x.shape[:-1], len(codes))
    if parts.shape[1] == 1 and codes.numel() <= NEAR:
        high, low = (torch._int_mm(part, codes.t()) for part in parts)
    else:
        high, low = torch._int_mm(parts.flatten(0, 1), codes.t()).view(2, -1, len(codes))
    y = low.float().add_(high, alpha=COARSE).mul_(step).mul_(scale[:, 0])
    return y.view(*x.shape[:-1], len(codes))


def whole_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of x (..., inputs) as whole numbers (2, rows, inputs) of 8 bits, and the size of their steps (rows, 1).

    A row is x ≈ (254 c + f) · max|x| / (127 · 254) with whole c and f, nearer to x than bfloat16 is to most numbers. They stay with x, as long as nothing is
    written into it: queries, keys and values, or a gate and what it lets through, are maps of the same rows.
    """
    if torch.compiler.is_compiling() or x.is_inference():                                 # they count no versions
        return made_whole(x)
    version, kept = getattr(x, WITH, (None, None))
    if kept is None or version != x._version:
        kept = made_whole(x)
        setattr(x, WITH, (x._version, kept))
    return kept


def made_whole(x: Tensor) -> tuple[Tensor, Tensor]:
    """The whole numbers of `whole_rows`, made anew."""
    rows = x.reshape(-1, x.shape[-1]).float()
    most = rows.abs().amax(1, keepdim=True).clamp_min_(torch.finfo(torch.float32).tiny)
    parts = torch.empty(2, *rows.shape, dtype=torch.int8)
    fine = rows.mul_(FINE / most).round_()
    coarse = (fine / COARSE).round_()
    parts[0] = coarse
    parts[1] = fine.sub_(coarse, alpha=COARSE)
    return parts, most / FINE


class FrozenProduct(torch.autograd.Function):
    """x Wᵀ; W is made once in the forward pass and again in the backward pass, so that no real weights are kept between them."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, shape: tuple[int, int], block: int, *parts: Tensor) -> Tensor:
        ctx.save_for_backward(*parts)
        ctx.shape, ctx.block = shape, block                                               # type: ignore[attr-defined]
        return F.linear(x, dequantised(shape, block, *parts).to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        parts = ctx.saved_tensors                                                         # type: ignore[attr-defined]
        weight = dequantised(ctx.shape, ctx.block, *parts)                                # type: ignore[attr-defined]
        return grad @ weight.to(grad.dtype), None, None, *[None] * len(parts)


def rows_in_8_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers (rows, columns) from -127 to 127, and what each row's are multiplied by (rows, 1)."""
    scale = weight.abs().amax(1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny) / 127
    return (weight / scale).round().clamp(-127, 127).to(torch.int8), scale


def blocks_in_4_bits(weight: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Pairs of codes (blocks · block / 2,) and each block's maximum (blocks,); what is left of the last block is 0."""
    values = in_rows(weight, block)
    scale = values.abs().amax(1)
    table = torch.tensor(NF4, dtype=weight.dtype, device=weight.device)
    between = (table[1:] + table[:-1]) / 2
    codes = torch.bucketize(values / scale.clamp_min(torch.finfo(weight.dtype).tiny)[:, None], between).to(torch.uint8).flatten()
    return codes[::2] << 4 | codes[1::2], scale


def in_rows(values: Tensor, width: int) -> Tensor:
    """All values one after another in rows of this width (n, width), the last filled up with 0."""
    flat = values.flatten()
    return F.pad(flat, (0, -len(flat) % width)).view(-1, width)


def dequantised(
    shape: tuple[int, int], block: int, codes: Tensor, scale: Tensor, scale_of_scale: Tensor | None = None, mean: Tensor | None = None,
) -> Tensor:
    """W (outputs, inputs) from what is kept of it."""
    if codes.dtype == torch.int8:
        return codes.to(scale.dtype) * scale
    if scale_of_scale is not None and mean is not None:
        scale = (in_rows(scale, TOGETHER).to(mean.dtype) * scale_of_scale).flatten() + mean
    table = torch.tensor(NF4, dtype=scale.dtype, device=scale.device)
    values = table[torch.stack([codes >> 4, codes & 15], dim=-1).int()].view(-1, block)
    return (values * scale[: len(values), None]).flatten()[: shape[0] * shape[1]].view(shape)
