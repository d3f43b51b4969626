"""The page: the files a browser is shown, and what it must know of the models to make a form for each. It asks the routes that everybody asks.

The built files lie in `ftheta/web/page`; nothing else is ever read for it. They hold no secret, so they are given without a key: what they ask for is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.responses import Response

from ftheta.data.processors.text import TextProcessor
from ftheta.models.evidence import methods
from ftheta.serving.http.served import Models, Served

TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
}
TOLD = ("size", "crop", "channels", "names", "labels", "features")
"""What a form needs of a processor's facts."""


class Asset(NamedTuple):
    """One file of the page."""

    data: bytes
    kind: str

    @property
    def tag(self) -> str:
        """Changes with the content."""
        return f'"{hashlib.sha256(self.data).hexdigest()[:32]}"'


def assets() -> dict[str, Asset]:
    """The page's files by address, as they were built."""
    folder = resources.files("ftheta").joinpath("web", "page")
    files = {entry.name: entry for entry in folder.iterdir()} if folder.is_dir() else {}
    found = {f"/page/{name}": Asset(entry.read_bytes(), TYPES[suffix]) for name, entry in files.items() if (suffix := f".{name.rpartition('.')[2]}") in TYPES}
    return {"/": found.pop("/page/index.html"), **found} if found else {}


def show(app: FastAPI, page: Mapping[str, Asset], models: Models) -> None:
    """Let the app show the page."""
    for address, asset in page.items():
        app.get(address, include_in_schema=False)(giving(asset))

    @app.get("/ui/models", include_in_schema=False)
    async def about_models() -> list[dict[str, Any]]:
        return [facts(served) for served in models]


def giving(asset: Asset) -> Any:
    """A route for one file."""
    async def route(request: Request) -> Response:
        headers = {**HEADERS, "ETag": asset.tag}
        if request.headers.get("if-none-match") == asset.tag:
            return Response(status_code=304, headers=headers)
        return Response(asset.data, media_type=asset.kind, headers=headers)

    return route


def facts(served: Served) -> dict[str, Any]:
    """A model, what its task takes and gives, and what is known of its inputs."""
    model, task = served.model, served.model.task
    known = model.processor.dump()
    return {
        "name": served.name, "adapters": served.adapters, "task": task.name, "writes": served.worker is not None, "files": list(task.files),
        "chat": isinstance(model.processor, TextProcessor) and model.processor.chat_template is not None,
        "input": task.input.model_json_schema(), "output": task.output.model_json_schema(mode="serialization"),
        "evidence": methods(model), "known": {name: known[name] for name in TOLD if name in known},
    }
