"""Steps as tasks of a Ray cluster. Orders and answers are short texts; documents go from one task to another through the folders of the cache alone."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ftheta.core.errors import DataError, MissingExtraError, UsageError
from ftheta.core.log import logger
from ftheta.data.corpus.executors import Counted, Executor, Told, Work
from ftheta.data.corpus.step import answer, order_of, outcome, subject
from ftheta.data.stages import available, offer

RETRIES = 3
"""How often a task is begun again whose process or machine is lost."""
AHEAD = 2
"""Tasks handed out for every core, so that none waits for its next."""
FETCHES = 8
"""Folders offered or fetched at a time, where machines share a store and no disk."""
OBJECT_STORE = 80 << 20
"""Bytes of shared memory for what tasks say (the least that Ray takes)."""
ALONE = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""The environment of a cluster of our own: who has no token is refused, nothing is reported to anybody, and no port is open to other machines (that is what
the last of them does on Linux, too)."""


class Ray(Executor):
    """The cluster that `$RAY_ADDRESS` names, or one of this machine's processes, started at the first step and ended with `close`.

    `workers` is how many steps are performed at a time; none: as many as there are cores.
    """

    def __init__(self, workers: int | None = None, told: Told | None = None):
        super().__init__(workers, told)
        self.wished = workers
        self.task: Any = None
        self.at_once = 0
        self.own: str | None = None
        if importlib.util.find_spec("ray") is None:
            raise MissingExtraError("ray", "cluster", "--on ray")

    def each(self, what: str, work: Sequence[Work], cache: Path) -> list[Path]:
        task = self.task or self.start()
        import ray  # not before the environment says how

        progress, left = Counted(what, len(work), self.told), iter(enumerate(work))
        folders: dict[int, Future[Path]] = {}
        running: dict[Any, tuple[int, dict[str, Any]]] = {}
        with ThreadPoolExecutor(FETCHES, "ftheta-fetch") as fetching:
            list(fetching.map(offer, itertools.repeat(cache), dict.fromkeys(folder for _, inputs in work for folder in inputs)))
            try:
                while True:
                    for number, one in itertools.islice(left, self.at_once - len(running)):
                        order = order_of(*one, cache)
                        running[task.remote(json.dumps(order), os.getcwd())] = number, order
                    if not running:
                        return [folders[number].result() for number in range(len(work))]
                    for done in ray.wait(list(running), num_returns=1)[0]:
                        number, order = running.pop(done)
                        folders[number] = fetching.submit(available, cache, progress.one(outcome(self.said(done, order), cache)))
            finally:
                for unfinished in running:
                    ray.cancel(unfinished)

    def said(self, done: Any, order: dict[str, Any]) -> dict[str, Any]:
        """The answer to an order. Raises DataError saying why there is none."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        try:
            said = json.loads(ray.get(done))
        except RayTaskError as error:
            raise DataError(f"a task that had to {subject(order)} failed on the cluster: {str(error).strip().splitlines()[-1]}") from None
        except RayError as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            lost = f"a task that had to {subject(order)} was lost {RETRIES + 1} times ({reason})"
            raise DataError(f"{lost}; what is finished stays, run the same command again") from None
        for line in said.pop("warnings"):
            logger.warning("%s", line)
        return said

    def start(self) -> Any:
        """The remote function. Raises UsageError when there is no cluster at the address."""
        self.own = join(self.workers)
        import ray

        self.at_once = self.wished or AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        self.task = ray.remote(num_cpus=1, max_retries=RETRIES)(carry_out)
        return self.task

    def close(self) -> None:
        if self.task is not None or self.own is not None:
            leave(self.own)
        self.task = self.own = None


def join(cores: int) -> str | None:
    """Connect to the cluster that `$RAY_ADDRESS` names, or start one of this machine's processes with so many cores, in a folder of its own, which is
    returned. Raises UsageError when there is none at the address."""
    address, own = os.environ.get("RAY_ADDRESS"), None
    if not address:
        for name, value in {**ALONE, "RAY_AUTH_TOKEN": secrets.token_hex(32)}.items():
            os.environ.setdefault(name, value)                                            # read when Ray is imported; the token is kept while the process lives
        own = tempfile.mkdtemp(prefix="ftheta-ray-")
    import ray
    from ray.exceptions import RayError

    with signals_kept():
        try:
            if address:
                ray.init(address, configure_logging=False, log_to_driver=False)
            else:
                ray.init(
                    "local", num_cpus=cores, object_store_memory=OBJECT_STORE, include_dashboard=False, configure_logging=False, log_to_driver=False,
                    _temp_dir=own,
                )
        except (RayError, OSError, ValueError, RuntimeError) as error:
            leave(own)
            raise UsageError(f"--on ray: {f'no cluster answers at RAY_ADDRESS={address}' if address else 'Ray does not start'} ({error})") from None
    return own


def leave(own: str | None) -> None:
    """Disconnect from the cluster, and end it where it is our own."""
    import ray

    with signals_kept():
        ray.shutdown()
    if own is not None:
        shutil.rmtree(own, ignore_errors=True)


def carry_out(order: str, folder: str) -> str:
    """What a task does: perform an order, and say what was said on the way. Paths of a recipe are meant from `folder`, if that is one here, too."""
    with contextlib.suppress(OSError):
        os.chdir(folder)
    heard = Heard(logging.WARNING)
    logger.addHandler(heard)
    try:
        return json.dumps({**answer(json.loads(order)), "warnings": heard.lines})
    finally:
        logger.removeHandler(heard)


class Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, level: int):
        super().__init__(level)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def signals_kept() -> Iterator[None]:
    """SIGTERM means afterwards what it meant before: Ray would end the process, a run that is stopped saves itself first."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
