"""`ftheta serve`: models behind HTTP, until the process is told to stop; then what is being written may come to an end."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftheta.core.errors import MissingExtraError, UsageError, suggest
from ftheta.models.folder import load
from ftheta.models.model import Model
from ftheta.serving.http.served import Served, name_of
from ftheta.serving.settings import Settings

try:
    import uvicorn

    from ftheta.serving.http.app import create
    from ftheta.serving.http.guard import LOOPBACK
except ImportError:
    raise MissingExtraError("fastapi", "serve", "a server") from None

KEY = "FTHETA_KEY"
KERNELS = {"LRU_CACHE_CAPACITY": "64", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}
"""How many compiled kernels of products in bfloat16 are kept, one for every number of rows: each takes half a megabyte, and a thousand are kept otherwise."""
DRAIN = 30
"""Seconds that answers have to come to an end."""


def serve(
    models: Sequence[str | Path], *, host: str = "127.0.0.1", port: int = 8000, key: str | None = None, hosts: Sequence[str] = (),
    settings: Settings | Mapping[str, Any] = Settings(), show: Callable[[str], None] = print, accept: str | None = None, adapters: Sequence[str] = (),
    precision: str = "float32", draft: str | Path | None = None, ahead: int = 4,
) -> None:
    """Serve these model folders until SIGTERM or Ctrl-C.

    `key` is what clients must send (by default the environment's FTHETA_KEY); without one, only this machine may ask. `accept` as in `load`.
    `adapters` are PEFT folders, each as `MODEL:NAME=FOLDER`, for requests to the model MODEL:NAME. `precision` as in `Model.compute_in`, `draft` is the
    folder of a model that guesses `ahead` for those that write, as in `Model.draft`.
    Raises UsageError.
    """
    key = key or os.environ.get(KEY) or None
    if host not in LOOPBACK and key is None:
        raise UsageError(f"host: {host} can be reached from elsewhere, so a key is needed: set {KEY}, or serve on 127.0.0.1")
    names = [name_of(model) for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"models: two are called '{twice[0]}': rename a folder")
    for name, most in KERNELS.items():
        os.environ.setdefault(name, most)
    sizes = settings if isinstance(settings, Settings) else Settings.parse(dict(settings))
    opened = {name: load(model, accept=accept) for name, model in zip(names, models, strict=True)}
    for adapter in adapters:
        attach(opened, adapter)
    guessing = None if draft is None else load(draft).compute_in(precision)
    for model in opened.values():
        model.compute_in(precision)
        if guessing is not None:
            model.draft(guessing, ahead)
    served = [Served(name, model, sizes) for name, model in opened.items()]
    for each in served:
        capacity = "" if each.worker is None else f"; {each.worker.engine.capacity}"
        show(f"{each.name}: {each.model.task.name}{capacity}")
        for adapter in each.adapters:
            show(f"{each.name}:{adapter}")
    show(f"listening on http://{host}:{port}/v1")
    config = uvicorn.Config(
        create(served, key=key, hosts=hosts), host=host, port=port,
        log_level="warning", timeout_graceful_shutdown=DRAIN, server_header=False,
    )
    uvicorn.Server(config).run()


def attach(models: Mapping[str, Model], adapter: str) -> None:
    """Give a model the adapter of `MODEL:NAME=FOLDER`. Raises UsageError."""
    name, _, folder = adapter.partition("=")
    model, _, short = name.partition(":")
    if model not in models or not short or not folder:
        raise UsageError(f"adapter: expected MODEL:NAME=FOLDER with one of the models {', '.join(models)}, got '{adapter}'{suggest(model, models, 'models')}")
    models[model].attach(folder, short)
