"""Batches to rehearse with: a few real rows repeated, or rows made from what the data section promises, before anything is read."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ftheta.core.contract import Batch, Ports
from ftheta.core.errors import ConfigError, Problem
from ftheta.core.random import Draws
from ftheta.data.source import Mates, Source
from ftheta.data.sources.source_config import Prepared
from ftheta.data.text import TextSource
from ftheta.lifecycle.build import batch_rows, build_source
from ftheta.lifecycle.recipe import STAND_IN, Recipe

MOST = 64
"""Rows looked at; more are these again."""


class StandIn(Source):
    """As many rows as asked for, all like the example's."""

    def __init__(self, example: Batch, ports: Ports, rows: int, units: int):
        self.example = example
        self.promised = ports
        self.rows = rows
        self.units = units

    @property
    def whole(self) -> bool:
        """Whether a batch is one thing, such as a graph, whose tensors have no rows in common."""
        return not all(shape.split()[1:2] == ["B"] for shape in self.promised.gives.values())

    @property
    def ports(self) -> Ports:
        return self.promised

    @property
    def fingerprint(self) -> str:
        return "stand-in"

    @property
    def batch_size(self) -> int:
        return self.rows

    @property
    def units_per_example(self) -> int:
        return self.units

    @property
    def steps_per_epoch(self) -> int:
        return 1

    def batch(self, step: int, slots: Tensor, model: object) -> Batch:
        if self.whole:
            return dict(self.example)
        rows = slots % len(next(iter(self.example.values())))
        return {name: values[rows] for name, values in self.example.items()}

    def row_bytes(self) -> int:
        """Of one row; of everything where there are no rows."""
        size = sum(values._nnz() * 20 if values.is_sparse else values.numel() * values.element_size() for values in self.example.values())
        return size if self.whole else size // len(next(iter(self.example.values())))


def rows_in_step(recipe: Recipe, data: Prepared | None) -> int:
    """Rows of one training step."""
    if data is not None and "train" in data.splits:
        return batch_rows(recipe, data.splits["train"])
    if recipe.train.batch_tokens and isinstance(recipe.data.source, TextSource):
        rows, rest = divmod(recipe.train.batch_tokens, units_in_row(recipe))
        if rest or not rows:
            raise ConfigError([Problem(("train", "batch_tokens"), f"{recipe.train.batch_tokens:,} is not a multiple of the {units_in_row(recipe):,} tokens of a row")])
        return rows
    return recipe.train.batch or 64


def units_in_row(recipe: Recipe) -> int:
    """Tokens of a row of text; 1 elsewhere."""
    return recipe.data.ports().sizes.get("T", 1) if isinstance(recipe.data.source, TextSource) else 1


def example_rows(recipe: Recipe, data: Prepared | None, rows: int) -> Batch:
    """A small batch as training gets it: of the data where it has been read, else made up."""
    if data is not None and "train" in data.splits:
        source = build_source(recipe, data)
        return source.batch(0, torch.arange(min(MOST, source.batch_size)), None)
    ports, few = recipe.data.ports(), min(rows, MOST)
    said = {name.rstrip("?"): shape for name, shape in recipe.objective.needs().reads.items() if name.endswith("?")} if recipe.objective.compares else {}
    shapes = {**ports.gives, **said}                                                      # what the start says of a row is worked out with the row
    made = {name: made_up(name, shape, ports.sizes, few, recipe.objective.lookahead) for name, shape in shapes.items()}
    draws, mates = Draws(torch.arange(few), few, recipe.seed, "plan"), Mates(ports.sizes.get("K", STAND_IN), lambda slots: made)
    for change in recipe.data.augment:
        made = change(made, draws, mates)
    return recipe.objective.prepare(made, draws)


def made_up(name: str, shape: str, sizes: Mapping[str, int], rows: int, lookahead: int) -> Tensor:
    """A tensor of a port's kind and dims. Every fourth row of tokens holds two documents, the others one."""
    kind, *letters = shape.split()
    dims = [rows if letter == "B" else sizes.get(letter, STAND_IN) + (lookahead if letter == "T" else 0) for letter in letters]
    if name == "documents":
        documents = torch.zeros(dims, dtype=torch.int64)
        documents[::4, dims[1] // 2 :] = 1
        return documents
    if kind in ("ids", "label", "place", "action", "edges"):
        return torch.zeros(dims, dtype=torch.int64)
    return torch.ones(dims, dtype=torch.bool if kind == "mask" else torch.float32)
