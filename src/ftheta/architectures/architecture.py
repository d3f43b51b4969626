"""The contract of an architecture: a config that knows its ports without weights, and a module that names its outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ftheta.core.config import Config
from ftheta.core.contract import Batch, Ports


class Outputs(dict[str, Tensor]):
    """Named outputs; those in `lazy` are computed when first read (logits of a whole batch are often never needed)."""

    def __init__(self, ready: Mapping[str, Tensor], lazy: Mapping[str, Callable[[], Tensor]] | None = None):
        super().__init__(ready)
        self.lazy = dict(lazy or {})

    def __missing__(self, name: str) -> Tensor:
        if name not in self.lazy:
            raise KeyError(f"no output '{name}'; there are {', '.join([*self, *self.lazy])}")
        self[name] = self.lazy[name]()
        return self[name]


class Architecture(nn.Module, ABC):
    """f. Computes named outputs from named inputs, never a loss.

    `forward` takes the tensors its config's ports name, by keyword.
    """

    compute_dtype: torch.dtype = torch.float32
    """The type activations are computed in; the trainer sets it, blocks follow the type of their input."""

    config: ArchitectureConfig

    @abstractmethod
    def forward(self, *args: Any, **inputs: Any) -> Outputs: ...

    @abstractmethod
    def initialise(self, seed: int) -> None:
        """Set every parameter and buffer from the seed."""

    @property
    def room(self) -> int | None:
        """The most tokens it can look at in a row; None for what takes no tokens."""
        return self.config.ports().sizes.get("T")

    def theta(self) -> dict[str, Tensor]:
        """θ: every parameter and saved buffer once, by name (tied ones under their first name)."""
        saved = self.state_dict(keep_vars=True)
        first = {id(value): name for name, value in (*self.named_parameters(), *self.named_buffers())}
        return {name: value.detach() for name, value in saved.items() if first.get(id(value), name) == name}

    @torch.no_grad()
    def load_theta(self, values: Mapping[str, Tensor]) -> None:
        """Copy in what `theta` gave; names and shapes have been checked."""
        mine = self.theta()
        for name, value in values.items():
            mine[name].copy_(value)

    def follow(self) -> None:
        """What moves after every step of training without a gradient, such as a teacher that follows; mostly nothing."""
        return

    def compiled_parts(self) -> list[nn.Module]:
        """The modules worth compiling."""
        return []


class Estimator(Architecture):
    """An architecture whose parameters are found in closed form or by its own algorithm, not by gradients."""

    @abstractmethod
    def reserve(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Make room for saved parameters whose shapes only a fit decides."""

    @abstractmethod
    def fit(self, data: Batch, seed: int) -> dict[str, float]:
        """Find the parameters from all examples at once; returns facts about the fit to report."""


class ArchitectureConfig(Config, ABC):
    """The config of an architecture; `kind` is its name in the catalogue."""

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        return str(getattr(self, "kind"))  # noqa: B009

    @abstractmethod
    def ports(self) -> Ports:
        """What it takes and gives, its sizes and its traits, without building it."""

    @abstractmethod
    def build(self) -> Architecture:
        """The module, on the current default device (meta included), not yet initialised."""


def call(model: Architecture, batch: Batch, **more: Tensor) -> Outputs:
    """Run a model on the tensors of a batch that its ports name; `more` adds to or replaces the batch's."""
    supplied = {**batch, **more}
    names = (name.rstrip("?") for name in model.config.ports().takes)
    return model(**{name: supplied[name] for name in names if name in supplied})
