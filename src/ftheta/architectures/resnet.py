"""Residual convolutional network, image → class logits (He et al. 2015, arXiv:1512.03385). ResNet-18 to -152, ResNeXt (Xie et al. 2016,
arXiv:1611.05431) and the ResNet-20 to -110 of CIFAR-10 are presets of this file.

Notable: a layer is relu(skip(x) + inner(x)), `inner` two 3×3 convolutions or a 1×1, 3×3, 1×1 bottleneck whose 3×3 takes the stride
(the "v1.5" of today's weights); what the first layer of a stage adds where the shape changes is a slot. A small stem keeps
small pictures whole. Every layer starts as the identity (its last norm at zero; Goyal et al. 2017, arXiv:1706.02677).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ftheta.architectures.architecture import Outputs
from ftheta.architectures.image_trunk import ImageTrunkConfig, Level, MapTrunk
from ftheta.blocks import SHORTCUTS
from ftheta.blocks.convolution import ConvNorm
from ftheta.blocks.initialise import kaiming, normal
from ftheta.blocks.linear import Conv2d, Linear
from ftheta.core.config import Part, Slot, from_data, slot
from ftheta.core.contract import Ports


class ResNetConfig(ImageTrunkConfig):
    """Sizes of a residual network."""

    kind: Literal["resnet"] = "resnet"
    channels: int = from_data("C")
    """Channels of the image: 1 grey, 3 colour."""
    classes: int = from_data("K")
    """Number of classes."""
    block: Literal["basic", "bottleneck"] = "basic"
    """What a layer computes: two 3×3 convolutions, or 1×1, 3×3, 1×1 with a narrower middle."""
    narrower: int = Field(default=4, gt=0)
    """How many times narrower the middle of a bottleneck is than its ends (ResNeXt-50 32×4d: 2)."""
    groups: int = Field(default=1, gt=0)
    """Into how many groups of channels the 3×3 convolution of a bottleneck falls (ResNeXt: 32 or 64)."""
    depths: tuple[int, ...] = Field((2, 2, 2, 2), min_length=1)
    """Layers of each stage; a stage halves height and width (the first only when `downsample_first`)."""
    widths: tuple[int, ...] = Field((64, 128, 256, 512), min_length=1)
    """Channels each stage gives."""
    shortcut: Annotated[Part, Slot(SHORTCUTS)] = slot("projection")
    """What a layer adds to where its shape changes; elsewhere it is the layer's input."""
    stem: Literal["imagenet", "small"] = "imagenet"
    """The first convolution: 7×7 with stride 2 and a max pool (a quarter of the size left), or 3×3 that keeps small pictures whole."""
    stem_width: int = Field(default=64, gt=0)
    """Channels the stem gives."""
    downsample_first: bool = False
    """Whether the first stage halves height and width too."""

    @model_validator(mode="after")
    def consistent(self) -> Self:
        if len(self.depths) != len(self.widths):
            raise ValueError(f"depths names {len(self.depths)} stages and widths {len(self.widths)}: give both one number a stage")
        if min(self.depths + self.widths) < 1:
            raise ValueError("depths and widths must all be at least 1")
        if self.block == "bottleneck" and any(width % (self.narrower * self.groups) for width in self.widths):
            many = f"{self.narrower}" if self.groups == 1 else f"{self.narrower * self.groups} (narrower × groups)"
            raise ValueError(f"widths of bottleneck layers must be multiples of {many}, got {list(self.widths)}")
        if self.block == "basic" and (self.groups, self.narrower) != (1, 4):
            raise ValueError("groups and narrower are about bottlenecks: choose block bottleneck, or leave them out")
        with torch.device("meta"):
            for (inputs, outputs, stride), *_ in self.layers():
                self.shortcut.build(inputs=inputs, outputs=outputs, stride=stride)        # which may refuse these widths
        return self

    def ports(self) -> Ports:
        return Ports(
            takes={"image": "image B C H W"}, gives={"features": "real B D", "logits": "logits B K"},
            sizes={"C": self.channels, "K": self.classes, "D": self.widths[-1]}, traits=frozenset({"gradients", "batch_coupled"}),
        )

    def build(self) -> ResNet:
        return ResNet(self)

    def layers(self) -> list[list[tuple[int, int, int]]]:
        """(inputs, outputs, stride) of every layer of every stage."""
        stages, inputs = [], self.stem_width
        for number, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            stride = 2 if number or self.downsample_first else 1
            stages.append([(inputs, width, stride), *[(width, width, 1)] * (depth - 1)])
            inputs = width
        return stages

    def steps(self) -> list[Level]:
        """The stem's, before it pools, and every stage's."""
        found = [Level(2 if self.stem == "imagenet" else 1, self.stem_width)]
        stride = 4 if self.stem == "imagenet" else 1
        for (_, width, factor), *_ in self.layers():
            stride *= factor
            found.append(Level(stride, width))
        return found


