"""The contract of a reward, and several of them together: r = Σ weight · score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from ftheta.core.config import Config
from ftheta.data.sources.source_config import Judge


@dataclass(frozen=True)
class Completion:
    """A prompt and what a model wrote after it."""

    prompt: list[int]
    new: list[int]
    """The tokens written, with the one that ends them if they end."""
    question: str
    """The prompt as text."""
    text: str
    """What was written, as text."""
    answer: str
    """The right answer, as far as the prompts come with one; else empty."""
    ended: bool
    """Whether the model ended by itself, rather than being cut."""


class Reward(Config, ABC):
    """What a completion is worth; `kind` is its name in the catalogue."""

    weight: float = Field(default=1.0)
    """Times this it is added to the others."""

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        return str(getattr(self, "kind"))  # noqa: B009

    @abstractmethod
    def scores(self, completions: Sequence[Completion], judge: Judge | None) -> list[float]:
        """What each completion is worth, the weight left out."""


def worth(rewards: Sequence[Reward], completions: Sequence[Completion], judge: Judge | None) -> tuple[Tensor, dict[str, Tensor]]:
    """What all rewards together say of each completion (N,), and each of them by name, unweighted; those of one name are added up."""
    total, each = torch.zeros(len(completions)), dict[str, Tensor]()
    for reward in rewards:
        scores = torch.tensor(reward.scores(completions, judge))
        total += reward.weight * scores
        each[reward.name] = each.get(reward.name, torch.zeros(())) + scores
    return total, each
