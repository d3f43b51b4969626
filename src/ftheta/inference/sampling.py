"""Choosing a token from logits: greedy, or sampled, after penalties and after unlikely tokens are left out.

Every step is a function of its own. Those on logits come first: bias, repetition penalty (Keskar et al. 2019, arXiv:1909.05858), presence
and frequency penalty, no repeated n-grams (Paulus et al. 2017, arXiv:1705.04304). Then temperature and top-k (Fan et al. 2018,
arXiv:1805.04833), then on the sorted probabilities top-p (Holtzman et al. 2019, arXiv:1904.09751), min-p (Nguyen et al. 2024,
arXiv:2407.01082) and typical (Meister et al. 2022, arXiv:2202.00666).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from ftheta.core.config import Config
from ftheta.core.random import generator

NEVER = float("-inf")


class Sampling(Config):
    """How the next token is chosen."""

    temperature: float = Field(default=0.8, ge=0)
    """Divides the logits; 0 takes the likeliest token."""
    top_k: int | None = Field(default=None, gt=0)
    """Choose among this many likeliest tokens."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Choose among the likeliest tokens that together hold this probability."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Choose among tokens at least this share as likely as the likeliest."""
    typical: float = Field(default=1.0, gt=0, le=1)
    """Choose among the tokens whose surprise is nearest to what is expected, that together hold this probability."""
    repetition: float = Field(default=1.0, gt=0)
    """Divides positive logits, and multiplies negative ones, of tokens in the prompt or the new text."""
    presence: float = 0.0
    """Taken from the logit of every token that is in the new text."""
    frequency: float = 0.0
    """Taken from the logit of a token each time it is in the new text."""
    no_repeat: int | None = Field(default=None, gt=0)
    """No run of this many tokens comes twice, the prompt included."""
    bias: dict[int, float] = Field(default_factory=dict)
    """Token id → what is added to its logit."""
    least: int = Field(default=0, ge=0)
    """At least this many new tokens before the end may come."""
    seed: int = 0
    """Same seed, same text, whatever else is generated beside it."""


def adjusted(logits: Tensor, sampling: Sampling, prompt: Sequence[int], new: Sequence[int], end: int | None) -> Tensor:
    """Logits (V,) of the token after `prompt` and `new`, after bias, penalties and bans."""
    if sampling.bias:
        logits = biased(logits, sampling.bias)
    if sampling.repetition != 1:
        logits = less_repetition(logits, [*prompt, *new], sampling.repetition)
    if sampling.presence or sampling.frequency:
        logits = less_of(logits, new, sampling.presence, sampling.frequency)
    if sampling.no_repeat is not None:
        logits = without(logits, completions([*prompt, *new], sampling.no_repeat))
    if end is not None and len(new) < sampling.least:
        logits = without(logits, [end])
    return logits


def biased(logits: Tensor, bias: dict[int, float]) -> Tensor:
    """z_i + b_i."""
    ids = torch.tensor(list(bias), device=logits.device)
    return logits.index_add(0, ids, torch.tensor(list(bias.values()), dtype=logits.dtype, device=logits.device))


def less_repetition(logits: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """z / θ where z > 0 and z · θ where z < 0, for the tokens seen."""
    ids = torch.tensor(sorted(set(seen)), dtype=torch.long, device=logits.device)
    found = logits[ids]
    return logits.index_copy(0, ids, torch.where(found < 0, found * penalty, found / penalty))


def less_of(logits: Tensor, new: Sequence[int], presence: float, frequency: float) -> Tensor:
    """z_i - presence · [n_i > 0] - frequency · n_i, where n_i counts token i in the new text."""
    counts = Counter(new)
    ids = torch.tensor(list(counts), dtype=torch.long, device=logits.device)
    taken = torch.tensor([presence + frequency * count for count in counts.values()], dtype=logits.dtype, device=logits.device)
    return logits.index_add(0, ids, -taken)


def completions(seen: Sequence[int], length: int) -> list[int]:
    """The tokens that would repeat a run of `length` tokens."""
    tail = list(seen[len(seen) - length + 1 :])
    return [seen[i + length - 1] for i in range(len(seen) - length + 1) if list(seen[i : i + length - 1]) == tail]


def without(logits: Tensor, tokens: Sequence[int]) -> Tensor:
    """-inf for these tokens."""
    return logits.index_fill(0, torch.tensor(list(tokens), dtype=torch.long, device=logits.device), NEVER)


def choose(logits: Tensor, sampling: Sampling, position: int, row: int = 0) -> int:
    """A token id from adjusted logits (V,), the draw keyed by (seed, row, position)."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    logits = logits.double() / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < len(logits):
        logits = top_k(logits, sampling.top_k)
    ranked, order = logits.softmax(-1).sort(descending=True, stable=True)
    ranked = top_p(ranked, sampling.top_p)
    if sampling.min_p:
        ranked = min_p(ranked, sampling.min_p)
    if sampling.typical < 1:
        ranked = typical(ranked, sampling.typical)
    draw = torch.rand((), generator=generator(sampling.seed, row, "token", position), dtype=torch.float64) * ranked.sum()
    last = int(ranked.nonzero()[-1])
    return int(order[min(int((ranked.cumsum(-1) <= draw).sum()), last)])


def top_k(logits: Tensor, most: int) -> Tensor:
    """-inf for all but the `most` likeliest."""
    return logits.masked_fill(logits < logits.topk(most).values[-1], NEVER)


def top_p(ranked: Tensor, mass: float) -> Tensor:
    """Probabilities (V,), likeliest first, with 0 for those after the ones that hold `mass`."""
    return ranked * (ranked.cumsum(-1) - ranked < mass)


def min_p(ranked: Tensor, share: float) -> Tensor:
    """Probabilities (V,), likeliest first, with 0 for those below `share` of the first."""
    return ranked * (ranked >= share * ranked[0])


def typical(ranked: Tensor, mass: float) -> Tensor:
    """Probabilities (V,) with 0 for those beyond the ones nearest to the entropy H in |-log p - H| that hold `mass`."""
    p = ranked / ranked.sum()
    surprise = -p.log()
    distance = (surprise - (p * surprise).nansum()).abs()
    near, order = distance.sort()
    last = min(int((p[order].cumsum(-1) < mass).sum()), len(p) - 1)
    return ranked * (distance <= near[last])
