"""`ftheta ui`: the page over a folder of runs, with models to play with. It is the same server as `ftheta serve`, and a few routes more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ftheta.core.errors import FolderError, MissingExtraError
from ftheta.web.runs import Runs

try:
    from ftheta.serving.http.order import Order, address, bound
    from ftheta.serving.http.server import allowed, listen
    from ftheta.web.routes import add_routes
except ImportError:
    raise MissingExtraError("fastapi", "serve", "the page") from None


def ui(
    folder: str | Path = "runs", *, models: Sequence[str | Path] = (), host: str = "127.0.0.1", port: int = 8000, key: str | None = None,
    hosts: Sequence[str] = (), show: Callable[[str], None] = print,
) -> None:
    """Show the page until SIGTERM or Ctrl-C; runs it has started go on. `key` and `hosts` as for `serve`. Raises UsageError, FolderError."""
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise FolderError(f"{place} is not a folder: give the folder that holds the runs")
    order = Order(models=tuple(map(str, models)), key=allowed(host, key), hosts=tuple(hosts))
    with bound(host, port) as listener:
        served = order.opened()
        app = order.app(show, served)
        add_routes(app, served, Runs(place), order.settings)
        show(f"the page is at {address(listener)}")
        listen(app, listener)
