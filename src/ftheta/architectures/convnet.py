"""Convolutional network, image → class logits, whose stages are data. LeNet-5 (LeCun et al. 1998), AlexNet (Krizhevsky 2014, arXiv:1404.5997), VGG (Simonyan
& Zisserman 2014, arXiv:1409.1556), MobileNet v2 and v3 (arXiv:1801.04381, arXiv:1905.02244), EfficientNet (Tan & Le 2019, arXiv:1905.11946), ConvNeXt
(Liu et al. 2022, arXiv:2201.03545) and, its layers being those of a transformer, SegFormer's trunk (Xie et al. 2021, arXiv:2105.15203) are presets of this file.

Notable: a stage says how it makes maps smaller and what its layers are, both slots; norm and activation are the network's. The last maps are averaged to
a grid, normed if so said, and go through dense layers. Residual networks with a stem and bottlenecks are `resnet`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.architectures.architecture import Outputs
from ftheta.architectures.image_trunk import ImageTrunkConfig, Level, MapTrunk
from ftheta.blocks import CONVOLUTION_LAYERS, MAP_NORMS, NORMS, REDUCTIONS
from ftheta.blocks.activation import ActivationName, activate
from ftheta.blocks.convolution import PaddedConv2d
from ftheta.blocks.initialise import kaiming, normal
from ftheta.blocks.linear import Conv2d, Linear
from ftheta.blocks.map_attention import MapAttention
from ftheta.blocks.reduction import MaxPool
from ftheta.blocks.residual import LayerScale, rising
from ftheta.core.config import Config, Part, Slot, from_data, slot
from ftheta.core.contract import Ports
from ftheta.core.errors import DataError

LOOKS = 0.02
"""Standard deviation of the maps of attention at first."""


class Stage(Config):
    """Layers of one sort that give maps of one size."""

    width: int = Field(gt=0)
    """Channels it gives."""
    depth: int = Field(default=1, ge=0)
    """Number of layers; none: the stage only makes maps smaller."""
    reduce: int = Field(default=1, gt=0)
    """What it divides height and width by."""
    by: Annotated[Part, Slot(REDUCTIONS)] = slot("stride")
    """How it does that."""
    layer: Annotated[Part, Slot(CONVOLUTION_LAYERS)] = slot("convolution")
    """What a layer computes."""
    activation: ActivationName | None = None
    """What its layers apply; none: what the network does."""
    last_norm: Annotated[Part, Slot(MAP_NORMS)] = slot("none")
    """The norm of what the last layer gives."""


class ConvNetConfig(ImageTrunkConfig):
    """Stages and head of a convolutional network."""

    kind: Literal["convnet"] = "convnet"
    channels: int = from_data("C")
    """Channels of the image: 1 grey, 3 colour."""
    classes: int = from_data("K")
    """Number of classes."""
    stages: tuple[Stage, ...] = Field((Stage(width=32), Stage(width=64, reduce=2), Stage(width=128, reduce=2)), min_length=1)
    """What the picture goes through, the stem included."""
    norm: Annotated[Part, Slot(MAP_NORMS)] = slot("batchnorm")
    """The norm of every convolution."""
    activation: ActivationName = "relu"
    """What is applied in layers and between dense layers."""
    grid: int = Field(default=1, gt=0)
    """To how many pixels across and down the last maps are averaged."""
    last_norm: Annotated[Part, Slot(NORMS)] = slot("none")
    """The norm of these pixels, as one vector."""
    hidden: tuple[Annotated[int, Field(gt=0)], ...] = ()
    """Widths of dense layers before the last one."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of numbers dropped in training after every dense layer but the last, or, without such, before it."""
    skipped: float = Field(default=0.0, ge=0, lt=1)
    """How often the last layer that is added to its input is skipped in training, those before it less often (Huang et al. 2016)."""

    @model_validator(mode="after")
    def fits_together(self) -> Self:
        with torch.device("meta"):
            self.body()
        return self

    def body(self) -> list[StageLayers]:
        """The stages as modules. Raises ValueError where two do not fit."""
        found, channels, first = [], self.channels, 0
        rates = rising(self.skipped, sum(stage.depth for stage in self.stages))
        for number, stage in enumerate(self.stages):
            try:
                found.append(StageLayers(stage, channels, self.norm, stage.activation or self.activation, rates[first : first + stage.depth]))
            except ValueError as error:
                raise ValueError(f"stage {number}: {error}") from None
            channels, first = stage.width, first + stage.depth
        return found

    @property
    def features(self) -> int:
        """Width of what the last dense layer sees."""
        return self.hidden[-1] if self.hidden else self.stages[-1].width * self.grid**2

    def ports(self) -> Ports:
        random = {"dropout"} if self.dropout or self.skipped else set()
        norms = self.norm.traits.union(*(stage.last_norm.traits for stage in self.stages))
        return Ports(
            takes={"image": "image B C H W"}, gives={"features": "real B D", "logits": "logits B K"},
            sizes={"C": self.channels, "K": self.classes, "D": self.features}, traits=norms | {"gradients"} | random,
        )

    def build(self) -> ConvNet:
        return ConvNet(self)

    def steps(self) -> list[Level]:
        """Every stage's."""
        strides = [math.prod(stage.reduce for stage in self.stages[: number + 1]) for number in range(len(self.stages))]
        return [Level(stride, stage.width) for stride, stage in zip(strides, self.stages, strict=True)]


