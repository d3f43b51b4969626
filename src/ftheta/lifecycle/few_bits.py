"""What keeping frozen weights in few bits saves, and what it costs before anything is learned: bytes, and the objective's loss on the first
validation rows with the weights as they were and as they are kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ftheta.architectures.architecture import Architecture, Outputs, call
from ftheta.blocks.quantised import QuantisedLinear
from ftheta.core.contract import Batch
from ftheta.core.random import seed_all
from ftheta.data.source import Source
from ftheta.data.sources.source_config import Prepared
from ftheta.lifecycle.build import build_validation
from ftheta.lifecycle.equal_compute import bits_per_byte
from ftheta.lifecycle.recipe import Recipe
from ftheta.objectives.objective import Objective

ROWS = 64
"""Validation rows looked at, in batches as in training."""


def few_bits(recipe: Recipe, objective: Objective, data: Prepared, model: Architecture, before: float | None) -> dict[str, Any]:
    """The facts for training.json; `before` is `first_loss` of the model before its weights were kept in few bits. Nothing when none are."""
    parts = [part for part in model.modules() if isinstance(part, QuantisedLinear)]
    if not parts:
        return {}
    sizes = [buffer.numel() * buffer.element_size() for part in parts for buffer in part.parts()]
    exact = sum(part.in_features * part.out_features for part in parts) * torch.float32.itemsize
    facts: dict[str, Any] = {"bytes": sum(sizes), "float32_bytes": exact}
    after = first_loss(recipe, objective, data, model)
    if before is not None and after is not None:
        facts |= {"validation_loss": after, "float32_validation_loss": before}
        if recipe.objective.name == "next_token" and "tokens" in data.account:
            factor = bits_per_byte(data.account, "validation")
            facts |= {"bits_per_byte": after * factor, "float32_bits_per_byte": before * factor}
    return {"few_bits": facts}


@torch.no_grad()
def first_loss(recipe: Recipe, objective: Objective, data: Prepared, model: Architecture) -> float | None:
    """The objective's mean loss on the first validation rows; None when there are none."""
    source: Source | None = build_validation(recipe, data)
    if source is None:
        return None

    def run(batch: Batch, **more: Tensor) -> Outputs:
        return call(model, batch, **more)

    total, count, training = 0.0, 0.0, model.training
    model.eval()
    for step in range(max(1, min(ROWS // source.batch_size, source.steps_per_epoch or 1))):
        seed_all(recipe.seed, "few bits", step)
        loss = objective.loss(model, run, source.batch(step, torch.arange(source.batch_size), model), objective.phases()[-1])
        total, count = total + float(loss.total), count + float(loss.count or 1)
    model.train(training)
    return total / count
