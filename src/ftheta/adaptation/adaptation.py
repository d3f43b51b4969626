"""The contract of an adaptation: it prepares a model for training, and at the end gives the plain architecture back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from torch import nn

from ftheta.architectures.architecture import Architecture
from ftheta.core.config import Config


class Adaptation(Config, ABC):
    """Which parameters of a model move when training goes on from it; `kind` is its name in the catalogue."""

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        return str(getattr(self, "kind"))  # noqa: B009

    @property
    def lossy(self) -> bool:
        """Whether what stays is kept less exactly than it was."""
        return False

    @property
    def in_front(self) -> int:
        """How many tokens of its own it puts before every text."""
        return 0

    @abstractmethod
    def apply(self, model: Architecture, seed: int) -> None:
        """Freeze what shall stay and add what shall be learned, in place. Raises ConfigError for a model it does not fit."""

    def finish(self, model: Architecture, original: Callable[[], Architecture] | None = None) -> None:
        """Turn what was added into changed parameters of the plain architecture, in place. `original` makes the model as it was before,
        for adaptations that do not keep all of it.
        """
        return


def freeze(parameters: Iterable[nn.Parameter]) -> None:
    """None of them moves (nor do the running statistics of a frozen batch norm)."""
    for parameter in parameters:
        parameter.requires_grad_(False)


def release(parameters: Iterable[nn.Parameter]) -> None:
    """They move."""
    for parameter in parameters:
        parameter.requires_grad_(True)
