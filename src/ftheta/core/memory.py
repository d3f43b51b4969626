"""Memory of this process."""

from __future__ import annotations

import ctypes
from pathlib import Path


def give_back() -> None:
    """Hand memory that is no longer used back to the system, where the C library keeps it for later (glibc)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):                                          # another C library
        return


def resident(what: str) -> int | None:
    """A line of /proc/self/status in bytes: `VmRSS` is what the process has in memory, `VmHWM` the most it had."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{what}:")), None)
