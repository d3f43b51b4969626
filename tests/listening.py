"""A server in a thread, and what is sent to it byte by byte."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

uvicorn = pytest.importorskip("uvicorn")

from fastapi import FastAPI  # noqa: E402

from ftheta.serving.http.app import create  # noqa: E402
from ftheta.serving.http.served import Models, Served  # noqa: E402


def started(
    served: list[Served], buffer: int | None = None, more: Callable[[FastAPI, Models], None] | None = None, **fields,
) -> Iterator[SimpleNamespace]:
    """A server in a thread, on a port of its own; `buffer` is how many bytes may lie between it and a client who does not read, `more` adds routes."""
    listener = socket.socket()
    if buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    listener.bind(("127.0.0.1", 0))
    models = Models(served)
    app = create(models, **fields)
    if more is not None:
        more(app, models)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield SimpleNamespace(port=listener.getsockname()[1], served={each.name: each for each in served})
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive() and not any(each.alive for each in served)


def send(here, request: bytes, wait: float = 20.0) -> bytes:
    """Everything that comes back for these bytes."""
    with socket.create_connection(("127.0.0.1", here.port), timeout=wait) as connection:
        connection.sendall(request)
        found = b""
        while piece := connection.recv(65536):
            found += piece
        return found


def post(here, path: str, body: bytes, headers: str = "Content-Type: application/json\r\n", host: str = "localhost") -> tuple[int, dict]:
    found = send(here, f"POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    head, _, rest = found.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(rest)


def get(here, path: str, headers: str = "", host: str = "localhost") -> tuple[int, str]:
    head, _, rest = send(here, f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n".encode()).partition(b"\r\n\r\n")
    return int(head.split()[1]), rest.decode()


def until(true, seconds: float = 10.0) -> float:
    """How long it took until something was true."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds
        time.sleep(0.01)
    return time.monotonic() - start
