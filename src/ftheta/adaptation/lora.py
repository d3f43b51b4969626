"""Low-rank adaptation: y = W x + s·B A x with W frozen (Hu et al. 2021, arXiv:2106.09685), s = alpha / rank; B starts at zero, so training starts from the model.

DoRA (Liu et al. 2024, arXiv:2402.09353) learns the length of every row by itself: y = m · (W + s·B A) x / ||W + s·B A|| by row, where the
norm is taken as a constant in the backward pass; m starts at the rows' norms.

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
from ftheta.blocks.linear import Linear, put
from ftheta.blocks.quantised import Quantisation, QuantisedLinear
from ftheta.core.errors import ConfigError, Problem, suggest


class LoRA(Adaptation):
    """A low-rank change of chosen linear maps; everything else stays."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=8, gt=0)
    """Rank of every change."""
    alpha: float = Field(default=16.0, gt=0)
    """Changes are scaled by alpha / rank, so that the rank can be varied without another rate."""
    targets: tuple[str, ...] | None = None
    """Which linear maps: last names (`query`) or patterns of whole names (`layers.3.*`); none: all but the head."""
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
        maps = {name: part for name, part in model.named_modules() if isinstance(part, Linear) and name.split(".")[0] not in HEADS}
        for i, target in enumerate(self.targets or ()):
            if not any(matches(name, target) for name in maps):
                near = suggest(target, {name.rpartition(".")[2] for name in maps}, "maps")
                raise ConfigError([Problem(("adapt", "targets", i), f"no linear map of '{model.config.name}' is called '{target}'{near}")])
        chosen = {name for name in maps if self.targets is None or any(matches(name, target) for target in self.targets)}
        if not chosen:
            raise ConfigError([Problem(("adapt",), f"'{model.config.name}' has no linear maps to adapt: choose last_layers or full")])
        freeze(model.parameters())
        release(parameter for name, parameter in model.named_parameters() if name.split(".")[0] == "readout")      # new with this model, so learned whole
        for name, part in sorted(maps.items()):
            base = part if self.base is None else QuantisedLinear(part, self.base)
            if name in chosen:
                change = LowRank(base, self.rank, self.alpha / self.rank, self.dropout, self.magnitude)
                uniform(change.down, 1 / math.sqrt(base.in_features), seed, "lora", name)
                put(model, name, change)
            elif self.base is not None:
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
    """A frozen linear map and its low-rank change: (..., inputs) → (..., outputs)."""

    def __init__(self, base: Linear | QuantisedLinear, rank: int, scale: float, dropout: float = 0.0, magnitude: bool = False):
        super().__init__()
        self.base = base
        self.scale = scale
        self.dropout = dropout
        like = base.weight
        self.down = nn.Parameter(like.new_zeros(rank, base.in_features))                      # A
        self.up = nn.Parameter(like.new_zeros(base.out_features, rank))                       # B
        self.magnitude = nn.Parameter(like.detach().norm(dim=1)) if magnitude else None

    def forward(self, x: Tensor) -> Tensor:
        dropped = F.dropout(x, self.dropout, self.training) if self.dropout else x
        change = F.linear(F.linear(dropped, self.down.to(x.dtype)), self.up.to(x.dtype)) * self.scale
        if self.magnitude is None:
            return self.base(x) + change
        ratio = (self.magnitude / self.changed().detach().norm(dim=1)).to(x.dtype)
        bias = None if self.base.bias is None else self.base.bias.to(x.dtype)
        y = (F.linear(x, self.base.weight.to(x.dtype)) + change) * ratio
        return y if bias is None else y + bias

    def changed(self) -> Tensor:
        """W + s·B A, (outputs, inputs)."""
        return self.base.weight + self.scale * (self.up @ self.down)

    @torch.no_grad()
    def merged(self, original: Linear | None = None) -> Linear:
        """The plain linear map that computes the same, or the change of an original of which this one keeps few bits."""
        base = original or (self.base.plain() if isinstance(self.base, QuantisedLinear) else self.base)
        weight = base.weight + self.scale * (self.up @ self.down)
        if self.magnitude is not None:
            weight = weight * (self.magnitude / weight.norm(dim=1))[:, None]
        base.weight.copy_(weight)
        return base


def matches(name: str, target: str) -> bool:
    """Whether a map is meant: its last name, or a pattern of the whole name."""
    return name.rpartition(".")[2] == target or fnmatch.fnmatchcase(name, target)
