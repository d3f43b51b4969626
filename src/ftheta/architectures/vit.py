"""Vision transformer, image → class logits (Dosovitskiy et al. 2020, arXiv:2010.11929). ViT and DeiT (Touvron et al. 2020, arXiv:2012.12877) are presets of
this file; with a stem of convolutions, or attention within windows in some layers, so are hybrids.

Notable: a picture becomes tokens through a slot (stem), which then go through the layers of the language models, looking both ways. A class token or
the mean of the patches answers; a distillation token has a head of its own, and answers are the mean of both. Pictures of any size: positions stretch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.architectures.architecture import Outputs
from ftheta.architectures.decoder import Layer
from ftheta.architectures.image_trunk import ImageTrunk, ImageTrunkConfig, Level
from ftheta.blocks import FEEDFORWARDS, NORMS, PATCH_MIXERS, PATCH_POSITIONS, PATCH_STEMS
from ftheta.blocks.context import Context
from ftheta.blocks.initialise import kaiming, normal
from ftheta.blocks.linear import Linear
from ftheta.blocks.mixer import Mixer
from ftheta.blocks.residual import LayerScale, Residual, rising
from ftheta.core.config import Cycle, Part, Slot, from_data, slot
from ftheta.core.contract import Ports
from ftheta.core.errors import DataError


class ViTConfig(ImageTrunkConfig):
    """Sizes and parts of a vision transformer."""

    kind: Literal["vit"] = "vit"
    channels: int = from_data("C")
    """Channels of the image: 1 grey, 3 colour."""
    classes: int = from_data("K")
    """Number of classes."""
    height: int = from_data("H", 224)
    """Pixels down of the pictures it is made for; others are taken too."""
    width: int = from_data("W", 224)
    """Pixels across of the pictures it is made for."""
    stem: Annotated[Part, Slot(PATCH_STEMS)] = slot("patches")
    """How a picture becomes tokens."""
    dim: int = Field(default=768, gt=0)
    """Width of the residual stream."""
    depth: int = Field(default=12, gt=0)
    """Number of layers."""
    positions: Annotated[Part, Slot(PATCH_POSITIONS)] = slot("learned")
    """How the model knows where a patch lies."""
    norm: Annotated[Part, Slot(NORMS)] = slot("layernorm", eps=1e-6)
    """The norm before every part of a layer and of what the last layer gives."""
    mixer: Annotated[Part | tuple[Part, ...], Cycle(PATCH_MIXERS)] = slot("attention", heads=12, bias=True)
    """How tokens exchange information; a list is gone through again and again, a layer each."""
    feedforward: Annotated[Part, Slot(FEEDFORWARDS)] = slot("mlp", activation="gelu", bias=True)
    """What is computed at each token by itself."""
    class_token: bool = True
    """Whether there is a learned token before the patches that gathers what the picture shows."""
    distillation_token: bool = False
    """Whether a second one follows it, with a head of its own (DeiT)."""
    pooling: Literal["first", "mean"] = "first"
    """What answers: the first token, or the mean of the patches."""
    pixels: bool = False
    """Whether the patches also say what their pixels are, which objective `masked_patches` learns from."""
    layer_scale: float | None = Field(default=None, gt=0)
    """What every channel of what a part gives is multiplied by before it is added, at first; none: nothing (Touvron et al. 2021, arXiv:2103.17239)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of tokens' numbers, and of what the parts give, dropped in training."""
    skipped: float = Field(default=0.0, ge=0, lt=1)
    """How often the parts of the last layer are skipped in training, those before it less often (Huang et al. 2016)."""
    std: float = Field(default=0.02, gt=0)
    """Standard deviation of initial weights."""

    @model_validator(mode="after")
    def consistent(self) -> Self:
        if self.pooling == "first" and not self.class_token:
            raise ValueError("pooling: first reads the class token, and there is none: choose mean, or class_token: true")
        if self.distillation_token and self.pooling != "first":
            raise ValueError("distillation_token: it answers beside the class token: choose pooling first and class_token: true")
        with torch.device("meta"):
            ViT(self)
        return self

    @property
    def mixers(self) -> tuple[Part, ...]:
        """The mixer of every layer."""
        cycle = (self.mixer,) if isinstance(self.mixer, Part) else self.mixer
        return tuple(cycle[i % len(cycle)] for i in range(self.depth))

    @property
    def first(self) -> int:
        """Tokens before the patches."""
        return self.class_token + self.distillation_token

    @property
    def stride(self) -> int:
        """Pixels across and down that a token stands for."""
        with torch.device("meta"):
            return self.stem.build(channels=self.channels, dim=self.dim).stride

    def ports(self) -> Ports:
        parts = self.stem.traits | self.feedforward.traits
        more = {"pixels": "image B C H W"} if self.pixels else {}
        gives = {"features": "real B D", "logits": "logits B K", **more, **({"auxiliary": "loss B"} if "auxiliary" in parts else {})}
        traits = parts - {"auxiliary"} | {"gradients", *(["dropout"] if self.dropout or self.skipped else [])}
        sizes = {"C": self.channels, "K": self.classes, "D": self.dim, "H": self.height, "W": self.width}
        return Ports(takes={"image": "image B C H W"}, gives=gives, sizes=sizes, traits=traits)

    def build(self) -> ViT:
        return ViT(self)

    def steps(self) -> list[Level]:
        return [Level(self.stride, self.dim)]


