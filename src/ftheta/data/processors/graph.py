"""Graphs ↔ tensors: features of nodes scaled as in training, edges checked, class numbers ↔ names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from ftheta.core.contract import Batch
from ftheta.core.errors import DataError
from ftheta.data.processors.processor import Processor


class GraphProcessor(Processor):
    """A graph's nodes and edges, given as lists."""

    kind = "graph"

    def __init__(self, features: int, labels: Sequence[str] = (), rows: bool = False):
        """`rows` divides every node's features by their sum."""
        self.features = features
        self.labels = list(labels)
        self.rows = rows

    def normalise(self, nodes: Tensor) -> Tensor:
        """(N, D) → (N, D)."""
        return nodes / nodes.sum(1, keepdim=True).clamp_min(1.0) if self.rows else nodes

    def encode(self, nodes: Sequence[Sequence[float]], edges: Sequence[Sequence[int]]) -> Batch:
        """`nodes` (N, D) and `edges` (2, E). Raises DataError naming the node or edge that does not fit."""
        for i, row in enumerate(nodes):
            if len(row) != self.features:
                raise DataError(f"node {i} has {len(row)} features, the model takes {self.features}")
        for i, pair in enumerate(edges):
            if len(pair) != 2 or not all(0 <= end < len(nodes) for end in pair):
                raise DataError(f"edge {i}: {list(pair)} is not a pair of node numbers from 0 to {len(nodes) - 1}")
        return {
            "nodes": self.normalise(torch.tensor(nodes, dtype=torch.float32)), "edges": torch.tensor(edges, dtype=torch.long).reshape(-1, 2).t().contiguous(),
        }

    def label(self, index: int) -> str:
        """The name of a class; its number where it has none."""
        return self.labels[index] if index < len(self.labels) else str(index)

    def dump(self) -> dict[str, Any]:
        return {"kind": self.kind, "features": self.features, "labels": self.labels, "rows": self.rows}

    @classmethod
    def load(cls, facts: Mapping[str, Any], folder: Path) -> Self:
        return cls(facts["features"], facts["labels"], facts["rows"])
