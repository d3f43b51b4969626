"""The contract of an environment: many copies side by side, chosen in recipes by `{kind: name, ...}`.

Sizes its owner decides (`count`) are positional, what a recipe may set is keyword-only. A copy whose episode ends is started anew at
once; how an episode starts is a pure function of (seed, copy, episode), so one copy's fate never depends on another's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Transition(NamedTuple):
    """What one step of all copies gave; first dimension: copy."""

    observation: Tensor
    """(N, D) float32, what to act on next: of the new episode where one has ended."""
    final: Tensor
    """(N, D) float32, where the action led: of the old episode where one has ended."""
    reward: Tensor
    """(N,) float32."""
    terminated: Tensor
    """(N,) bool, the episode ended by itself: there is no future to value."""
    truncated: Tensor
    """(N,) bool, the time limit cut the episode: its future still has a value."""


class Environment(ABC):
    """`count` copies of a world with observations (N, observation_size) and actions 0 .. actions-1."""

    observation_size: int
    actions: int

    def __init__(self, count: int):
        self.count = count

    @abstractmethod
    def reset(self, seed: int) -> Tensor:
        """Start episode 0 of every copy; observations (N, D)."""

    @abstractmethod
    def step(self, actions: Tensor) -> Transition:
        """Act in every copy, actions (N,) integers."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Everything needed to continue, as tensors."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Continue from what `state` gave; the observations (N, D) it was left with."""
