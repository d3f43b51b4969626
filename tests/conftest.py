"""What holds for every test: one thread, derived data in a folder of the session, no pickle, no network."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parent
HOME = tempfile.TemporaryDirectory(prefix="ftheta-home-")
MAY_UNPICKLE = ("torch._inductor", "torch._dynamo", "torch._functorch", "torch.fx", "multiprocessing", "execnet", "concurrent.futures", "joblib")
"""Modules that read only what they wrote themselves, within one session: the compiler's cache, pipes to worker processes."""

sys.path.insert(0, str(ROOT))                                                          # `tiny` and `faults` are shared between folders
os.environ["FTHETA_HOME"] = HOME.name
if mirror := os.environ.get("FTHETA_MIRROR"):
    os.environ["FTHETA_MIRROR"] = os.path.abspath(mirror)                                 # tests run commands in folders of their own
os.environ["MPLBACKEND"] = "agg"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
torch.set_num_threads(1)


class PickleRefused(AssertionError):
    """Something tried to read a pickle: nothing in this project may."""


def refuse_others(what: Any) -> Any:
    """`what`, for the modules that may read pickles; an error for everybody else."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if not caller.startswith(MAY_UNPICKLE):
            raise PickleRefused(f"{caller} reads a pickle")
        return what(*args, **kwargs)

    return guarded


class Unpickler(pickle.Unpickler):
    """A class, because some libraries derive from it when they are imported; using it is what is refused."""

    def __init__(self, *args: Any, **kwargs: Any):
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if not caller.startswith(MAY_UNPICKLE):
            raise PickleRefused(f"{caller} reads a pickle")
        super().__init__(*args, **kwargs)


pickle.load, pickle.loads = refuse_others(pickle.load), refuse_others(pickle.loads)
pickle.Unpickler = Unpickler  # type: ignore[misc]


def local_only(connect: Any) -> Any:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test connects to {address}: tests work without a network")
        return connect(self, address)

    return guarded


socket.socket.connect = local_only(socket.socket.connect)  # type: ignore[method-assign]
socket.socket.connect_ex = local_only(socket.socket.connect_ex)  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Whatever a test sets, the next one starts with one thread."""
    torch.set_num_threads(1)
    yield


def pytest_unconfigure(config: pytest.Config) -> None:
    HOME.cleanup()
