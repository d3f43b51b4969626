"""Adaptations that only choose which parameters move: all, the last layers, the head."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from ftheta.adaptation.adaptation import Adaptation, freeze, release
from ftheta.architectures.architecture import Architecture
from ftheta.core.errors import ConfigError, Problem

HEADS = ("head", "readout")
"""What architectures call the part that answers."""


class Full(Adaptation):
    """Every parameter moves."""

    kind: Literal["full"] = "full"

    def apply(self, model: Architecture, seed: int) -> None:
        release(model.parameters())


class LastLayers(Adaptation):
    """The last layers move, with the norm and the head after them; embeddings (a head that shares them too) and the layers before stay."""

    kind: Literal["last_layers"] = "last_layers"
    layers: int = Field(default=2, gt=0)
    """How many."""

    def apply(self, model: Architecture, seed: int) -> None:
        stack = model.compiled_parts()
        if self.layers > len(stack):
            raise ConfigError([Problem(("adapt", "layers"), f"the model has {len(stack)} layers, fewer than {self.layers}")])
        freeze(model.parameters())
        for layer in stack[-self.layers :]:
            release(layer.parameters())
        release([parameter for part in ("norm", *HEADS) for parameter in own(model, part)])


class Probe(Adaptation):
    """Only the head moves: how much of the answer a linear map finds in what the model already computes (Alain & Bengio 2016, arXiv:1610.01644)."""

    kind: Literal["probe"] = "probe"

    def apply(self, model: Architecture, seed: int) -> None:
        head = [parameter for part in HEADS for parameter in own(model, part)]
        if not head:
            raise ConfigError([Problem(("adapt",), f"a probe trains the head alone, and '{model.config.name}' has none of its own: choose last_layers or lora")])
        freeze(model.parameters())
        release(head)


def own(model: Architecture, part: str) -> list[nn.Parameter]:
    """The parameters of a named part that no other part shares."""
    others = {id(p) for name, child in model.named_children() if name != part for p in child.parameters()}
    return [p for name, child in model.named_children() if name == part for p in child.parameters() if id(p) not in others]
