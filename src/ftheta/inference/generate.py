"""Continuing a sequence of tokens with a causal model that remembers (attention caches, recurrent state)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ftheta.architectures.architecture import Architecture
from ftheta.blocks.context import Cache
from ftheta.inference.sampling import Sampling, choose


@torch.no_grad()
def continue_tokens(
    model: Architecture, tokens: Sequence[int], sampling: Sampling, *, most: int, longest: int | None, end: int | None, banned: Sequence[int] = (),
) -> Iterator[int]:
    """Yield up to `most` new tokens after `tokens`, until `end` comes.

    `longest` is how many tokens the model can look at; when they are used up, it goes on from the last half of them.
    """
    model.eval()
    device = next(model.parameters()).device
    history = list(tokens)
    fresh = history if longest is None else history[-longest:]
    cache = Cache()
    for position in range(most):
        if longest is not None and cache.length + len(fresh) > longest:
            cache, fresh = Cache(), history[-max(1, longest // 2) :]
        outputs = model(tokens=torch.tensor([fresh], device=device), cache=cache)
        logits = model.head(outputs["hidden"][:, -1])[0].float()                          # type: ignore[operator]
        logits[list(banned)] = float("-inf")
        token = choose(logits, sampling, position)
        if token == end:
            return
        yield token
        history.append(token)
        fresh = [token]
