"""What a server serves. As JSON it is all that another process needs to serve the same."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI
from pydantic import Field, model_validator

from ftheta.core.config import Config
from ftheta.core.errors import UsageError, suggest
from ftheta.models.folder import load
from ftheta.models.model import Model
from ftheta.serving.http.app import create
from ftheta.serving.http.page import assets
from ftheta.serving.http.served import Models, Served, name_of
from ftheta.serving.settings import Settings

KERNELS = {"LRU_CACHE_CAPACITY": "64", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64"}
"""How many compiled kernels of products in bfloat16 are kept, one for every number of rows: each takes half a megabyte, and a thousand are kept otherwise."""
T = TypeVar("T")
DRAIN = 30
"""Seconds that answers have to come to an end."""
TAKEN = (errno.EADDRINUSE, errno.EACCES)
"""What is wrong with the port, not with the host."""
LISTENING: dict[str, Any] = {"log_level": "warning", "timeout_graceful_shutdown": DRAIN, "server_header": False, "http": "h11", "loop": "asyncio"}
"""How uvicorn listens: in one way, whatever else is installed."""


class Order(Config):
    """Models, and how they are to be served."""

    models: tuple[str, ...]
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

    @model_validator(mode="after")
    def one_name_each(self) -> Order:
        """Raise UsageError where two models have one name."""
        names = [name_of(model) for model in self.models]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(f"models: two are called '{twice[0]}': rename a folder")
        return self

    def opened(self) -> Models:
        """The models, ready to answer. Raises UsageError and what `load` raises."""
        return aside(self.opened_here)

    def opened_here(self) -> Models:
        for name, most in KERNELS.items():
            os.environ.setdefault(name, most)
        found = {name_of(model): load(model, accept=self.accept) for model in self.models}
        for adapter in self.adapters:
            attach(found, adapter)
        guessing = None if self.draft is None else load(self.draft).compute_in(self.precision)
        for model in found.values():
            model.compute_in(self.precision)
            if guessing is not None:
                model.draft(guessing, self.ahead)
        return Models(Served(name, model, self.settings) for name, model in found.items())

    def again(self, name: str) -> Served | None:
        """The model of this name, opened anew with its adapters; None where it is not of this order. Raises as `opened` does."""
        places = tuple(place for place in self.models if name_of(place) == name)
        adapters = tuple(each for each in self.adapters if each.partition("=")[0].partition(":")[0] == name)
        return next(iter(self.replace(models=places, adapters=adapters).opened()), None)

    def app(self, show: Callable[[str], None], models: Models | None = None) -> FastAPI:
        """The routes to these models, the ordered ones unless given; what there is to say of each is shown. Raises as `opened` does."""
        models = self.opened() if models is None else models
        for each in models:
            capacity = "" if each.worker is None else f"; {each.worker.engine.capacity}"
            show(f"{each.name}: {each.model.task.name}{capacity}")
            for adapter in each.adapters:
                show(f"{each.name}:{adapter}")
        return create(models, key=self.key, hosts=self.hosts, page=assets(), again=self.again)


def aside(function: Callable[[], T]) -> T:
    """What a function gives or raises, called in a thread that then ends, and with it those it computed with.

    They would wait for this thread's next operation. libgomp counts all that a process has, and where there are more than processors it puts those of
    every thread to sleep after each operation: a token of a small model took 2.6 times as long (`python -m benchmarks.load`).
    """
    future: Future[T] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=call, name="ftheta-open", daemon=True)
    thread.start()
    thread.join()
    return future.result()


def bound(host: str, port: int) -> socket.socket:
    """A socket at this address, at a free port where it is 0; taken before models are opened, which may take minutes. Raises UsageError."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        field, remedy = ("port", "choose another port, or end what listens there") if error.errno in TAKEN else ("host", "give an address of this machine")
        raise UsageError(f"{field}: nothing can listen on {host}, port {port} ({error.strerror}): {remedy}") from None
    return listener


def address(listener: socket.socket) -> str:
    """Where a socket is found, for a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def attach(models: Mapping[str, Model], adapter: str) -> None:
    """Give a model the adapter of `MODEL:NAME=FOLDER`. Raises UsageError."""
    name, _, folder = adapter.partition("=")
    model, _, short = name.partition(":")
    if model not in models or not short or not folder:
        raise UsageError(f"adapter: expected MODEL:NAME=FOLDER with one of the models {', '.join(models)}, got '{adapter}'{suggest(model, models, 'models')}")
    models[model].attach(folder, short)
