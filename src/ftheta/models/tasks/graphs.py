"""Tasks over graphs: name the class of nodes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ftheta.core.config import Config
from ftheta.data.processors.graph import GraphProcessor
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


class NodeClassification(Task[Network, Nodes, GraphProcessor]):
    """Name the class of every node of a graph."""

    name = "node-classification"
    input = Network
    output = Nodes

    @torch.no_grad()
    def run(self, inputs: Sequence[Network]) -> list[Nodes]:
        answers = []
        for network in inputs:
            batch = self.processor.encode(network.nodes, network.edges)
            answers.append(Nodes(nodes=labelled(self.architecture(nodes=batch["nodes"], edges=batch["edges"])["logits"], self.processor)))
        return answers

    def show(self, output: Nodes) -> str:
        return "\n".join(f"{i}: {node.line()}" for i, node in enumerate(output.nodes))
