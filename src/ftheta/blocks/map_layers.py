"""Layers of convolutional networks, chosen in recipes: a plain convolution, the inverted residual of MobileNet v2 (Sandler et al. 2018,
arXiv:1801.04381) with its squeeze-and-excitation (Hu et al. 2017, arXiv:1709.01507), and ConvNeXt's (Liu et al. 2022, arXiv:2201.03545).

A layer is built for (inputs, outputs) channels, a stride, the network's norm and activation, and how often it is skipped in training.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.blocks import CHANNEL_GATES
from ftheta.blocks.activation import ActivationName, activate
from ftheta.blocks.convolution import ConvNorm, PaddedConv2d, PaddingName
from ftheta.blocks.feedforward import MLP
from ftheta.blocks.linear import Conv2d
from ftheta.blocks.residual import LayerScale, Residual
from ftheta.core.config import Part, Slot

Kernel = Annotated[int, Field(gt=0, description="Height and width of the (depthwise) convolution, in pixels.")]
Padding = Annotated[PaddingName, Field(description="What is put around maps: half the kernel, or as `same` and `end` of TensorFlow's networks have it.")]


def rounded(width: float, multiple: int) -> int:
    """The nearest multiple, at least one, and not below nine tenths of the width: how MobileNets and EfficientNets count channels."""
    found = max(multiple, int(width + multiple / 2) // multiple * multiple)
    return found + multiple if found < 0.9 * width else found


def odd(kernel: int) -> None:
    """Raise ValueError for a kernel that cannot keep the size of maps."""
    if kernel % 2 == 0:
        raise ValueError(f"kernel {kernel} has no middle pixel, so maps would change their size: choose {kernel - 1} or {kernel + 1}")


class Convolution(ConvNorm):
    """activation(norm(W ∗ x)), nothing added."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm: Part, activation: ActivationName, skipped: float, *, kernel: Kernel = 3,
        padding: Annotated[Padding | Annotated[int, Field(ge=0)], Field(description="As elsewhere, or so many pixels.")] = "half",
        bias: Annotated[bool, Field(description="Whether there is a bias beside a norm's (VGG); without norm there is one anyway.")] = False,
    ):
        super().__init__(inputs, outputs, kernel=kernel, stride=stride, padding=padding, norm=norm, activation=activation, bias=bias)


class Inverted(Residual):
    """x + project(gate(depthwise(expand(x)))), wide in the middle; nothing is added where the shape changes, and a middle as wide as x is not expanded to."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm: Part, activation: ActivationName, skipped: float, *, kernel: Kernel = 3,
        expand: Annotated[float, Field(gt=0, description="How many times as many channels there are in the middle as the layer is given.")] = 6.0,
        padding: Padding = "half",
        gate: Annotated[Annotated[Part, Slot(CHANNEL_GATES)] | None, Field(description="What weighs the channels of the middle by what is in the picture.")] = None,
    ):
        odd(kernel)
        middle = round(inputs * expand)
        parts: dict[str, nn.Module] = {}
        if middle != inputs:
            parts["expand"] = ConvNorm(inputs, middle, kernel=1, norm=norm, activation=activation)
        parts["depthwise"] = ConvNorm(middle, middle, kernel=kernel, stride=stride, padding=padding, groups=middle, norm=norm, activation=activation)
        if gate is not None:
            parts["gate"] = gate.build(dim=middle, inputs=inputs, activation=activation)
        parts["project"] = ConvNorm(middle, outputs, kernel=1, norm=norm, activation=None)
        adds = stride == 1 and inputs == outputs
        super().__init__(nn.Sequential(OrderedDict(parts)), adds=adds, skipped=skipped if adds else 0.0)


class SqueezeExcite(nn.Module):
    """y = x · gate(E f(R mean(x))), the mean over height and width: (B, dim, H, W) → (B, dim, H, W)."""

    def __init__(
        self, dim: int, inputs: int, activation: ActivationName, *,
        of: Annotated[Literal["inputs", "middle"], Field(description="Whose share of channels is kept in between: what the layer is given, or its middle.")] = "inputs",
        share: Annotated[float, Field(gt=0, description="That share.")] = 0.25,
        multiple: Annotated[int, Field(gt=0, description="The channels in between are a multiple of this number.")] = 1,
        between: Annotated[ActivationName | None, Field(description="What is applied in between; none: what the layer applies elsewhere.")] = None,
        gate: Annotated[Literal["sigmoid", "hard_sigmoid"], Field(description="What makes a number from 0 to 1; the hard one is relu6(x + 3) / 6.")] = "sigmoid",
    ):
        super().__init__()
        width = rounded((inputs if of == "inputs" else dim) * share, multiple)
        self.activation: ActivationName = between or activation
        self.gate = gate
        self.reduce = Conv2d(dim, width, 1)
        self.expand = Conv2d(width, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(activate(self.activation, self.reduce(x.mean((2, 3), keepdim=True))))
        return x * (F.hardsigmoid(y) if self.gate == "hard_sigmoid" else y.sigmoid())


class ConvNeXt(Residual):
    """x + w · mlp(norm(depthwise(x))), the two layers of the mlp at every pixel; layer scale w, if any, starts at `scale`."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm: Part, activation: ActivationName, skipped: float, *, kernel: Kernel = 7,
        expand: Annotated[int, Field(gt=0, description="How many times as many channels there are between the layers of the mlp.")] = 4,
        scale: Annotated[float | None, Field(gt=0, description="What every channel is multiplied by before it is added, at first; none: nothing.")] = 1e-6,
    ):
        if (inputs, stride) != (outputs, 1):
            raise ValueError(f"convnext layers keep {inputs} channels and the size of maps: reduce by patches, which may change both")
        odd(kernel)
        super().__init__(ConvNeXtInner(inputs, norm, activation, kernel, expand, scale), skipped=skipped)


class ConvNeXtInner(nn.Module):
    """What a ConvNeXt layer adds; (B, C, H, W), the mlp seeing (B, H, W, C)."""

    def __init__(self, dim: int, norm: Part, activation: ActivationName, kernel: int, expand: int, scale: float | None):
        super().__init__()
        self.depthwise = PaddedConv2d(dim, dim, kernel, groups=dim, bias=True)
        self.norm = norm.build(dim=dim)
        self.feed = MLP(dim, hidden=expand * dim, activation=activation, bias=True)
        self.scale = None if scale is None else LayerScale(dim, scale)

    def forward(self, x: Tensor) -> Tensor:
        y = self.feed(self.norm(self.depthwise(x)).permute(0, 2, 3, 1))
        return (y if self.scale is None else self.scale(y)).permute(0, 3, 1, 2)
