"""Being asked to stop (SIGTERM, Ctrl-C): at once where nothing is at stake, after the current step while training.

A second request stops at once everywhere.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from ftheta.core.errors import Stopped


class StopRequest:
    """Set by a signal; while deferred it waits to be looked at, otherwise it raises Stopped where it strikes."""

    def __init__(self) -> None:
        self.asked = False
        self.depth = 0

    def handle(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if again or not self.depth:
            raise Stopped(f"stopped by {signal.Signals(number).name}")

    @contextlib.contextmanager
    def installed(self) -> Iterator[StopRequest]:
        """Listen for the time of the block (the main thread only; elsewhere signals stay as they are)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self.handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Requests wait until the block has looked at `asked`; one that came too late for it is answered when the block ends."""
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
        if self.asked and not self.depth:
            raise Stopped("stopped at the end of training")