class Layer(nn.Module):
    """relu(skip(x) + inner(x)), where the skip is x itself unless the shape changes; the last step of the inner part does the sum and the relu."""

    def __init__(self, config: ResNetConfig, inputs: int, outputs: int, stride: int):
        super().__init__()
        if config.block == "bottleneck":
            middle = outputs // config.narrower
            wide = ConvNorm(middle, middle, stride=stride, groups=config.groups)
            self.inner = nn.Sequential(ConvNorm(inputs, middle, kernel=1), wide, ConvNorm(middle, outputs, kernel=1))
        else:
            self.inner = nn.Sequential(ConvNorm(inputs, outputs, stride=stride), ConvNorm(outputs, outputs))
        same = inputs == outputs and stride == 1
        self.skip = None if same else config.shortcut.build(inputs=inputs, outputs=outputs, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        *before, last = self.inner
        y = x
        for part in before:
            y = part(y)
        return last(y, x if self.skip is None else self.skip(x))


class ResNet(MapTrunk):
    """image (B, C, H, W) → features (B, D), logits (B, K)."""

    def __init__(self, config: ResNetConfig):
        super().__init__()
        self.config: ResNetConfig = config
        large = config.stem == "imagenet"
        self.stem = ConvNorm(config.channels, config.stem_width, kernel=7 if large else 3, stride=2 if large else 1)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if large else None
        self.stages = nn.Sequential(*(nn.Sequential(*(Layer(config, *layer) for layer in stage)) for stage in config.layers()))
        self.head = Linear(config.widths[-1], config.classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]         # a quarter less time on a CPU, whatever the type

    def walk(self, image: Tensor) -> Iterator[Tensor]:
        hidden = self.stem(image.to(self.compute_dtype, memory_format=torch.channels_last))
        yield hidden
        if self.pool is not None:
            hidden = self.pool(hidden)
        for stage in self.stages:
            hidden = stage(hidden)
            yield hidden

    def answer(self, last: Tensor) -> Outputs:
        features = last.mean((2, 3))                                                      # (B, D)
        return Outputs({"features": features, "logits": self.head(features)})             # (B, K)

    def initialise(self, seed: int) -> None:
        """Convolutions N(0, 2 / fan_out), norms 1 and 0, the last norm of every layer 0, head N(0, 0.01²): the first loss is about ln K."""
        last = f".inner.{2 if self.config.block == 'bottleneck' else 1}.norm.weight"
        groups = {f"{name}.weight": part.groups for name, part in self.named_modules() if isinstance(part, Conv2d)}
        for name, parameter in self.named_parameters():
            if parameter.ndim == 4:
                kaiming(parameter, seed, name, groups=groups[name])
            elif name == "head.weight":
                normal(parameter, 0.01, seed, name)
            else:
                parameter.data.fill_(1.0 if name.endswith("norm.weight") and not name.endswith(last) else 0.0)
        for name, buffer in self.named_buffers():
            buffer.fill_(1 if name.endswith("running_var") else 0)

    def compiled_parts(self) -> list[nn.Module]:
        return list(self.stages)