class StageLayers(nn.Module):
    """(B, inputs, H, W) → (B, width, about H / reduce, about W / reduce)."""

    def __init__(self, stage: Stage, inputs: int, norm: Part, activation: ActivationName, rates: list[float]):
        super().__init__()
        self.reduction = stage.by.build(inputs=inputs, outputs=stage.width, factor=stage.reduce, norm=norm) if stage.reduce > 1 else None
        channels, stride = (inputs, 1) if self.reduction is None else (self.reduction.channels, self.reduction.stride)
        layers = []
        for rate in rates:
            layers.append(stage.layer.build(inputs=channels, outputs=stage.width, stride=stride, norm=norm, activation=activation, skipped=rate))
            channels, stride = stage.width, 1
        if (channels, stride) != (stage.width, 1):
            raise ValueError(f"without layers it gives {channels} channels and leaves a stride of {stride}: give it a depth, or width {channels} and another 'by'")
        self.layers = nn.Sequential(*layers)
        self.last_norm = stage.last_norm.build(dim=stage.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.last_norm(self.layers(x if self.reduction is None else self.reduction(x)))


class ConvNet(MapTrunk):
    """image (B, C, H, W) → features (B, D), logits (B, K)."""

    answering = ("last_norm", "dense", "head")

    def __init__(self, config: ConvNetConfig):
        super().__init__()
        self.config: ConvNetConfig = config
        self.stages = nn.Sequential(*config.body())
        self.smallest = self.needed()
        pixels = config.stages[-1].width * config.grid**2
        self.last_norm = config.last_norm.build(dim=pixels)
        widths = (pixels, *config.hidden)
        self.dense = nn.ModuleList(Linear(before, after) for before, after in itertools.pairwise(widths))
        self.head = Linear(config.features, config.classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]         # a quarter less time on a CPU, whatever the type

    def needed(self) -> int:
        """The shortest side of a picture of which something is left at the end."""
        pixels = 1
        for part in reversed(list(self.stages.modules())):
            if isinstance(part, (PaddedConv2d, MaxPool)):
                pixels = part.needs(pixels)
        return pixels

    def walk(self, image: Tensor) -> Iterator[Tensor]:
        if min(image.shape[2:]) < self.smallest:
            height, width = image.shape[2:]
            raise DataError(f"pictures of {height}×{width} pixels are too small for this network, which halves them away: it needs {self.smallest}×{self.smallest}")
        hidden = image.to(self.compute_dtype, memory_format=torch.channels_last)
        for stage in self.stages:
            hidden = stage(hidden)
            yield hidden

    def answer(self, last: Tensor) -> Outputs:
        config = self.config
        features = last.mean((2, 3)) if config.grid == 1 else F.adaptive_avg_pool2d(last, config.grid).flatten(1)
        features = self.last_norm(features)
        for dense in self.dense:
            features = F.dropout(activate(config.activation, dense(features)), config.dropout, self.training)
        dropped = features if self.dense else F.dropout(features, config.dropout, self.training)
        return Outputs({"features": features, "logits": self.head(dropped)})              # (B, D), (B, K)

    def initialise(self, seed: int) -> None:
        """Convolutions N(0, 2 / fan_out), dense layers N(0, 2 / fan_in), those of attention N(0, 0.02²), norms 1 and 0, layer scales as said, head N(0, 0.01 / D): the
        first loss is about ln K."""
        looking = {part for whole in self.modules() if isinstance(whole, MapAttention) for part in whole.modules()}
        places: dict[str, nn.Module] = {f"{name}.weight": part for name, part in self.named_modules()}
        for name, parameter in self.named_parameters():
            part = places.get(name)
            if name == "head.weight":
                normal(parameter, 0.1 / math.sqrt(parameter.shape[1]), seed, name)
            elif isinstance(part, Conv2d):
                kaiming(parameter, seed, name, groups=part.groups)
            elif isinstance(part, Linear) and part in looking:
                normal(parameter, LOOKS, seed, name)
            elif isinstance(part, Linear):
                normal(parameter, math.sqrt(2.0 / parameter.shape[1]), seed, name)
            elif isinstance(part, LayerScale):
                parameter.data.fill_(part.initial)
            else:
                parameter.data.fill_(1.0 if name.endswith("weight") else 0.0)
        for name, buffer in self.named_buffers():
            buffer.fill_(1 if name.endswith("running_var") else 0)

    def compiled_parts(self) -> list[nn.Module]:
        return list(self.stages)
