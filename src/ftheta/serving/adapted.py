"""Adapters chosen sequence by sequence: y = (W x + B A x) · r on the rows of the sequences that use them, W x on all others (as S-LoRA does, Sheng et
al. 2023, arXiv:2311.03285).

The product with W is one for all rows. What an adapter adds is worked out for its rows only, by hooks on the maps, so the model stays as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ftheta.architectures.decoder import Decoder
from ftheta.blocks.linear import Linear
from ftheta.blocks.moe import MoE
from ftheta.blocks.quantised import QuantisedLinear
from ftheta.core.errors import UsageError, suggest
from ftheta.models.adapters import Adapters, Change, changes


class Route(threading.local):
    """Which rows of the pass this thread is in use which adapter; other threads that use the model are told nothing."""

    rows: Mapping[str, Tensor] | None = None
    """Adapter → (N,) its rows."""
    count = 0
    """Rows of the pass."""


class Adapted:
    """The low-rank adapters beside a model, each for the rows that choose it. Raises UsageError for those that cannot be chosen by row.

    None can be chosen while one is in use for all (`Model.use`).
    """

    def __init__(self, architecture: Decoder, adapters: Adapters):
        self.route = Route()
        self.known: set[str] = set()
        found: dict[str, dict[str, Change]] = {}
        for name, adapter in adapters.known.items() if not adapters.used else ():
            if adapter.kind != "LORA":
                raise UsageError(f"adapter '{name}': learned tokens stand before all texts of an engine: put it to use with Model.use, or leave it out")
            for place, change in changes(architecture, adapter).items():
                self.ensure_by_row(architecture, name, place)
                found.setdefault(place, {})[name] = change
            self.known.add(name)
        self.hooks = [architecture.get_submodule(place).register_forward_hook(self.hook(mine)) for place, mine in found.items()]

    def ensure_by_row(self, architecture: Decoder, name: str, place: str) -> None:
        """Raise UsageError for a map that does not see every row in its order."""
        above = [".".join(place.split(".")[:i]) for i in range(1, place.count(".") + 1)]
        inside = any(isinstance(architecture.get_submodule(each), MoE) for each in above)
        if inside or not place.startswith("layers.") or not isinstance(architecture.get_submodule(place), Linear | QuantisedLinear):
            raise UsageError(f"adapter '{name}' changes {place}, which is not computed row by row: use the merged model")

    def ensure(self, name: str | None) -> None:
        """Raise UsageError where no such adapter can be chosen."""
        if name is not None and name not in self.known:
            raise UsageError(f"adapter: none is called '{name}'{suggest(name, self.known, 'adapters')}")

    def hook(self, mine: Mapping[str, Change]) -> Any:
        def add(part: Linear | QuantisedLinear, inputs: tuple[Tensor], y: Tensor) -> Tensor | None:
            if not (rows := self.route.rows):
                return None
            x = inputs[0].flatten(0, -2)
            assert len(x) == self.route.count
            flat = y.flatten(0, -2).clone()
            for name in rows.keys() & mine.keys():
                change, here = mine[name], rows[name]
                own = flat[here] + F.linear(F.linear(x[here], change.down.to(x.dtype)), change.up.to(x.dtype))
                if change.ratio is not None:
                    bias = 0.0 if part.bias is None else part.bias.to(x.dtype)
                    own = (own - bias) * change.ratio.to(x.dtype) + bias
                flat[here] = own
            return flat.view_as(y)

        return add

    def choose(self, adapters: Iterable[str | None], device: torch.device) -> None:
        """Say for every row of this thread's next pass which adapter it uses."""
        chosen: dict[str, list[int]] = {}
        named = list(adapters)
        for row, name in enumerate(named):
            if name is not None:
                chosen.setdefault(name, []).append(row)
        self.route.rows = {name: torch.tensor(rows, device=device) for name, rows in chosen.items()}
        self.route.count = len(named)

    def close(self) -> None:
        """Take the hooks away."""
        for hook in self.hooks:
            hook.remove()
