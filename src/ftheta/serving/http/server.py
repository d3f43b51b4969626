"""`ftheta serve`: models behind HTTP, until the process is told to stop; then what is being written may come to an end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftheta.core.errors import MissingExtraError, UsageError, suggest
from ftheta.models.folder import load
from ftheta.models.model import Model
from ftheta.serving.settings import Settings

try:
    import uvicorn
    from fastapi import FastAPI

    from ftheta.serving.http.app import create
    from ftheta.serving.http.guard import LOOPBACK
    from ftheta.serving.http.page import assets
    from ftheta.serving.http.served import Models, Served, name_of
except ImportError:
    raise MissingExtraError("fastapi", "serve", "a server") from None

KEY = "FTHETA_KEY"
DRAIN = 30
"""Seconds that answers have to come to an end."""


def serve(
    models: Sequence[str | Path], *, host: str = "127.0.0.1", port: int = 8000, key: str | None = None, hosts: Sequence[str] = (),
    settings: Settings | Mapping[str, Any] = Settings(), show: Callable[[str], None] = print, accept: str | None = None, adapters: Sequence[str] = (),
) -> None:
    """Serve these model folders until SIGTERM or Ctrl-C.

    `key` is what clients must send (by default the environment's FTHETA_KEY); without one, only this machine may ask. `accept` as in `load`.
    `adapters` are PEFT folders, each as `MODEL:NAME=FOLDER`, for requests to the model MODEL:NAME. Raises UsageError.
    """
    key = allowed(host, key)
    sizes = settings if isinstance(settings, Settings) else Settings.parse(dict(settings))
    served = Models(opened(models, sizes, accept, adapters))
    tell(served, show)
    show(f"listening on http://{host}:{port}/v1")
    show(f"the page is at http://{host}:{port}/")
    listen(create(served, key=key, hosts=hosts, page=assets()), host, port)


def allowed(host: str, key: str | None) -> str | None:
    """The key clients must send, the environment's where none is given. Raises UsageError for a host that needs one."""
    key = key or os.environ.get(KEY) or None
    if host not in LOOPBACK and key is None:
        raise UsageError(f"host: {host} can be reached from elsewhere, so a key is needed: set {KEY}, or serve on 127.0.0.1")
    return key


def opened(models: Sequence[str | Path], settings: Settings, accept: str | None = None, adapters: Sequence[str] = ()) -> list[Served]:
    """Models of folders, ready to answer. Raises UsageError and what `load` raises."""
    names = [name_of(model) for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"models: two are called '{twice[0]}': rename a folder")
    found = {name: load(model, accept=accept) for name, model in zip(names, models, strict=True)}
    for adapter in adapters:
        attach(found, adapter)
    return [Served(name, model, settings) for name, model in found.items()]


def tell(models: Models, show: Callable[[str], None]) -> None:
    """What is served, a line each."""
    for each in models:
        capacity = "" if each.worker is None else f"; {each.worker.engine.capacity}"
        show(f"{each.name}: {each.model.task.name}{capacity}")
        for adapter in each.adapters:
            show(f"{each.name}:{adapter}")


def listen(app: FastAPI, host: str, port: int) -> None:
    """Until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=DRAIN, server_header=False)
    uvicorn.Server(config).run()


def attach(models: Mapping[str, Model], adapter: str) -> None:
    """Give a model the adapter of `MODEL:NAME=FOLDER`. Raises UsageError."""
    name, _, folder = adapter.partition("=")
    model, _, short = name.partition(":")
    if model not in models or not short or not folder:
        raise UsageError(f"adapter: expected MODEL:NAME=FOLDER with one of the models {', '.join(models)}, got '{adapter}'{suggest(model, models, 'models')}")
    models[model].attach(folder, short)
