"""Generative adversarial network for labelled pictures (Goodfellow et al. 2014, arXiv:1406.2661): noise and a label → a picture.

Notable: no norm over the batch anywhere, so rows do not depend on each other. The generator starts from a small map and doubles it
(nearest neighbour, then two 3×3 convolutions, each map scaled to unit root mean square at every pixel; Karras et al. 2017,
arXiv:1710.10196); the label is one more input. The discriminator halves the picture down to the same small map and adds to its
score the inner product of its features with the label's vector (Miyato & Koyama 2018, arXiv:1802.05637).
"""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Outputs
from ftheta.blocks.initialise import normal
from ftheta.blocks.linear import Conv2d, Linear
from ftheta.core.config import from_data
from ftheta.core.contract import Ports
from ftheta.core.errors import UsageError

LARGEST_START = 8
SLOPE = 0.2
"""Of the leaky ReLU below zero."""


class GANConfig(ArchitectureConfig):
    """Sizes of a generator and its discriminator."""

    kind: Literal["gan"] = "gan"
    channels: int = from_data("C")
    """Channels of the picture: 1 grey, 3 colour."""
    classes: int = from_data("K")
    """Number of classes a picture can be asked for."""
    size: int = from_data("H")
    """Height and width of the picture; halved while even and above 4, it must come down to 8 or less."""
    noise: int = Field(default=64, gt=0)
    """Numbers of noise a picture is made from; the objective's `noise` must be the same."""
    width: int = Field(default=32, gt=0)
    """Channels at full size; doubled each time the size halves, up to eight times this."""

    @model_validator(mode="after")
    def divisible(self) -> Self:
        if self.sizes()[0] > LARGEST_START:
            raise ValueError(f"size {self.size} cannot be halved down to {LARGEST_START} or less: choose one such as 8, 28, 32 or 64")
        return self

    def sizes(self) -> list[int]:
        """Heights from the smallest map to the full picture."""
        sizes = [self.size]
        while sizes[0] % 2 == 0 and sizes[0] > 4:
            sizes.insert(0, sizes[0] // 2)
        return sizes

    def widths(self) -> list[int]:
        """Channels at each of `sizes`."""
        return [self.width * min(8, 2**level) for level in reversed(range(len(self.sizes())))]

    def ports(self) -> Ports:
        return Ports(
            takes={"noise": "real B Z", "label": "label B"}, gives={"image": "image B C H W"},
            sizes={"C": self.channels, "K": self.classes, "H": self.size, "W": self.size, "Z": self.noise},
            traits=frozenset({"gradients", "adversarial"}),
        )

    def build(self) -> GAN:
        return GAN(self)


class GAN(Architecture):
    """noise (B, Z), label (B,) → image (B, C, H, W) in [0, 1]. Training also asks `judge` how real a picture looks."""

    def __init__(self, config: GANConfig):
        super().__init__()
        self.config: GANConfig = config
        self.generator = Generator(config)
        self.discriminator = Discriminator(config)

    def forward(self, noise: Tensor, label: Tensor) -> Outputs:
        if noise.shape[1] != self.config.noise:
            raise UsageError(f"model.noise is {self.config.noise}, but {noise.shape[1]} numbers of noise are supplied: objective.noise must be the same")
        return Outputs({"image": self.generator(noise.to(self.compute_dtype), label)})

    def judge(self, image: Tensor, label: Tensor) -> Tensor:
        """(B,) log-odds, at least in float32, that each picture is a real one of its class."""
        score = self.discriminator(2 * image.to(self.compute_dtype) - 1, label)
        return score.to(torch.promote_types(score.dtype, torch.float32))

    def initialise(self, seed: int) -> None:
        """N(0, 2 / ((1 + slope²)·fan_in)) before a leaky ReLU, label vectors N(0, 1), last layers a tenth of N(0, 1 / fan_in), biases 0."""
        for name, parameter in self.named_parameters():
            fan_in = math.prod(parameter.shape[1:])
            if parameter.ndim < 2:
                parameter.data.zero_()
            elif name.endswith("classes.weight"):
                normal(parameter, 1.0, seed, name)
            elif name.endswith(("picture.weight", "score.weight")):
                normal(parameter, 0.1 * fan_in**-0.5, seed, name)
            else:
                normal(parameter, math.sqrt(2 / ((1 + SLOPE**2) * fan_in)), seed, name)

    def compiled_parts(self) -> list[nn.Module]:
        return [self.generator, self.discriminator]


class Generator(nn.Module):
    """noise (B, Z), label (B,) → image (B, C, H, W) in [0, 1]."""

    def __init__(self, config: GANConfig):
        super().__init__()
        sizes, widths = config.sizes(), config.widths()
        self.start = (widths[0], sizes[0], sizes[0])
        self.classes = nn.Embedding(config.classes, config.noise)
        self.first = Linear(2 * config.noise, math.prod(self.start))
        before = [widths[0], *widths[:-1]]
        self.levels = nn.ModuleList(
            nn.ModuleList([Conv2d(inputs, width, 3, padding=1), Conv2d(width, width, 3, padding=1)]) for inputs, width in zip(before, widths, strict=True)
        )
        self.picture = Conv2d(widths[-1], config.channels, 1)

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        x = torch.cat([unit(noise), unit(self.classes(label).to(noise.dtype))], dim=1)
        x = F.leaky_relu(self.first(x), SLOPE).unflatten(1, self.start)
        for number, level in enumerate(self.levels):
            if number:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            for convolution in level:                                                     # type: ignore[union-attr]
                x = unit(F.leaky_relu(convolution(x), SLOPE))
        return self.picture(x).sigmoid()


class Discriminator(nn.Module):
    """image (B, C, H, W) in [-1, 1], label (B,) → log-odds of being real (B,)."""

    def __init__(self, config: GANConfig):
        super().__init__()
        sizes, widths = config.sizes(), config.widths()
        down = widths[::-1]
        self.entry = Conv2d(config.channels, down[0], 1)
        self.levels = nn.ModuleList(
            nn.ModuleList([Conv2d(width, width, 3, padding=1), Conv2d(width, after, 3, padding=1)])
            for width, after in zip(down, [*down[1:], down[-1]], strict=True)
        )
        features = 4 * down[-1]
        self.last = Linear(down[-1] * sizes[0] ** 2, features)
        self.score = Linear(features, 1)
        self.classes = nn.Embedding(config.classes, features)

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        x = F.leaky_relu(self.entry(image), SLOPE)
        for number, level in enumerate(self.levels):
            if number:
                x = F.avg_pool2d(x, 2)
            for convolution in level:                                                     # type: ignore[union-attr]
                x = F.leaky_relu(convolution(x), SLOPE)
        features = F.leaky_relu(self.last(x.flatten(1)), SLOPE)                           # (B, F)
        towards = (features * self.classes(label).to(features.dtype)).sum(1) / features.shape[1] ** 0.5
        return self.score(features).squeeze(1) + towards


def unit(x: Tensor) -> Tensor:
    """x scaled to a mean square of 1 over its channels (dimension 1), each row and pixel by itself."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)
