"""Message passing over one whole graph, nodes and edges -> a class for every node. GCN (Kipf & Welling 2017, arXiv:1609.02907) is the default.

    h_0 = x,   h_l = relu(layer_l(dropout(h_{l-1}), edges)),   logits = layer_L(dropout(h_{L-1}), edges)
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.architectures.architecture import Architecture, ArchitectureConfig, Outputs
from ftheta.blocks import MESSAGE_PASSING
from ftheta.blocks.initialise import glorot
from ftheta.blocks.message_passing import Edges
from ftheta.core.config import Part, Slot, from_data, slot
from ftheta.core.contract import Ports


class GraphConfig(ArchitectureConfig):
    """Sizes and parts of a graph network."""

    kind: Literal["graph"] = "graph"
    features: int = from_data("D")
    """Numbers that describe a node."""
    classes: int = from_data("K")
    """Classes to tell apart."""
    hidden: int = Field(default=16, gt=0)
    """Width between layers."""
    depth: int = Field(default=2, gt=0)
    """Number of layers: how many edges away a node sees."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of every layer's inputs dropped in training."""
    message_passing: Annotated[Part, Slot(MESSAGE_PASSING)] = slot("gcn")
    """How a node reads its neighbours."""

    def ports(self) -> Ports:
        return Ports(
            takes={"nodes": "features N D", "edges": "edges 2 E"}, gives={"hidden": "real N D", "logits": "logits N K"},
            sizes={"D": self.features, "K": self.classes}, traits=frozenset({"gradients", "whole_graph"}),
        )

    def build(self) -> Graph:
        return Graph(self)


class Graph(Architecture):
    """nodes (N, features), dense or sparse, and edges (2, E) → hidden (N, hidden), what the last layer reads, and logits (N, K)."""

    def __init__(self, config: GraphConfig):
        super().__init__()
        self.config: GraphConfig = config
        widths = [config.features, *[config.hidden] * (config.depth - 1), config.classes]
        self.layers = nn.ModuleList(config.message_passing.build(inputs=a, outputs=b) for a, b in pairwise(widths))

    def forward(self, nodes: Tensor, edges: Tensor) -> Outputs:
        hidden, graph = nodes.to(self.compute_dtype), Edges(edges, nodes.shape[0])
        for layer in self.layers[:-1]:
            hidden = layer(self.drop(hidden), graph).relu()
        return Outputs({"hidden": hidden, "logits": self.layers[-1](self.drop(hidden), graph)})

    def drop(self, x: Tensor) -> Tensor:
        """Dropout; of a sparse matrix only what is not zero needs a draw, which for bags of words is one number in a hundred."""
        if not x.is_sparse:
            return F.dropout(x, self.config.dropout, self.training)
        x = x.coalesce()
        values = F.dropout(x.values(), self.config.dropout, self.training)
        return torch.sparse_coo_tensor(x.indices(), values, x.shape, is_coalesced=True, check_invariants=False)

    def initialise(self, seed: int) -> None:
        """Glorot uniform maps, biases 0, as published."""
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                parameter.data.zero_()
            else:
                glorot(parameter, seed, name)
