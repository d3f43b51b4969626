"""A transformer's layer on maps, as SegFormer has it (Xie et al. 2021, arXiv:2105.15203): attention whose keys and values stand for squares of pixels (Wang et
al. 2021, arXiv:2102.12122), and an MLP with a depthwise convolution inside, through which pixels know where they lie; no other positions are needed.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ftheta.blocks.activation import ActivationName, activate
from ftheta.blocks.attend import attend
from ftheta.blocks.attention import Heads, MultiHead
from ftheta.blocks.context import Context
from ftheta.blocks.convolution import PaddedConv2d
from ftheta.blocks.linear import Conv2d, Linear
from ftheta.blocks.residual import Residual
from ftheta.core.config import Part
from ftheta.core.errors import DataError


class MapAttention(MultiHead):
    """(B, dim, H, W) → (B, dim, H, W): every pixel gathers from squares of `shrink` by `shrink` pixels, each brought to one by a convolution and a norm."""

    def __init__(self, dim: int, heads: int, shrink: int, norm: Part):
        super().__init__(dim, heads, None, None, None, True, None, None)
        self.shrink = shrink
        self.reduce = None if shrink == 1 else Conv2d(dim, dim, shrink, shrink)
        self.norm = None if shrink == 1 else norm.build(dim=dim)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        seen = x
        if self.reduce is not None and self.norm is not None:
            if min(x.shape[2:]) < self.shrink:
                height, width = x.shape[2:]
                raise DataError(f"a map of {height}×{width} pixels is too small for attention to squares of {self.shrink}×{self.shrink}: use larger pictures")
            seen = self.norm(self.reduce(x))
        k, v = self.keys(tokens(seen))
        return self.merged(attend(self.queries(tokens(x)), k, v, None)).transpose(1, 2).unflatten(2, x.shape[2:])


class MixMLP(nn.Module):
    """(B, dim, H, W) → (B, dim, H, W): down(activation(depthwise(up(x)))), up and down at every pixel."""

    def __init__(self, dim: int, hidden: int, activation: ActivationName):
        super().__init__()
        self.activation: ActivationName = activation
        self.up = Linear(dim, hidden)
        self.depthwise = PaddedConv2d(hidden, hidden, 3, groups=hidden, bias=True)
        self.down = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.up(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return self.down(activate(self.activation, y).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MixTransformer(nn.Sequential):
    """x + attention(norm(x)), and then y + mlp(norm(y)), on maps."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm: Part, activation: ActivationName, skipped: float, *, heads: Heads = 1,
        shrink: Annotated[int, Field(gt=0, description="Pixels across and down that a key and its value stand for.")] = 1,
        expand: Annotated[float, Field(gt=0, description="How many times as many channels there are between the layers of the mlp.")] = 4.0,
    ):
        if (inputs, stride) != (outputs, 1):
            raise ValueError(f"mix_transformer layers keep {inputs} channels and the size of maps: reduce by patches, which may change both")
        mix = Residual(MapAttention(inputs, heads, shrink, norm), before=norm.build(dim=inputs), skipped=skipped)
        feed = Residual(MixMLP(inputs, int(inputs * expand), activation), before=norm.build(dim=inputs), skipped=skipped)
        super().__init__(OrderedDict(mix=mix, feed=feed))


def tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, H · W, C)."""
    return x.flatten(2).transpose(1, 2)
