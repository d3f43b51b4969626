"""The next token, and what objectives over tokens share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.objectives.objective import NO_GRADIENTS, Choosing, Phase, Places, Run


def with_auxiliary(model: nn.Module, outputs: Mapping[str, Tensor], total: Tensor, count: Tensor | int) -> Loss:
    """The loss of tokens, and in training what the model adds of its own accord (`auxiliary`, such as the balance of experts): a sum over
    the tokens that were fed as `counted`, so that both terms have the same count.

    Outside of training the loss is that of the tokens alone, so that it can be compared between models.
    """
    if not model.training or "auxiliary" not in outputs:
        return Loss(total, count)
    extra = outputs["auxiliary"].sum()
    return Loss(total + extra, count, {"auxiliary": (extra.detach(), count)})


def token_loss(model: nn.Module, hidden: Tensor, targets: Tensor, weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Weighted sum of the cross-entropies of targets (N,) given hidden states (N, D), through the model's head in chunks.

    Outside of training nothing is smoothed, so that losses can be compared between models.
    """
    return model.head.loss(hidden, targets, weights, smoothing=smoothing if model.training else 0.0)    # type: ignore[operator, union-attr]


class LeftToRight(Choosing):
    """What is learned by saying tokens from left to right, each from those before it."""

    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Probability mass that targets leave to all tokens alike, in training."""

    def learned(self, batch: Batch) -> dict[str, Tensor]:
        found = torch.ones_like(batch["tokens"], dtype=torch.bool)
        found[:, 0] = False                                                               # nothing comes before it
        if "documents" in batch:
            documents = batch["documents"]
            found[:, 1:] = (documents[:, 1:] == documents[:, :-1]) & (documents[:, 1:] >= 0)
        return {"tokens": found & batch["learned"] if "learned" in batch else found}      # of a conversation only the answers

    def places(self, model: nn.Module, run: Run, batch: Batch) -> Places:
        tokens, counted = batch["tokens"], self.learned(batch)["tokens"][:, 1:]
        shorter = {name: batch[name][:, :-1] for name in ("tokens", "documents", "prefix") if name in batch}
        outputs = run({**batch, **shorter}, counted=counted)                              # what else there is, such as a source, is for the model
        return Places(outputs, outputs["hidden"].flatten(0, 1), model.head, tokens[:, 1:].flatten(), counted.float().flatten())         # type: ignore[arg-type]

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        at = self.places(model, run, batch)
        return with_auxiliary(model, at.outputs, token_loss(model, at.hidden, at.targets, at.weights, self.smoothing), at.weights.sum())


class NextToken(LeftToRight):
    """-Σ log p(x_{t+1} | x_{≤t}) over every token that has a next one in its document; given a source too, where the model takes one."""

    lookahead: ClassVar[int] = 1
    kind: Literal["next_token"] = "next_token"

    def needs(self) -> Needs:
        return Needs(
            reads={"tokens": "ids B T", "learned?": "mask B T"}, feeds={"tokens": "ids B T"},
            wants={"hidden": "real B T D", "logits": "logits B T V"},
            traits={"causal": "the model looks at both sides of a token, so it would see the answer it must predict; "
                              "choose one that only looks back (a decoder, or mixer.causal: true), or objective 'masked'",
                    "gradients": NO_GRADIENTS},
        )

    def tasks(self) -> dict[str, str]:
        return {"source": "translation", "tokens": "text-generation"}
