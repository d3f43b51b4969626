"""Where documents begin in rows of tokens, from the number of the document that each token stands in."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ftheta.core.contract import PADDING


def document_starts(documents: Tensor) -> Tensor:
    """(B, T) whether a token is the first of its run of equal document numbers; a row begins with one."""
    before = F.pad(documents, (1, 0), value=PADDING - 1)[:, : documents.shape[1]]        # a number that none has
    return documents != before


def document_runs(documents: Tensor) -> Tensor:
    """(B, T) number of each token's run of equal document numbers, counted over all rows: 0, 0, 1, 1, 1, 2, ..."""
    return document_starts(documents).flatten().cumsum(0).view_as(documents) - 1


def document_positions(documents: Tensor) -> Tensor:
    """(B, T) position of each token in its run of equal document numbers: 0, 1, 2, ... restarting at every border."""
    index = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    starts = document_starts(documents)
    run = starts.long().cumsum(dim=1) - 1
    began = torch.zeros_like(index).scatter_reduce(1, run, torch.where(starts, index, 0), "amax")
    return index - began.gather(1, run)
