"""Memory of this process: how much it has, and giving back what is free again, which the C library keeps though other processes may need it now."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path


def give_back() -> None:
    """Return freed memory to the system where the C library can (glibc); elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def resident(what: str) -> int | None:
    """A line of /proc/self/status in bytes: `VmRSS` is what the process has in memory, `VmHWM` the most it had."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{what}:")), None)
