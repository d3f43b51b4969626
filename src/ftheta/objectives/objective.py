"""The contract of an objective: what it needs, the phases of one step, the work on each batch and the loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

from torch import nn

from ftheta.core.config import Config
from ftheta.core.contract import Batch, Loss, Needs
from ftheta.core.random import Draws
from ftheta.data.processors.processor import Processor

NO_GRADIENTS = "the model is fitted by its own algorithm and has no gradients to follow; use objective 'fit', or a model that learns by gradients"
"""What to say when a model lacks the trait `gradients`."""


class Phase(NamedTuple):
    """One forward, backward and optimizer step within a training step, moving one player's parameters."""

    name: str
    player: str = ""
    """The submodule whose parameters move; empty for the whole model."""


Run = Callable[..., Any]
"""How an objective runs the model: `run(batch, **replacements) -> Outputs`."""


class Objective(Config, ABC):
    """What training minimises; `kind` is its name in the catalogue."""

    lookahead: ClassVar[int] = 0
    """How many tokens beyond a row it needs to see."""

    @property
    def name(self) -> str:
        """Its name in the catalogue."""
        return str(getattr(self, "kind"))  # noqa: B009

    @abstractmethod
    def needs(self) -> Needs:
        """What it reads from the data, feeds to the model and wants of it."""

    def phases(self) -> tuple[Phase, ...]:
        """The steps within a step; several when players oppose each other."""
        return (Phase("main"),)

    def prepare(self, batch: Batch, draws: Draws) -> Batch:
        """Random per-row work (masking, noise), done in the loader; the same for a row in any micro-batch or process."""
        return batch

    @abstractmethod
    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        """The loss of one (micro-)batch. `run(batch)` applies the model to the tensors its ports name."""

    @property
    def controls(self) -> tuple[str, ...]:
        """Control tokens that its texts are written with; those that a tokenizer lacks are added to it."""
        return ()

    def with_tokens(self, processor: Processor) -> Self:
        """The objective, told what it needs to know of tokens, such as the ids of control tokens. Raises ConfigError when one is missing."""
        return self

    @property
    def compares(self) -> bool:
        """Whether it reads what the model that training starts from says of every example (see `reference`)."""
        return False

    def reference(self, model: nn.Module, run: Run, batch: Batch) -> Batch:
        """What the model that training starts from says of every row: added to the batch as further tensors (B,)."""
        return {}

    def tasks(self) -> dict[str, str]:
        """What a trained model is used for: model input → task name."""
        return {}
