"""Graph convolution against a dense formula and against PyTorch Geometric."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ftheta.blocks.message_passing import GCN, Edges


def graph(nodes: int = 30, edges: int = 90, loops: bool = True) -> Tensor:
    """A directed graph without repeated edges, some of them to the node itself if wished."""
    draws = torch.Generator().manual_seed(0)
    index = torch.randint(nodes, (2, edges), generator=draws)
    index = index[:, index[0] != index[1]].unique(dim=1)
    return torch.cat([index, torch.tensor([[3, 7], [3, 7]])], dim=1) if loops else index


def layer(inputs: int, outputs: int) -> GCN:
    torch.manual_seed(0)
    made = GCN(inputs, outputs)
    torch.nn.init.normal_(made.bias)
    return made


def test_normalised_matrix_is_the_formula() -> None:
    edges = graph()
    dense = torch.zeros(30, 30)
    dense[edges[1], edges[0]] = 1.0
    dense.fill_diagonal_(1.0)
    degree = dense.sum(1)
    expected = dense / (degree[:, None] * degree[None]).sqrt()
    torch.testing.assert_close(Edges(edges, 30).symmetric.to_dense(), expected)


@pytest.mark.parametrize("loops", [False, True])
def test_equal_to_pytorch_geometric(loops: bool) -> None:
    theirs = pytest.importorskip("torch_geometric.nn").GCNConv(12, 5)
    mine = layer(12, 5)
    theirs.lin.weight.data.copy_(mine.map.weight)
    theirs.bias.data.copy_(mine.bias)
    edges, x = graph(loops=loops), torch.randn(30, 12)
    ours, reference = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, expected = mine(ours, Edges(edges, 30)), theirs(reference, edges)
    torch.testing.assert_close(y, expected, atol=1e-6, rtol=1e-6)
    y.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.grad, reference.grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mine.map.weight.grad, theirs.lin.weight.grad, atol=1e-5, rtol=1e-5)


def test_sparse_features_give_what_dense_ones_give() -> None:
    mine, edges = layer(12, 5), Edges(graph(), 30)
    x = torch.randn(30, 12) * (torch.rand(30, 12) < 0.2)
    dense, sparse = mine(x, edges), mine(x.to_sparse(), edges)
    torch.testing.assert_close(sparse, dense)
    gradients = [torch.autograd.grad(y.square().sum(), mine.map.weight)[0] for y in (dense, sparse)]
    torch.testing.assert_close(*gradients)


def test_messages_flow_from_source_to_target() -> None:
    mine, edges = layer(4, 4), Edges(torch.tensor([[0], [1]]), 3)
    x = torch.randn(3, 4)
    changed = x.clone()
    changed[0] += 1.0
    moved = (mine(changed, edges) != mine(x, edges)).any(1)
    assert moved.tolist() == [True, True, False]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_type_of_the_input_is_kept(dtype: torch.dtype) -> None:
    assert layer(4, 3)(torch.randn(30, 4, dtype=dtype), Edges(graph(), 30)).dtype == dtype
