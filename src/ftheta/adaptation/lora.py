"""Low-rank adaptation: y = W x + s·B A x with W frozen (Hu et al. 2021, arXiv:2106.09685), s = alpha / rank; B starts at zero, so training starts from the model.

DoRA (Liu et al. 2024, arXiv:2402.09353) learns the length of every row by itself: y = m · (W + s·B A) x / ||W + s·B A|| by row, where the
norm is taken as a constant in the backward pass; m starts at the rows' norms.

Of a convolution of k×k pixels A is a convolution of as many pixels, stride and padding to `rank` channels, and B one of 1×1: y = W ∗ x + s·B ∗ (A ∗ x), as PEFT
has it; a row of W is then the filter of an output channel.

The frozen W may be kept in few bits while the change is learned (`base`; QLoRA: Dettmers et al. 2023, arXiv:2305.14314). The model that comes of it
is the original W and the change.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.adaptation.adaptation import Adaptation, freeze, release
from ftheta.adaptation.freezing import HEADS
from ftheta.architectures.architecture import Architecture
from ftheta.blocks.initialise import uniform
from ftheta.blocks.linear import Conv2d, Linear, put
from ftheta.blocks.quantised import Quantisation, QuantisedLinear
from ftheta.core.errors import ConfigError, Problem, suggest


class LoRA(Adaptation):
    """A low-rank change of chosen linear maps and convolutions; everything else stays."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=8, gt=0)
    """Rank of every change."""
    alpha: float = Field(default=16.0, gt=0)
    """Changes are scaled by alpha / rank, so that the rank can be varied without another rate."""
    targets: tuple[str, ...] | None = None
    """Which linear maps and convolutions: last names (`query`, `convolution`) or patterns of whole names (`layers.3.*`); none: all linear maps but the head, and in a
    network without such all convolutions."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the inputs of a change dropped in training."""
    magnitude: bool = False
    """Whether the length of every row is learned apart from its direction (DoRA)."""
    base: Quantisation | None = None
    """How the frozen linear maps, all but the head, are kept in few bits; none: as they are."""

    @property
    def lossy(self) -> bool:
        return self.base is not None

    def apply(self, model: Architecture, seed: int) -> None:
        maps: dict[str, Linear | Conv2d] = {
            name: part for name, part in model.named_modules()
            if name.split(".")[0] not in HEADS and (isinstance(part, Linear) or (isinstance(part, Conv2d) and part.groups == 1))
        }
        usual = {name for name, part in maps.items() if isinstance(part, Linear)} or set(maps)
        for i, target in enumerate(self.targets or ()):
            if not any(matches(name, target) for name in maps):
                or_convolution = " or whole convolution" if any(isinstance(part, Conv2d) for part in maps.values()) else ""
                near = suggest(target, {name.rpartition(".")[2] for name in maps}, "maps")
                raise ConfigError([Problem(("adapt", "targets", i), f"no linear map{or_convolution} of '{model.config.name}' is called '{target}'{near}")])
        chosen = usual if self.targets is None else {name for name in maps if any(matches(name, target) for target in self.targets)}
        if not chosen:
            raise ConfigError([Problem(("adapt",), f"'{model.config.name}' has no linear maps or convolutions to adapt: choose last_layers or full")])
        freeze(model.parameters())
        release(parameter for name, parameter in model.named_parameters() if name.split(".")[0] == "readout")      # new with this model, so learned whole
        for name, part in sorted(maps.items()):
            base = part if self.base is None or isinstance(part, Conv2d) else QuantisedLinear(part, self.base)
            if name in chosen:
                change = LowRank(base, self.rank, self.alpha / self.rank, self.dropout, self.magnitude)
                uniform(change.down, 1 / math.sqrt(change.down[0].numel()), seed, "lora", name)
                put(model, name, change)
            elif base is not part:
                put(model, name, base)

    def finish(self, model: Architecture, original: Callable[[], Architecture] | None = None) -> None:
        parts = {name: part for name, part in model.named_modules() if isinstance(part, LowRank | QuantisedLinear)}
        few_bits = any(isinstance(part, QuantisedLinear) for part in parts.values())
        before = original() if original is not None and few_bits else None
        for name, part in parts.items():
            base = None if before is None else before.get_submodule(name.removesuffix(".base"))
            if isinstance(part, LowRank):
                put(model, name, part.merged(base))                                       # type: ignore[arg-type]
            elif not name.endswith(".base"):
                put(model, name, base or part.plain())


class LowRank(nn.Module):
    """A frozen linear map and its low-rank change: (..., inputs) → (..., outputs); or a convolution and its: (B, inputs, H, W) → (B, outputs, h, w)."""

    def __init__(self, base: Linear | QuantisedLinear | Conv2d, rank: int, scale: float, dropout: float = 0.0, magnitude: bool = False):
        super().__init__()
        self.base = base
        self.scale = scale
        self.dropout = dropout
        like = base.weight
        self.down = nn.Parameter(like.new_zeros(rank, *like.shape[1:]))                       # A
        self.up = nn.Parameter(like.new_zeros(len(like), rank))                               # B
        self.magnitude = nn.Parameter(like.detach().flatten(1).norm(dim=1)) if magnitude else None

    def forward(self, x: Tensor) -> Tensor:
        dropped = F.dropout(x, self.dropout, self.training) if self.dropout else x
        change = self.change(dropped)
        if self.magnitude is None:
            return self.base(x) + change
        ratio = (self.magnitude / self.changed().detach().flatten(1).norm(dim=1)).to(x.dtype)
        bias = None if self.base.bias is None else self.base.bias.to(x.dtype)
        if isinstance(self.base, Conv2d):
            y = (self.base.convolved(x, self.base.weight) + change) * ratio[:, None, None]
            return y if bias is None else y + bias[:, None, None]
        y = (F.linear(x, self.base.weight.to(x.dtype)) + change) * ratio
        return y if bias is None else y + bias

    def change(self, x: Tensor) -> Tensor:
        """s·B A x."""
        up = self.up.to(x.dtype)
        if isinstance(self.base, Conv2d):
            return F.conv2d(self.base.convolved(x, self.down), up[:, :, None, None]) * self.scale
        return F.linear(F.linear(x, self.down.to(x.dtype)), up) * self.scale

    def changed(self) -> Tensor:
        """W + s·B A, as W is."""
        return self.base.weight + self.scale * product(self.up, self.down)

    @torch.no_grad()
    def merged(self, original: Linear | None = None) -> Linear | Conv2d:
        """The plain linear map or convolution that computes the same, or the change of an original of which this one keeps few bits."""
        base = original or (self.base.plain() if isinstance(self.base, QuantisedLinear) else self.base)
        weight = base.weight + self.scale * product(self.up, self.down)
        if self.magnitude is not None:
            weight = by_row(weight, self.magnitude / weight.flatten(1).norm(dim=1))
        base.weight.copy_(weight)
        return base


def product(up: Tensor, down: Tensor) -> Tensor:
    """B A of B (outputs, rank) and A (rank, ...): (outputs, ...)."""
    return (up.flatten(1) @ down.flatten(1)).unflatten(1, down.shape[1:])


def by_row(weight: Tensor, ratio: Tensor) -> Tensor:
    """Every row of a weight (outputs, ...) times its own number (outputs,)."""
    return weight * ratio.view(-1, *(1 for _ in weight.shape[1:]))


def matches(name: str, target: str) -> bool:
    """Whether a map is meant: its last name, or a pattern of the whole name."""
    return name.rpartition(".")[2] == target or fnmatch.fnmatchcase(name, target)
