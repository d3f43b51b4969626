"""Which weights of a model are kept in few bits: linear maps, and the tables that logits are made with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from ftheta.blocks.head import Head
from ftheta.blocks.linear import Linear, put
from ftheta.blocks.quantised import Quantisation, QuantisedLinear, QuantisedTable
from ftheta.core.errors import ConfigError, Problem, suggest

TABLES = Quantisation(bits=8)
"""How tables are kept."""


def keep_in_few_bits(model: nn.Module, how: Quantisation, names: Sequence[str] | None = None) -> None:
    """Keep weights of a model in few bits from now on: the linear maps and heads named, or all linear maps.

    A head's table has 8 bits, and embeddings that share it read the same. Raises ConfigError for a name that is neither.
    """
    heads = tables(model)
    maps = {name: part for name, part in model.named_modules() if type(part) is Linear}
    for name in maps if names is None else names:
        if name in maps:
            put(model, name, QuantisedLinear(maps[name], how))
        elif name in heads and how == TABLES:
            keep_table(model, heads[name])
        else:
            raise ConfigError([Problem(("few_bits", "maps"), f"'{name}' is no linear map of the model{suggest(name, {**maps, **heads}, 'maps')}")])


def keep_all_in_few_bits(model: nn.Module, how: Quantisation) -> None:
    """Keep every linear map of a model so, and the tables of its heads in 8 bits."""
    keep_in_few_bits(model, TABLES, list(tables(model)))
    keep_in_few_bits(model, how)


def tables(model: nn.Module) -> dict[str, Head]:
    """The heads of a model whose tables are real numbers, by name."""
    return {name: part for name, part in model.named_modules() if isinstance(part, Head) and part.kept is None}


def keep_table(model: nn.Module, head: Head) -> None:
    """Keep a head's table in 8 bits, which every embedding and head that shares it then uses."""
    weight, kept = head.weight, QuantisedTable(head.weight)
    for parent in list(model.modules()):
        for name, part in list(parent.named_children()):
            if isinstance(part, nn.Embedding) and part.weight is weight:
                setattr(parent, name, kept)
            elif isinstance(part, Head) and part.weight is weight:
                part.keep(kept)


def few_bits(model: nn.Module) -> list[dict[str, Any]]:
    """Which weights of a model are kept in few bits, and how."""
    found: list[dict[str, Any]] = []
    for name, part in model.named_modules():
        how = part.how if isinstance(part, QuantisedLinear) else TABLES if isinstance(part, Head) and part.kept is not None else None
        if how is not None:
            if not found or found[-1]["how"] != how.dump():
                found.append({"how": how.dump(), "maps": []})
            found[-1]["maps"].append(name)
    return found
