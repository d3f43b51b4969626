"""The same app as replicas of Ray Serve: each holds the models in a process of its own, on any machine of the cluster; who asks is given the one that has the
least to do, and a replica that dies is replaced.

A replica is told what to serve in JSON, and opens it where it is: model folders are on a disk, or at a place, that all machines see.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from ftheta.core.errors import MissingExtraError, UsageError
from ftheta.data.corpus.cluster import join, leave
from ftheta.serving.http.order import DRAIN, Order

BESIDE = 16
"""Requests that a replica takes beside those its engine lets wait: figures, models, and those that are told to come later."""
PATIENCE = 5.0
"""Seconds that there must be more work than the replicas should have before there is one more."""
NAME = "ftheta"
log = logging.getLogger("ftheta.serving")


def serve_on_ray(order: Order, host: str, port: int, replicas: tuple[int, int], show: Callable[[str], None]) -> None:
    """Serve what is ordered with so many replicas at least and at most, until SIGTERM or Ctrl-C, on the cluster that `$RAY_ADDRESS` names, or one of
    processes of this machine. Raises UsageError."""
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("ray[serve]", "replicas", "--on ray")
    least, most = replicas
    own = join(most)                                                                      # Ray looks at the environment when it is imported, which this sets
    try:
        library = serve_library()
        many = order.settings.together + order.settings.queue
        as_wanted = {"min_replicas": least, "max_replicas": most, "target_ongoing_requests": order.settings.together, "upscale_delay_s": PATIENCE}
        growing: dict[str, Any] = {"autoscaling_config": as_wanted}
        deployment = library.deployment(
            name=NAME, max_ongoing_requests=many + BESIDE, graceful_shutdown_timeout_s=DRAIN, ray_actor_options={"num_cpus": 1},
            **({"num_replicas": least} if least == most else growing),
        )(library.ingress(opener(json.dumps(order.from_anywhere().dump())))())
        library.start(http_options={"host": host, "port": port})
        try:
            library.run(deployment.bind(), name=NAME, route_prefix="/")
        except RuntimeError as error:
            raise UsageError(f"--on ray: the replicas could not be started ({str(error).strip().splitlines()[-1]})") from None
        show(f"{least if least == most else f'{least} to {most}'} replicas")
        show(f"listening on http://{host}:{port}/v1")
        told_to_stop().wait()
        library.shutdown()
    finally:
        leave(own)


def opener(order: str) -> Callable[[], FastAPI]:
    """What a replica calls when it begins."""
    def open_there() -> FastAPI:
        return Order.parse(json.loads(order)).app(log.info)

    return open_there


def told_to_stop() -> threading.Event:
    """Set when SIGTERM or Ctrl-C comes."""
    event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: event.set())
    return event


def serve_library() -> Any:
    """Ray Serve. Raises MissingExtraError."""
    with contextlib.suppress(ImportError):
        return importlib.import_module("ray.serve")
    raise MissingExtraError("ray[serve]", "replicas", "--on ray") from None
