"""Several data sets as one: a pass goes through each as often as it is given, wholly or in part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ftheta.core.contract import Batch, Ports
from ftheta.core.late import torch
from ftheta.data.source import Dataset
from ftheta.data.stages import digest

if TYPE_CHECKING:
    from torch import Tensor


class Mixed(Dataset):
    """Data sets end to end. `epochs` says how often a pass visits the examples of each: 2 all twice, 0.5 another half of them every time."""

    def __init__(self, datasets: Mapping[str, Dataset], epochs: Mapping[str, float]):
        self.datasets = list(datasets.values())
        self.epochs = [epochs[name] for name in datasets]
        self.starts = torch.tensor([0, *(len(dataset) for dataset in self.datasets)]).cumsum(0)

    @property
    def ports(self) -> Ports:
        return self.datasets[0].ports

    @property
    def fingerprint(self) -> str:
        return digest([[dataset.fingerprint, epochs] for dataset, epochs in zip(self.datasets, self.epochs, strict=True)])

    @property
    def units_per_example(self) -> int:
        return self.datasets[0].units_per_example

    def __len__(self) -> int:
        return int(self.starts[-1])

    def visits(self) -> int:
        return sum(round(epochs * len(dataset)) for dataset, epochs in zip(self.datasets, self.epochs, strict=True))

    def visited(self, draws: torch.Generator) -> Tensor:
        chosen = []
        for start, dataset, epochs in zip(self.starts[:-1].tolist(), self.datasets, self.epochs, strict=True):
            whole, rest = divmod(round(epochs * len(dataset)), len(dataset))
            chosen += [torch.arange(len(dataset)).repeat(whole) + start, torch.randperm(len(dataset), generator=draws)[:rest] + start]
        return torch.cat(chosen)

    def batch(self, rows: Tensor) -> Batch:
        of = torch.searchsorted(self.starts, rows, right=True) - 1
        batch: Batch = {}
        for number in of.unique().tolist():
            mine = of == number
            for name, value in self.datasets[number].batch(rows[mine] - self.starts[number]).items():
                batch.setdefault(name, value.new_empty((len(rows), *value.shape[1:])))[mine] = value
        return batch


def by_share(shares: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    """How often each part is gone through so that they have these shares of what is seen, and as much is seen as there is."""
    total, all_shares = sum(sizes.values()), math.fsum(shares.values())
    return {name: share / all_shares * total / sizes[name] for name, share in shares.items()}
