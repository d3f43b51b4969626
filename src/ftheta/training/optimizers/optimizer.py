"""The contract of an optimizer, and its state as named tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from ftheta.core.config import Config

Named = Sequence[tuple[str, nn.Parameter]]


class OptimizerConfig(Config, ABC):
    """How parameters move; `kind` is its name in the catalogue."""

    rate: float = Field(gt=0)
    """Learning rate, before the schedule's factor."""
    decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay of matrices: each step shrinks them by rate·decay. Vectors are never decayed."""

    @abstractmethod
    def build(self, parameters: Named) -> list[torch.optim.Optimizer]:
        """One or several torch optimizers that together own these parameters."""


def decay_groups(parameters: Named, decay: float) -> list[dict[str, object]]:
    """Matrices with decay, vectors without."""
    matrices = [p for _, p in parameters if p.ndim >= 2]
    vectors = [p for _, p in parameters if p.ndim < 2]
    groups: list[dict[str, object]] = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def set_factor(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Scale every group's base rate by the schedule's factor."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("base_rate", group["lr"]) * factor


def state_tensors(optimizers: Sequence[torch.optim.Optimizer], names: Mapping[Tensor, str]) -> dict[str, Tensor]:
    """The state of all optimizers: `parameter/quantity` → tensor."""
    state: dict[str, Tensor] = {}
    for optimizer in optimizers:
        for parameter, entries in optimizer.state.items():
            for quantity, value in entries.items():
                state[f"{names[parameter]}/{quantity}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return state


def restore_state(optimizers: Sequence[torch.optim.Optimizer], names: Mapping[Tensor, str], state: Mapping[str, Tensor]) -> None:
    """Put back what `state_tensors` gave."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        parameter, _, quantity = name.rpartition("/")
        by_name.setdefault(parameter, {})[quantity] = value
    for optimizer in optimizers:
        optimizer.state.clear()
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                for quantity, value in by_name.get(names[parameter], {}).items():
                    place = torch.device("cpu") if quantity == "step" and not group.get("fused") else parameter.device
                    # fused kernels walk through memory: an entry must lie in it as its parameter does (a file's tensors are contiguous)
                    like = parameter if value.shape == parameter.shape else value
                    optimizer.state[parameter][quantity] = torch.empty_like(like, dtype=value.dtype, device=place).copy_(value)
