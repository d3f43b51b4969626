"""Choosing a token from logits: greedy, or sampled with temperature, top-k and nucleus (Holtzman et al. 2019, arXiv:1904.09751)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ftheta.core.config import Config
from ftheta.core.random import generator


class Sampling(Config):
    """How the next token is chosen."""

    temperature: float = Field(default=0.8, ge=0)
    """Divides the logits; 0 takes the likeliest token."""
    top_k: int | None = Field(default=None, gt=0)
    """Choose among this many likeliest tokens."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Choose among the likeliest tokens that together hold this probability."""
    seed: int = 0
    """Same seed, same text, whatever else is generated beside it."""


def choose(logits: Tensor, sampling: Sampling, position: int, row: int = 0) -> int:
    """A token id from logits (V,), the draw keyed by (seed, row, position)."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    logits = logits.double() / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(sampling.top_k).values[-1], float("-inf"))
    ranked, order = logits.softmax(-1).sort(descending=True, stable=True)
    ranked = ranked * (ranked.cumsum(-1) - ranked < sampling.top_p)
    draw = torch.rand((), generator=generator(sampling.seed, row, "token", position), dtype=torch.float64) * ranked.sum()
    return int(order[min(int((ranked.cumsum(-1) <= draw).sum()), int((ranked > 0).sum()) - 1)])
