"""The running statistics of batch norm, worked out anew for parameters that no step of training ended with: those of an average (Izmailov et al. 2018,
arXiv:1803.05407), or the last ones, which statistics that follow slowly lag behind. Over N batches, each counted alike: mean of their means, mean of their variances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from ftheta.blocks.norm import BatchNorm2d


@torch.no_grad()
def re_estimate(model: nn.Module, passes: Iterable[Callable[[], object]]) -> int:
    """Make these passes of the model over batches, in training, and keep their statistics; how many batch norms that was about. Frozen ones stay."""
    model.train()
    norms = [part for part in model.modules() if isinstance(part, BatchNorm2d) and part.training]
    if norms:
        followed = [part.momentum for part in norms]
        for part in norms:
            part.reset_running_stats()
            part.momentum = None                                                          # every batch counts alike
        for look in passes:
            look()
        for part, momentum in zip(norms, followed, strict=True):
            part.momentum = momentum
    return len(norms)
