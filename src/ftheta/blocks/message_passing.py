"""Layers over graphs: every node reads its neighbours. Graph convolution is Kipf & Welling 2017, arXiv:1609.02907."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ftheta.blocks.linear import Linear


class Edges:
    """The edges of one graph and what layers derive from them, computed once a pass.

    `index` (2, E) holds the source (row 0) and the target (row 1) of every edge; messages flow from source to target.
    """

    def __init__(self, index: Tensor, nodes: int):
        self.index = index
        self.nodes = nodes

    @cached_property
    def symmetric(self) -> Tensor:
        """Â = D^-½ (A + I) D^-½ as a sparse (N, N) float32 matrix, every node with exactly one edge to itself; D counts incoming edges."""
        loops = torch.arange(self.nodes, device=self.index.device).expand(2, -1)
        index = torch.cat([self.index[:, self.index[0] != self.index[1]], loops], dim=1)
        source, target = index
        scale = torch.bincount(target, minlength=self.nodes).double().rsqrt()
        return torch.sparse_coo_tensor(index.flip(0), (scale[source] * scale[target]).float(), (self.nodes, self.nodes), check_invariants=False)

    def averaged(self, x: Tensor) -> Tensor:
        """Â x."""
        if not torch.compiler.is_exporting():
            return propagate(self.symmetric, x)
        source, target = self.index                                                       # a program has no sparse matrices: the same sums, edge by edge
        weight = (source != target).double()
        scale = weight.new_ones(self.nodes).index_add(0, target, weight).rsqrt()
        share = (weight * scale[source] * scale[target]).to(x.dtype)
        return (x * scale.square().to(x.dtype)[:, None]).index_add(0, target, x[source] * share[:, None])


class MessagePassing(nn.Module, ABC):
    """(N, inputs) → (N, outputs). The input of a first layer may be a sparse matrix, as bags of words are."""

    @abstractmethod
    def forward(self, x: Tensor, edges: Edges) -> Tensor: ...


class GCN(MessagePassing):
    """y = Â x Wᵀ + b: the mean of a node and its neighbours, weighted by 1 / sqrt(degree · degree)."""

    def __init__(self, inputs: int, outputs: int, *, bias: Annotated[bool, Field(description="Whether b is there.")] = True):
        super().__init__()
        self.map = Linear(inputs, outputs, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        mapped = torch.sparse.mm(x, self.map.weight.to(x.dtype).t()) if x.is_sparse else self.map(x)
        y = edges.averaged(mapped)
        return y if self.bias is None else y + self.bias.to(y.dtype)


def propagate(matrix: Tensor, x: Tensor) -> Tensor:
    """A sparse matrix (N, N) times x (N, D), at least in float32 (sparse products know no half precision); x's type."""
    exact = torch.promote_types(x.dtype, torch.float32)
    return torch.sparse.mm(matrix.to(exact), x.to(exact)).to(x.dtype)
