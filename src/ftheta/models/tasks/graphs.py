"""Tasks over graphs: name the class of nodes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ftheta.core.config import Config
from ftheta.core.errors import UsageError
from ftheta.data.processors.plain import PlainProcessor
from ftheta.models.tasks.answers import Labelled, labelled
from ftheta.models.tasks.task import Task


class Network(Config):
    """A graph: a row of features for every node, and edges between nodes."""

    nodes: list[list[float]]
    """Features, one list a node."""
    edges: list[list[int]]
    """Pairs [from, to] of node numbers; an undirected edge stands twice."""


class Nodes(Config):
    """An answer for every node."""

    nodes: list[Labelled]
    """In the order of the input."""


class NodeClassification(Task[Network, Nodes, PlainProcessor]):
    """Name the class of every node of a graph."""

    name = "node-classification"
    input = Network
    output = Nodes

    @torch.no_grad()
    def run(self, inputs: Sequence[Network]) -> list[Nodes]:
        width, answers = self.architecture.config.ports().sizes["D"], []
        for network in inputs:
            for i, row in enumerate(network.nodes):
                if len(row) != width:
                    raise UsageError(f"node {i} has {len(row)} features, the model takes {width}")
            for i, pair in enumerate(network.edges):
                if len(pair) != 2 or not all(0 <= end < len(network.nodes) for end in pair):
                    raise UsageError(f"edge {i}: {pair} is not a pair of node numbers from 0 to {len(network.nodes) - 1}")
            edges = torch.tensor(network.edges, dtype=torch.long).reshape(-1, 2).t()
            logits = self.architecture(nodes=torch.tensor(network.nodes), edges=edges)["logits"]
            answers.append(Nodes(nodes=labelled(logits, self.processor)))
        return answers

    def show(self, output: Nodes) -> str:
        return "\n".join(f"{i}: {node.line()}" for i, node in enumerate(output.nodes))
