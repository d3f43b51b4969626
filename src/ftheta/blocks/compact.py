"""Rows of unequal length without their padding: the real tokens of several rows share one, as documents that do not see each other.

What a layer computes at a token depends on its document alone, so a model gives the same for every real token, and does nothing for padding
but what is left at the ends of the shared rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ftheta.core.best_fit import best_fit

WORTH = 0.9
"""Share of the rows that must be left at most, or moving the tokens costs more than it saves."""


class Compact(NamedTuple):
    """Where every token of (B, T) rows stands in (R, T) shared rows, R < B."""

    documents: Tensor
    """(R, T) the documents of the shared rows, padding -1."""
    taken: Tensor
    """(R · T,) which of the B · T tokens stands there; any where there is padding."""
    given: Tensor
    """(B · T,) where each of the B · T tokens stands; any for padding."""
    real: Tensor
    """(B, T) which tokens are no padding."""

    def gather(self, values: Tensor) -> Tensor:
        """(B, T) → (R, T)."""
        return values.flatten()[self.taken].view_as(self.documents)

    def scatter(self, hidden: Tensor) -> Tensor:
        """(R, T, D) → (B, T, D), padding 0."""
        return hidden.flatten(0, 1)[self.given].view(*self.real.shape, -1) * self.real[:, :, None]


def compact(documents: Tensor) -> Compact | None:
    """How rows with these documents (B, T), padding -1 at either end, are put together; None when it would not pay."""
    real = documents >= 0
    lengths = real.sum(1).cpu()
    count, width = documents.shape
    if int(lengths.sum()) > WORTH * count * width:
        return None
    rows = best_fit(lengths.numpy(), width)
    if len(rows) > WORTH * count:
        return None
    order = torch.tensor([row for shared in rows for row in shared])
    place = torch.tensor([number for number, shared in enumerate(rows) for _ in shared])
    ends = lengths[order].cumsum(0)
    first = torch.searchsorted(place, torch.arange(len(rows)))                            # of every shared row, its first row in the order
    starts = ends - lengths[order]
    offset = torch.empty(count, dtype=torch.int64)
    offset[order] = place * width + starts - starts[first][place]                         # where a row begins among the R · T
    device = documents.device
    within = real.cumsum(1) - 1
    given = torch.where(real, offset.to(device)[:, None] + within, 0).flatten()
    source = real.flatten().nonzero()[:, 0]
    taken = torch.zeros(len(rows) * width, dtype=torch.int64, device=device)
    shared = torch.full((len(rows) * width,), -1, dtype=documents.dtype, device=device)
    many = int(documents.max()) + 1
    numbers = documents + many * torch.arange(count, device=device)[:, None]              # rows stay apart, and so do the documents of a row
    taken[given[source]] = source
    shared[given[source]] = numbers.flatten()[source].to(documents.dtype)
    return Compact(shared.view(len(rows), width), taken, given, real)
