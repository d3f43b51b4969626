"""How much of the C library's heap tensors would occupy: real malloc and free of the same sizes in the same order, never written to.

On a CPU, memory in use is not the sum of live tensors: freed blocks stay with the process, are cut up for smaller ones and leave holes,
so the heap of a training step is often half as large again. Which block goes where is decided by the C library this machine has, so it
is asked: an address costs nothing until it is written to. Resident are the pages that a written tensor would have touched, until
the heap shrinks below them or their mapping is returned.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import NamedTuple

import numpy as np

from ftheta.core.device import memory_bytes

PAGE = mmap.PAGESIZE
ALIGNMENT = 64
"""Bytes; torch's for CPU tensors."""


class Block(NamedTuple):
    """One allocation; address 0 when the C library refused it."""

    address: int
    size: int
    mapped: bool
    """In a mapping of its own, which is returned when freed."""


class ShadowHeap:
    """`resident` bytes that tensors allocated here would occupy now, and the `most` there have been."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(None)
        self.library.sbrk.restype = ctypes.c_void_p
        self.library.sbrk.argtypes = [ctypes.c_ssize_t]
        self.library.posix_memalign.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_size_t]
        self.library.free.argtypes = [ctypes.c_void_p]
        self.start = self.end()
        self.touched = np.zeros(2 * memory_bytes() // PAGE, dtype=bool)
        self.pages = 0
        self.mapped = 0
        self.most = 0

    @staticmethod
    def available() -> bool:
        """Whether the C library keeps a heap that can be looked at."""
        return sys.platform == "linux"

    @property
    def resident(self) -> int:
        return self.mapped + self.pages * PAGE

    def end(self) -> int:
        return int(self.library.sbrk(0) or 0)

    def allocate(self, size: int) -> Block:
        pointer = ctypes.c_void_p()
        if self.library.posix_memalign(ctypes.byref(pointer), ALIGNMENT, size) or not pointer.value:
            self.mapped += size
            block = Block(0, size, True)
        elif pointer.value >= self.end() or pointer.value < self.start - memory_bytes():
            self.mapped += size
            block = Block(pointer.value, size, True)
        else:
            block = Block(pointer.value, size, False)
            first, last = self.span(block)
            self.pages += int(last - first - self.touched[first:last].sum())
            self.touched[first:last] = True
        self.most = max(self.most, self.resident)
        return block

    def free(self, block: Block) -> None:
        if block.address:
            self.library.free(block.address)
        if block.mapped:
            self.mapped -= block.size
            return
        top = max(0, (self.end() - self.start) // PAGE + 1)
        gone = self.touched[top : top + max(0, self.span(block)[1] - top) + (1 << 16)]
        if gone.any():
            self.pages -= int(self.touched[top:].sum())
            self.touched[top:] = False

    def span(self, block: Block) -> tuple[int, int]:
        """First page and the one after the last; what lies below the start was resident before."""
        first = max(0, (block.address - self.start) // PAGE)
        return first, max(first, (block.address + block.size - self.start) // PAGE + 1)
