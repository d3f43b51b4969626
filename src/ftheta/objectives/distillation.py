"""Learning from another model's answers (Hinton et al. 2015, arXiv:1503.02531). With the logits z of the model in training and t of its teacher,

    total = α Σ -log softmax(z)_right + (1 - α) τ² Σ KL(softmax(t / τ) ‖ softmax(z / τ)) + β Σ (1 - cos(h, h'))

over the places where `of` asks; h and h' are both models' last hidden states there (Sanh et al. 2019, arXiv:1910.01108, who compare them at all tokens).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PrivateAttr, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ftheta.core.config import Slot, slot
from ftheta.core.contract import Batch, Loss, Needs
from ftheta.core.errors import ConfigError, Problem, UsageError
from ftheta.core.random import Draws
from ftheta.data.processors.processor import Processor
from ftheta.objectives import TAUGHT
from ftheta.objectives.language import with_auxiliary
from ftheta.objectives.objective import Choosing, Objective, Phase, Run

CHUNK = 1024
"""Places whose logits are made together; those of a whole batch never are."""


class Distillation(Objective):
    """What a teacher says is probable, as well as what is right."""

    kind: Literal["distillation"] = "distillation"
    teacher: str
    """The folder of a model that answers the same questions: the same tokens, or the same classes. It is run in every step, and never moves."""
    of: Annotated[Choosing, Slot(TAUGHT)] = slot("next_token")
    """What both are asked."""
    temperature: float = Field(default=2.0, gt=0)
    """Divides the logits of both, so that what is improbable is heard too: τ."""
    labels: float = Field(default=0.5, ge=0, le=1)
    """Share of the loss against what is right: α; the rest is against the teacher."""
    hidden: float = Field(default=0.0, ge=0)
    """How much the hidden states should point where the teacher's do: β; they must be of one size."""
    _teacher: tuple[nn.Module, Run] | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def has_hidden_states(self) -> Distillation:
        if self.hidden and "hidden" not in self.of.needs().wants:
            raise ConfigError([Problem(("hidden",), f"'{self.of.name}' asks for one answer a row, not at tokens: leave it 0")])
        return self

    @property
    def lookahead(self) -> int:                                                           # type: ignore[override]
        return self.of.lookahead

    @property
    def companion(self) -> str:
        return self.teacher

    def accompanied(self, model: nn.Module, run: Run) -> Self:
        told = self.model_copy()
        told._teacher = (model.eval().requires_grad_(False), run)
        return told

    def needs(self) -> Needs:
        return self.of.needs()

    def prepare(self, batch: Batch, draws: Draws) -> Batch:
        return self.of.prepare(batch, draws)

    def with_tokens(self, processor: Processor) -> Self:
        return self.model_copy(update={"of": self.of.with_tokens(processor)})

    def tasks(self) -> dict[str, str]:
        return self.of.tasks()

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        if self._teacher is None:
            raise UsageError(f"objective 'distillation': its teacher ({self.teacher}) has not been loaded")
        teacher, ask = self._teacher
        teacher.compute_dtype = model.compute_dtype                                       # type: ignore[assignment]
        mine = self.of.places(model, run, batch)
        with torch.no_grad():
            theirs = self.of.places(teacher, ask, batch)
        if self.hidden and mine.hidden.shape != theirs.hidden.shape:
            sizes = f"{mine.hidden.shape[-1]:,} and the teacher's {theirs.hidden.shape[-1]:,}"
            raise UsageError(f"objective.hidden: the hidden states have {sizes} numbers: make the model's as large, or leave hidden 0")

        def compared(hidden: Tensor, other: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
            """Both sums of a chunk of places: (2,)."""
            logits = mine.head(hidden)
            with torch.no_grad():
                answers = (theirs.head(other) / self.temperature).log_softmax(-1)
            soft = self.temperature**2 * F.kl_div((logits / self.temperature).log_softmax(-1), answers, reduction="none", log_target=True).sum(-1)
            return torch.stack([self.of.wrong(logits, targets) * weights, soft * weights]).sum(-1)

        columns = (mine.hidden, theirs.hidden, mine.targets, mine.weights.to(torch.promote_types(mine.hidden.dtype, torch.float32)))
        sums = [checkpoint(compared, *chunk, use_reentrant=False) for chunk in zip(*(column.split(CHUNK) for column in columns), strict=True)]
        right, soft = torch.stack(sums).sum(0).unbind() if sums else mine.hidden.new_zeros(2).unbind()                                   # type: ignore[arg-type]
        total, count = self.labels * right + (1 - self.labels) * soft, mine.weights.sum()
        metrics: dict[str, tuple[Tensor | float, Tensor | float]] = {"labels": (right.detach(), count), "teacher": (soft.detach(), count)}
        if self.hidden:
            apart = ((1 - F.cosine_similarity(mine.hidden.to(right.dtype), theirs.hidden.to(right.dtype), dim=-1)) * mine.weights).sum()
            total, metrics["hidden"] = total + self.hidden * apart, (apart.detach(), count)
        found = with_auxiliary(model, mine.outputs, total, count)
        return Loss(found.total, found.count, {**metrics, **found.metrics})
