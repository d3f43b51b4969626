"""What a server serves. As JSON it is all that another process needs to serve the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import Field

from ftheta.core.config import Config
from ftheta.core.errors import UsageError, suggest
from ftheta.models.folder import load
from ftheta.models.model import Model
from ftheta.serving.http.app import create
from ftheta.serving.http.served import Served, name_of
from ftheta.serving.settings import Settings

KERNELS = {"LRU_CACHE_CAPACITY": "64", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}
"""How many compiled kernels of products in bfloat16 are kept, one for every number of rows: each takes half a megabyte, and a thousand are kept otherwise."""
DRAIN = 30
"""Seconds that answers have to come to an end."""
LISTENING: dict[str, Any] = {"log_level": "warning", "timeout_graceful_shutdown": DRAIN, "server_header": False, "http": "h11", "loop": "asyncio"}
"""How uvicorn listens: in one way, whatever else is installed."""


class Order(Config):
    """Models, and how they are to be served."""

    models: tuple[str, ...] = Field(min_length=1)
    """Model folders."""
    key: str | None = None
    """What clients must send."""
    hosts: tuple[str, ...] = ()
    """Names the server goes by besides those of this machine."""
    settings: Settings = Settings()
    """Sizes and bounds of every engine."""
    accept: str | None = None
    """As in `load`."""
    adapters: tuple[str, ...] = ()
    """PEFT folders, each as MODEL:NAME=FOLDER."""
    precision: str = "float32"
    """As in `Model.compute_in`."""
    draft: str | None = None
    """The folder of a model that guesses ahead for those that write."""
    ahead: int = Field(default=4, gt=0)
    """How many tokens it guesses."""

    def from_anywhere(self) -> Order:
        """The same with whole paths, for processes that begin in other folders."""
        def whole(place: str) -> str:
            return str(Path(place).absolute()) if Path(place).exists() else place

        adapters = tuple("".join((*parts[:2], whole(parts[2]))) for parts in (each.partition("=") for each in self.adapters))
        return self.replace(models=tuple(map(whole, self.models)), adapters=adapters, draft=None if self.draft is None else whole(self.draft))

    def app(self, show: Callable[[str], None]) -> FastAPI:
        """The models, opened, and the routes to them; what there is to say of each is shown. Raises UsageError and what `load` raises."""
        for name, most in KERNELS.items():
            os.environ.setdefault(name, most)
        names = [name_of(model) for model in self.models]
        opened = {name: load(model, accept=self.accept) for name, model in zip(names, self.models, strict=True)}
        for adapter in self.adapters:
            attach(opened, adapter)
        guessing = None if self.draft is None else load(self.draft).compute_in(self.precision)
        for model in opened.values():
            model.compute_in(self.precision)
            if guessing is not None:
                model.draft(guessing, self.ahead)
        served = [Served(name, model, self.settings) for name, model in opened.items()]
        for each in served:
            capacity = "" if each.worker is None else f"; {each.worker.engine.capacity}"
            show(f"{each.name}: {each.model.task.name}{capacity}")
            for adapter in each.adapters:
                show(f"{each.name}:{adapter}")
        return create(served, key=self.key, hosts=self.hosts)


def attach(models: Mapping[str, Model], adapter: str) -> None:
    """Give a model the adapter of `MODEL:NAME=FOLDER`. Raises UsageError."""
    name, _, folder = adapter.partition("=")
    model, _, short = name.partition(":")
    if model not in models or not short or not folder:
        raise UsageError(f"adapter: expected MODEL:NAME=FOLDER with one of the models {', '.join(models)}, got '{adapter}'{suggest(model, models, 'models')}")
    models[model].attach(folder, short)
