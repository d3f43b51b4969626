"""Tokens that do not belong (ELECTRA; Clark et al. 2020, arXiv:2003.10555): a generator guesses hidden tokens, and a discriminator says of every token
whether it is the text's own or one that was drawn from the guesses.

With x the text, m the hidden tokens, x̃ the text with tokens drawn from p_G at m, and D the discriminator's log-odds of x̃_t ≠ x_t, over n real tokens:

    loss = [Σ_m -log p_G(x_t | x without m) / rate + weight · Σ_t BCE(D(x̃, t), x̃_t ≠ x_t)] / n

Of n tokens rate · n are hidden on average, so this is the mean over the hidden ones and weight times the mean over all, and still a sum over tokens with
one count, which micro-batches and processes share out exactly. A guess that happens to be right is no replacement. Nothing is followed back through the
draw: it is the inverse of the distribution function at a number in [0, 1) that `prepare` gives every token.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.core.random import Draws
from ftheta.data.tokenizers.trained import MASK
from ftheta.objectives.language import token_loss, with_auxiliary
from ftheta.objectives.masked import Masked
from ftheta.objectives.objective import NO_GRADIENTS, Phase, Run

ROWS = 256
"""Tokens drawn together: their probabilities are whole in memory."""


class ReplacedToken(Masked):
    """The generator's loss of hidden tokens, and the discriminator's of telling which tokens were replaced by its guesses. Every chosen token is masked."""

    kind: Literal["replaced_token"] = "replaced_token"                                    # type: ignore[assignment]
    weight: float = Field(default=50.0, gt=0)
    """How much the discriminator's mean over all tokens counts beside the generator's mean over the hidden ones."""

    def needs(self) -> Needs:
        return Needs(
            reads={"tokens": "ids B T"}, feeds={"tokens": "ids B T"}, wants={"hidden": "real B T D", "replaced": "logits B T"},
            traits={"guesses": "the model has no generator whose guesses could replace tokens; choose model 'generator_discriminator'", "gradients": NO_GRADIENTS},
        )

    def prepare(self, batch: Batch, draws: Draws) -> Batch:
        hidden = super().prepare(batch, draws)
        tokens = hidden["targets"].masked_fill(hidden["chosen"], MASK if self.mask_id is None else self.mask_id)
        return {**hidden, "tokens": tokens, "uniform": draws.uniform(tokens.shape[1])}

    def learned(self, batch: Batch) -> dict[str, Tensor]:
        return {"tokens": real(batch), "targets": batch["chosen"]}

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        chosen, targets, counted = batch["chosen"], batch["targets"], real(batch)
        guessed = model.guess({**batch, "counted": chosen})                               # type: ignore[operator]
        hidden, generator = guessed["hidden"][chosen], model.generator
        right = targets[chosen]
        guess = token_loss(generator, hidden, right, torch.ones(len(hidden), device=hidden.device))         # type: ignore[arg-type]
        first = with_auxiliary(model, guessed, guess, len(right))

        shown = targets.clone()
        shown[chosen] = drawn(generator.head, hidden.detach(), batch["uniform"][chosen])           # type: ignore[union-attr, arg-type]
        replaced = (shown != targets)[counted]
        odds = run(batch, tokens=shown)["replaced"][counted]
        odds = odds.to(torch.promote_types(odds.dtype, torch.float32))
        tell = F.binary_cross_entropy_with_logits(odds, replaced.to(odds.dtype), reduction="sum")
        count = len(odds)
        metrics = {
            **first.metrics, "generator": (guess.detach(), len(right)), "discriminator": (tell.detach(), count), "replaced": (replaced.sum(), count),
            "accuracy": (((odds.detach() > 0) == replaced).sum(), count),
        }
        return Loss(first.total / self.rate + self.weight * tell, count, metrics)

    def tasks(self) -> dict[str, str]:
        return {"tokens": "feature-extraction"}


def real(batch: Batch) -> Tensor:
    """(B, T) which tokens are no padding."""
    return batch["documents"] >= 0 if "documents" in batch else torch.ones_like(batch["chosen"])


@torch.no_grad()
def drawn(head: nn.Module, hidden: Tensor, uniform: Tensor) -> Tensor:
    """A token (N,) for each of hidden (N, D): the first up to which the probabilities come to more than uniform (N,), in [0, 1)."""
    found = []
    for start in range(0, max(1, len(hidden)), ROWS):
        rows = slice(start, start + ROWS)
        sums = head(hidden[rows]).softmax(-1, dtype=torch.float64).cumsum(-1)
        found.append(torch.searchsorted(sums, uniform[rows, None].double() * sums[:, -1:], right=True)[:, 0])
    return torch.cat(found)
