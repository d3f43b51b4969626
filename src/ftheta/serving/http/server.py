"""`ftheta serve`: models behind HTTP, until the process is told to stop; then what is being written may come to an end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ftheta.core.errors import MissingExtraError, UsageError, suggest
from ftheta.serving.settings import Settings

try:
    import uvicorn
    from fastapi import FastAPI

    from ftheta.serving.http.apart import serve_apart
    from ftheta.serving.http.cluster import serve_on_ray
    from ftheta.serving.http.guard import LOOPBACK
    from ftheta.serving.http.order import LISTENING, Order, address, bound
except ImportError:
    raise MissingExtraError("fastapi", "serve", "a server") from None

KEY = "FTHETA_KEY"


def serve(
    models: Sequence[str | Path], *, host: str = "127.0.0.1", port: int = 8000, key: str | None = None, hosts: Sequence[str] = (),
    settings: Settings | Mapping[str, Any] = Settings(), show: Callable[[str], None] = print, accept: str | None = None, adapters: Sequence[str] = (),
    precision: str = "float32", draft: str | Path | None = None, ahead: int = 4, apart: bool = False,
    on: str = "local", replicas: str = "1",
) -> None:
    """Serve these model folders until SIGTERM or Ctrl-C.

    `key` is what clients must send (by default the environment's FTHETA_KEY); without one, only this machine may ask. `accept` as in `load`.
    `adapters` are PEFT folders, each as `MODEL:NAME=FOLDER`, for requests to the model MODEL:NAME. `precision` as in `Model.compute_in`, `draft` is the
    folder of a model that guesses `ahead` for those that write, as in `Model.draft`. With `apart` the models are in a process of their own, which is
    started again when it dies. `on` is who serves: `local`, this process, or `ray`, a cluster, with so many `replicas` ("2"), or as many as there is
    work for between two numbers ("1-4"). Raises UsageError.
    """
    order = Order(
        models=tuple(map(str, models)), key=allowed(host, key), hosts=tuple(hosts),
        settings=settings if isinstance(settings, Settings) else Settings.parse(dict(settings)), accept=accept, adapters=tuple(adapters),
        precision=precision, draft=None if draft is None else str(draft), ahead=ahead,
    )
    if on != "local":
        serve_on_ray(order, host, port, between(on, replicas, apart), show)
        return
    with bound(host, port) as listener:
        if apart:
            serve_apart(order, listener, show)
            return
        app = order.app(show)
        show(f"listening on {address(listener)}v1")
        show(f"the page is at {address(listener)}")
        listen(app, listener)


def allowed(host: str, key: str | None) -> str | None:
    """The key clients must send, the environment's where none is given. Raises UsageError for a host that needs one."""
    key = key or os.environ.get(KEY) or None
    if host not in LOOPBACK and key is None:
        raise UsageError(f"host: {host} can be reached from elsewhere, so a key is needed: set {KEY}, or serve on 127.0.0.1")
    return key


def listen(app: FastAPI, listener: socket.socket) -> None:
    """Until SIGTERM or Ctrl-C."""
    uvicorn.Server(uvicorn.Config(app, **LISTENING)).run([listener])


def between(on: str, replicas: str, apart: bool) -> tuple[int, int]:
    """How many replicas at least and at most. Raises UsageError."""
    if on != "ray":
        raise UsageError(f"on: '{on}' is none{suggest(on, ('local', 'ray'), 'places')}")
    if apart:
        raise UsageError("apart: replicas have processes of their own already: leave it out")
    least, _, most = replicas.partition("-")
    if not least.isdecimal() or not (most or least).isdecimal() or not 0 < int(least) <= int(most or least):
        raise UsageError(f"replicas: expected a number, as 2, or two, as 1-4, got '{replicas}'")
    return int(least), int(most or least)