class ViT(ImageTrunk):
    """image (B, C, H, W) → features (B, D), logits (B, K) and, if wished, pixels (B, C, H, W) of the whole patches."""

    answering = ("head", "distilled")

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.config: ViTConfig = config
        dim = config.dim
        self.stem = config.stem.build(channels=config.channels, dim=dim)
        self.first = nn.Parameter(torch.zeros(1, 1, dim)) if config.class_token else None
        self.second = nn.Parameter(torch.zeros(1, 1, dim)) if config.distillation_token else None
        rates = rising(config.skipped, config.depth)
        self.layers = nn.ModuleList(
            Layer(mix=self.residual(mixer, rate), feed=self.residual(config.feedforward, rate)) for mixer, rate in zip(config.mixers, rates, strict=True)
        )
        widths = {mixer.head_dim for mixer in self.mixers()}
        grid = (config.height // self.stem.stride, config.width // self.stem.stride)
        if not all(grid):
            raise ValueError(f"height {config.height} and width {config.width} hold no patch of {self.stem.stride}×{self.stem.stride} pixels: choose a finer stem")
        self.positions = config.positions.build(dim=dim, grid=grid, first=config.first, head_dim=widths.pop() if len(widths) == 1 else None)
        self.norm = config.norm.build(dim=dim)
        self.head = Linear(dim, config.classes)
        self.distilled = Linear(dim, config.classes) if config.distillation_token else None
        self.pixels = Linear(dim, config.channels * self.stem.stride**2) if config.pixels else None

    def residual(self, part: Part, rate: float) -> Residual:
        config = self.config
        scale = None if config.layer_scale is None else LayerScale(config.dim, config.layer_scale)
        return Residual(part.build(dim=config.dim), before=config.norm.build(dim=config.dim), dropout=config.dropout, scale=scale, skipped=rate)

    def mixers(self) -> list[Mixer]:
        """The mixer of every layer."""
        found = [self.get_submodule(f"layers.{i}.mix.inner") for i in range(self.config.depth)]
        return [mixer for mixer in found if isinstance(mixer, Mixer)]

    def encoded(self, image: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Context]:
        """hidden (B, T, D) after the last norm: the tokens that are no patches, then the patches row by row; and what the layers knew.

        With `seen` (B, N), the numbers of patches, only those are looked at, each where it was.
        """
        stride = self.stem.stride
        if min(image.shape[2:]) < stride:
            raise DataError(f"pictures of {image.shape[2]}×{image.shape[3]} pixels are smaller than a patch, which is {stride}×{stride}")
        patches = self.stem(image.to(self.compute_dtype))
        grid = (patches.shape[2], patches.shape[3])
        tokens = patches.flatten(2).transpose(1, 2)
        special = [token.to(tokens.dtype).expand(tokens.shape[0], -1, -1) for token in (self.first, self.second) if token is not None]
        hidden = torch.cat([*special, tokens], dim=1)
        context = Context(torch.arange(hidden.shape[1], device=hidden.device)[None], grid=grid)
        hidden = F.dropout(self.positions(hidden, context), self.config.dropout, self.training)
        if seen is not None:
            first = torch.arange(self.config.first, device=seen.device).expand(len(seen), -1)
            kept = torch.cat([first, seen + self.config.first], 1)                        # (B, T)
            hidden = hidden.gather(1, kept[..., None].expand(-1, -1, hidden.shape[2]))
            if context.rotary is not None:
                cos, sin = (part[0, 0][kept][:, None] for part in context.rotary)
                context.rotary = cos, sin
        return self.norm(through(self.layers, self.mixers(), hidden, context)), context

    def walk(self, image: Tensor) -> Iterator[Tensor]:
        hidden, context = self.encoded(image)
        assert context.grid is not None
        yield hidden[:, self.config.first :].transpose(1, 2).unflatten(2, context.grid)

    def forward(self, image: Tensor) -> Outputs:
        return self.answer(*self.encoded(image))

    def answer(self, hidden: Tensor, context: Context) -> Outputs:
        """What `encoded` gave → features, logits and, if wished, pixels."""
        features = hidden[:, 0] if self.config.pooling == "first" else hidden[:, self.config.first :].mean(1)            # (B, D)
        logits = self.head(features)                                                      # (B, K)
        if self.distilled is not None:
            logits = (logits + self.distilled(hidden[:, 1])) / 2
        more = {"auxiliary": torch.stack(context.auxiliary).sum(0)} if context.auxiliary else {}
        return Outputs({"features": features, "logits": logits, **more}, {"pixels": lambda: self.told(hidden, context)} if self.pixels is not None else {})

    def told(self, hidden: Tensor, context: Context) -> Tensor:
        """Tokens (B, T, D) → the pixels that the patches say they have (B, C, H, W)."""
        assert self.pixels is not None and context.grid is not None
        return joined(self.pixels(hidden[:, self.config.first :]), context.grid, self.stem.stride)

    def initialise(self, seed: int) -> None:
        """N(0, std²), also of tokens and positions; the map to tokens N(0, 1 / fan_in), convolutions before it N(0, 2 / fan_out), the heads N(0, 0.01²), norms 1
        and 0: the first loss is about ln K.
        """
        scales = {f"{name}.weight": part.initial for name, part in self.named_modules() if isinstance(part, LayerScale)}
        for name, parameter in self.named_parameters():
            if name in scales:
                parameter.data.fill_(scales[name])
            elif parameter.ndim < 2:
                parameter.data.fill_(1.0 if name.endswith("weight") else 0.0)
            elif name == "stem.convolution.weight":
                normal(parameter, math.prod(parameter.shape[1:]) ** -0.5, seed, name)
            elif parameter.ndim == 4:
                kaiming(parameter, seed, name)
            else:
                normal(parameter, 0.01 if name in ("head.weight", "distilled.weight") else self.config.std, seed, name)
        for name, buffer in self.named_buffers():
            buffer.fill_(1 if name.endswith("running_var") else 0)
        for i, mixer in enumerate(self.mixers()):
            mixer.initialise(seed, f"layers.{i}.mix.inner")

    def compiled_parts(self) -> list[nn.Module]:
        return list(self.layers)


def through(layers: nn.ModuleList, mixers: list[Mixer], hidden: Tensor, context: Context) -> Tensor:
    """(B, T, D) after these layers, whose mixers these are."""
    for mixer in mixers:
        mixer.prepare(hidden.shape[1], hidden.dtype, context)
    for layer in layers:
        hidden = layer(hidden, context)
    return hidden


def joined(patches: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """The pixels of patches (B, N, C · side²), row by row, → the picture (B, C, H, W) that they make."""
    pixels = patches.unflatten(2, (-1, side, side)).unflatten(1, grid)                    # (B, rows, columns, C, side, side)
    return pixels.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
