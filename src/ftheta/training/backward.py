"""From a batch to gradients: forward and backward, micro-batch by micro-batch, on sums.

Where the loss of parts adds up, each part's is followed back by itself. Where it couples the examples (`Coupled`), the gradient is that of the
whole batch all the same, by the chain rule at the vectors v = embed(x; θ) of all micro-batches and processes (Gao et al. 2021, arXiv:2101.06983):

    1. v of every micro-batch, without a graph      2. g = ∂ couple(v) / ∂v      3. every micro-batch again, and back from its rows of g

Both passes draw the same dropout. A process with a single micro-batch keeps its graph, and makes one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ftheta.core import distributed
from ftheta.core.contract import Batch, Loss
from ftheta.core.errors import UsageError
from ftheta.objectives.objective import Coupled, Objective, Phase, Run

Part = Callable[[], Batch]
"""A micro-batch: seeds the draws of its place in the step and gives its rows."""


@dataclass
class Totals:
    """What has been summed: the loss, how many things, and further (sum, count) pairs."""

    total: float = 0.0
    count: float = 0.0
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, loss: Loss) -> None:
        self.total += float(loss.total.detach())
        self.count += 1.0 if loss.count is None else float(loss.count)
        for name, (value, n) in loss.metrics.items():
            old = self.metrics.get(name, (0.0, 0.0))
            self.metrics[name] = (old[0] + float(value), old[1] + float(n))


def accumulate(objective: Objective, model: nn.Module, run: Run, phase: Phase, parts: Sequence[Part], slots: Tensor, rows: int) -> Totals:
    """Losses and, where gradients are enabled, the gradients of their sum, of this process's micro-batches, which fill `slots` of the step's `rows`."""
    if isinstance(objective, Coupled) and objective.couples:
        return together(objective, model, run, phase, parts, slots, rows)
    return separately(objective, model, run, phase, parts)


def separately(objective: Objective, model: nn.Module, run: Run, phase: Phase, parts: Sequence[Part]) -> Totals:
    """Each micro-batch by itself. Raises UsageError where the loss says that it couples them."""
    found = Totals()
    for part in parts:
        batch = part()
        loss = objective.loss(model, run, batch, phase)
        if loss.count is None and (len(parts) > 1 or distributed.world() > 1):
            raise UsageError(f"objective '{objective.name}' couples the examples of a batch: micro-batches or several processes would change it")
        if torch.is_grad_enabled():
            loss.total.backward()
        found.add(loss)
    return found


def together(objective: Coupled, model: nn.Module, run: Run, phase: Phase, parts: Sequence[Part], slots: Tensor, rows: int) -> Totals:
    """All micro-batches of all processes as one batch; see the top of the file. The first process counts the loss, which all have worked out."""
    training, once = torch.is_grad_enabled(), len(parts) == 1
    with torch.set_grad_enabled(training and once):
        embedded = [objective.embed(model, run, part(), phase) for part in parts]
    mine = {name: torch.cat([each[name] for each in embedded]) if value.ndim else value for name, value in embedded[0].items()} if embedded else {}
    whole = distributed.rows_of_all({name: value.detach() for name, value in mine.items()}, slots, rows)
    whole = {name: value.requires_grad_(training) if value.is_floating_point() else value for name, value in whole.items()}
    loss = objective.couple(whole, phase)
    found = Totals()
    if distributed.rank() == 0:
        found.add(loss)
    if not training:
        return found
    loss.total.backward()
    start = 0
    for number, part in enumerate(parts):
        again = embedded[0] if once else objective.embed(model, run, part(), phase)
        size = max((len(value) for value in again.values() if value.ndim), default=0)
        place, start = slots[start : start + size], start + size
        first = number == 0 and distributed.rank() == 0                                   # what is one for the whole batch is followed back once
        pairs = [(value, whole[name].grad) for name, value in again.items() if value.requires_grad and (value.ndim or first)]
        pairs = [(value, grad[place] if value.ndim else grad) for value, grad in pairs if grad is not None]
        torch.autograd.backward([value for value, _ in pairs], [grad for _, grad in pairs])
    return found
