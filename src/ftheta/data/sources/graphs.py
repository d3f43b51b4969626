"""Graphs whose nodes are classified: the citation network Cora with its public split, and made-up communities that need no file.

A split is a data set of one example, the whole graph, with the mask of the nodes it may use; the labels of all other nodes are hidden.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ftheta.core.contract import Batch, Ports
from ftheta.core.errors import DataError
from ftheta.core.random import generator
from ftheta.data.catalogue import locate
from ftheta.data.processors.graph import GraphProcessor
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import ResidentSource
from ftheta.data.stages import digest

HIDDEN = -100
"""The label of a node outside the mask; cross-entropy leaves it out by itself."""

GIVES = {"nodes": "features N D", "edges": "edges 2 E", "label": "label N", "mask": "mask N"}


TOPICS = (
    "theory", "reinforcement learning", "genetic algorithms", "neural networks", "probabilistic methods", "case-based reasoning", "rule learning",
)
"""Cora's classes; the published files only number them, but no two hold equally many papers."""


class GraphDataset(Dataset):
    """One graph: nodes (N, D), dense or sparse, edges (2, E) from source to target, label (N,) and the nodes (n,) of this split."""

    def __init__(self, nodes: Tensor, edges: Tensor, label: Tensor, members: Tensor, classes: int):
        mask = torch.zeros(len(label), dtype=torch.bool)
        mask[members] = True
        self.nodes = nodes.coalesce() if nodes.is_sparse else nodes
        self.graph: Batch = {"nodes": self.nodes, "edges": edges, "label": torch.where(mask, label, HIDDEN), "mask": mask}
        self.classes = classes

    @property
    def ports(self) -> Ports:
        return Ports(gives=GIVES, sizes={"D": self.nodes.shape[1], "K": self.classes})

    @property
    def fingerprint(self) -> str:
        features = [self.nodes.indices(), self.nodes.values()] if self.nodes.is_sparse else [self.nodes]
        parts = [*features, self.graph["edges"], self.graph["label"], self.graph["mask"]]
        return digest([list(self.nodes.shape), *(digest(part.contiguous().numpy().tobytes()) for part in parts)])

    def __len__(self) -> int:
        return 1

    def batch(self, rows: Tensor) -> Batch:
        return dict(self.graph)


class Planetoid(ResidentSource):
    """Cora: 2,708 papers, 1,433 words, 5,278 citations (both ways), 7 topics; 140 papers to train on, 500 to validate, 1,000 to test.

    The public split of Yang et al. 2016, arXiv:1603.08861; a paper's word features sum to 1, as in Kipf & Welling 2017.
    """

    kind: Literal["planetoid"] = "planetoid"
    name: Literal["cora"] = "cora"
    """Which citation network."""

    def ports(self) -> Ports:
        return Ports(gives=GIVES)

    def processor(self, train: Dataset) -> GraphProcessor:
        return GraphProcessor(train.ports.sizes["D"], TOPICS, rows=True)

    def splits(self, cache: Path, seed: int) -> dict[str, Dataset]:
        place = locate("planetoid") / f"{self.name}.npz"
        try:
            with np.load(place, allow_pickle=False) as file:
                arrays = {name: torch.from_numpy(file[name].astype(np.int64 if file[name].dtype.kind == "i" else np.float32)) for name in file.files}
        except (OSError, ValueError) as error:
            raise DataError(f"{place} cannot be read as arrays: {error}") from None
        words, label = arrays["x_indptr"].diff(), arrays["y"]
        rows = torch.repeat_interleave(torch.arange(len(words)), words)
        total = torch.zeros(len(words)).index_add_(0, rows, arrays["x_data"]).clamp_min(1.0)
        shape = (int(arrays["x_shape"][0]), int(arrays["x_shape"][1]))
        index = torch.stack([rows, arrays["x_indices"]])
        nodes = torch.sparse_coo_tensor(index, arrays["x_data"] / total[rows], shape, check_invariants=True)
        classes = int(label.max()) + 1
        names = {"train": "train_idx", "validation": "val_idx", "test": "test_idx"}
        return {split: GraphDataset(nodes, arrays["edge_index"], label, arrays[name], classes) for split, name in names.items()}


class Communities(ResidentSource):
    """A stochastic block model: two nodes of one class are linked more often than two of different classes (Holland et al. 1983).

    A node's features are its class's random direction plus noise. The same sizes always give the same graph.
    """

    kind: Literal["communities"] = "communities"
    nodes: int = Field(default=400, gt=0)
    """Nodes of the graph."""
    classes: int = Field(default=4, gt=1)
    """Communities, of equal size."""
    features: int = Field(default=16, gt=0)
    """Numbers that describe a node."""
    inside: float = Field(default=0.05, ge=0, le=1)
    """Chance of a link between two nodes of one class."""
    between: float = Field(default=0.005, ge=0, le=1)
    """Chance of a link between two nodes of different classes."""
    noise: float = Field(default=2.0, ge=0)
    """Standard deviation of the noise on features whose classes lie about 1.4 apart in every coordinate."""
    labelled: int = Field(default=10, gt=0)
    """Nodes of each class to train on; half of the others validate, half test."""
    variant: int = 0
    """Another graph of the same sizes."""

    def ports(self) -> Ports:
        return Ports(gives=GIVES, sizes={"D": self.features, "K": self.classes})

    def processor(self, train: Dataset) -> GraphProcessor:
        return GraphProcessor(self.features)

    def splits(self, cache: Path, seed: int) -> dict[str, Dataset]:
        if self.nodes < self.classes * (self.labelled + 2):
            raise DataError(f"data.source.nodes: {self.nodes} nodes are too few for {self.classes} classes with {self.labelled} labelled nodes each "
                            f"and two more: use at least {self.classes * (self.labelled + 2)}")
        draws = generator("communities", self.variant)
        label = torch.arange(self.nodes) % self.classes
        chance = torch.where(label[:, None] == label, self.inside, self.between)
        above = torch.triu(torch.rand(self.nodes, self.nodes, generator=draws) < chance, diagonal=1)
        edges = (above | above.t()).nonzero().t().contiguous()
        centres = torch.randn(self.classes, self.features, generator=draws)
        nodes = centres[label] + self.noise * torch.randn(self.nodes, self.features, generator=draws)
        train = torch.arange(self.classes * self.labelled)                               # labels take turns, so the first nodes hold each equally often
        rest = torch.arange(len(train), self.nodes)
        half = (len(rest) + 1) // 2
        members = {"train": train, "validation": rest[:half], "test": rest[half:]}
        return {split: GraphDataset(nodes, edges, label, member, self.classes) for split, member in members.items()}
