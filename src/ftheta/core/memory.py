"""Memory of this process: how much it has, and giving back what is free again, which the C library keeps though other processes may need it now."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from pathlib import Path

KEPT, WHOLE = 2**31 - 1, 2**30
"""Bytes that are kept when they are free again, and up to which a piece of memory is among them: what glibc takes at most, and half of it."""


@functools.cache
def keep() -> None:
    """From now on, keep freed memory to use it again, where the C library can be told (glibc): tensors of some megabytes would be handed back and asked for
    anew at every operation, and the system clears each page it gives (`python -m benchmarks.images`). `give_back` still returns it.
    """
    trim_threshold, mmap_threshold = -1, -3                                               # names of <malloc.h>
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(trim_threshold, KEPT)
        library.mallopt(mmap_threshold, WHOLE)


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
