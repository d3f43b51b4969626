"""The contract of an objective: what it needs, the phases of one step, the work on each batch and the loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

from torch import Tensor, nn
from torch.nn import functional as F

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

    def learned(self, batch: Batch) -> dict[str, Tensor]:
        """(B, T) by the name of a tensor of tokens: which of them the loss is about. Nothing where it is about whole rows."""
        return {}

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

    @property
    def companion(self) -> str | None:
        """The folder of a model that is run beside the one in training and neither moves nor is saved; none: there is none."""
        return None

    def accompanied(self, model: nn.Module, run: Run) -> Self:
        """The objective, given its companion and how to run it."""
        return self

    def tasks(self) -> dict[str, str]:
        """What a trained model is used for: model input, or input and port where the port decides → task name."""
        return {}


class Places(NamedTuple):
    """What a model says at the N places of a batch where one of K answers is right."""

    outputs: Mapping[str, Tensor]
    """All that the model gave."""
    hidden: Tensor
    """What the logits are made of: (N, D)."""
    head: Callable[[Tensor], Tensor]
    """Makes logits (n, K) of some of them (n, D)."""
    targets: Tensor
    """The right answers: (N,)."""
    weights: Tensor
    """How much each place counts: (N,)."""


class Choosing(Objective, ABC):
    """An objective that asks at the places of a batch which of K answers is right."""

    @abstractmethod
    def places(self, model: nn.Module, run: Run, batch: Batch) -> Places:
        """Where it asks, and what this model says there; the same places for any model."""

    def wrong(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss (n,) of logits (n, K)."""
        return F.cross_entropy(logits, targets, reduction="none")


class Coupled(Objective, ABC):
    """An objective whose loss couples the examples of a batch, through a few numbers of each: the vectors of contrastive learning.

    Each example's vectors are its own (`embed`); only `couple` looks at all of them. So a batch of any size is trained exactly in
    micro-batches and over processes: vectors first, then the loss's gradient at them, then each micro-batch again (`training.backward`).
    """

    @property
    def couples(self) -> bool:
        """Whether it does couple them, in the form chosen; if not, the losses of parts of a batch simply add up."""
        return True

    @abstractmethod
    def embed(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Batch:
        """What `couple` needs of every example, its first dimension being the example: outputs of the model, and of the batch what is needed besides.

        A tensor without dimensions (a learned temperature) is one for the whole batch.
        """

    @abstractmethod
    def couple(self, embedded: Batch, phase: Phase) -> Loss:
        """The loss of the whole batch from what `embed` gave of all its parts, in order."""

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        return self.couple(self.embed(model, run, batch, phase), phase)
