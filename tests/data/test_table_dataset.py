"""The data set of a table: rows by number, fingerprints, cuts."""

from __future__ import annotations

import torch

from ftheta.data.tables import TableDataset, split


def rows(count: int = 10) -> TableDataset:
    return TableDataset(torch.arange(2 * count).view(count, 2), ["a", "b"], label=torch.arange(count) % 2, classes=["no", "yes"])


def test_batches_ports_and_fingerprint() -> None:
    table = rows()
    batch = table.batch(torch.tensor([3, 0]))
    assert batch["features"].tolist() == [[6, 7], [0, 1]] and batch["features"].dtype == torch.float64 and batch["label"].tolist() == [1, 0]
    assert table.ports.sizes == {"D": 2, "K": 2} and set(table.ports.gives) == {"features", "label"}
    changed = rows()
    changed.columns["features"][0, 0] = 0.5
    assert table.fingerprint == rows().fingerprint != changed.fingerprint


def test_split_is_a_partition() -> None:
    parts = split(rows(), 0.2, 0.3, torch.Generator().manual_seed(0))
    assert {name: len(part) for name, part in parts.items()} == {"train": 5, "test": 3, "validation": 2}
    found = torch.cat([part.columns["features"][:, 0] for part in parts.values()]).sort().values
    assert torch.equal(found, rows().columns["features"][:, 0])
    assert set(split(rows(), 0.0, 0.01, torch.Generator())) == {"train", "test"}
