"""y = after(skip(x) + inner(before(x))): one wiring for GPT (before = norm), BERT (after = norm), ResNet (skip, after = relu) and, with nothing
added, a plain stack of layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ftheta.blocks.context import Context, Informed


class Residual(nn.Module):
    """Wraps any inner part; the context goes to the parts that read it. Unless it `adds`, skip(x) is left out. `scale` is applied to what the inner part
    gives; `skipped` is how often a row goes without it in training.
    """

    def __init__(
        self, inner: nn.Module, before: nn.Module | None = None, after: nn.Module | None = None, skip: nn.Module | None = None, dropout: float = 0.0,
        adds: bool = True, scale: nn.Module | None = None, skipped: float = 0.0,
    ):
        super().__init__()
        self.before = before
        self.inner = inner
        self.after = after
        self.skip = skip
        self.scale = scale
        self.dropout = dropout
        self.adds = adds
        self.skipped = skipped

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        y = x if self.before is None else self.before(x)
        y = self.inner(y, context) if isinstance(self.inner, Informed) else self.inner(y)
        if self.scale is not None:
            y = self.scale(y)
        if self.dropout:
            y = nn.functional.dropout(y, self.dropout, self.training)
        if self.skipped and self.training:
            y = stochastic_depth(y, self.skipped)
        if self.adds:
            y = y + (x if self.skip is None else self.skip(x))
        return y if self.after is None else self.after(y)


def stochastic_depth(y: Tensor, skipped: float) -> Tensor:
    """Rows (B, ...) zero with this probability, the others larger by 1 / (1 - skipped), so that the mean stays (Huang et al. 2016, arXiv:1603.09382)."""
    kept = torch.empty(len(y), *(1 for _ in y.shape[1:]), dtype=y.dtype, device=y.device).bernoulli_(1 - skipped)
    return y * (kept / (1 - skipped))


def rising(most: float, count: int) -> list[float]:
    """How often each of so many layers is skipped: never the first, then more and more, up to `most` for the last."""
    return [most * i / max(1, count - 1) for i in range(count)]


class LayerScale(nn.Module):
    """y = w · x over the last dimension, w starting at `initial` (Touvron et al. 2021, arXiv:2103.17239)."""

    def __init__(self, dim: int, initial: float):
        super().__init__()
        self.initial = initial
        self.weight = nn.Parameter(torch.full((dim,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.to(x.dtype)
