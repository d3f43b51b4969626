"""The machine: which device, how many threads, how fast it multiplies, what it is made of."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ftheta.core.errors import UsageError
from ftheta.core.memory import give_back, resident


def pick(name: str = "auto") -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises UsageError for a device that is not there."""
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = torch.device(("cuda" if here else "cpu") if name == "auto" else name)
    if device.type == "cuda" and (device.index or 0) >= here:
        raise UsageError(f"train.device: there is no {name} here ({here or 'no'} GPU{'s' if here > 1 else ''} found): use auto or cpu")
    return device


@contextlib.contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Within, numbers below the smallest normal one are 0 on this thread: on a CPU they are many times slower to reckon with. Also a decorator."""
    already = sys.float_info.min / 2 == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)


def matmul_rate(dtype: torch.dtype, device: torch.device, rows: int = 2048, inner: int = 512, columns: int = 1024, repeats: int = 8) -> float:
    """FLOP/s of `(rows, inner) @ (inner, columns)` on random data: the best of several short measurements."""
    a = torch.randn(rows, inner, device=device).to(dtype)
    b = torch.randn(columns, inner, device=device).to(dtype)
    best = 0.0
    for attempt in range(repeats + 2):
        start = time.perf_counter()
        torch.nn.functional.linear(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()
        if attempt >= 2:
            best = max(best, 2 * rows * inner * columns / (time.perf_counter() - start))
    return best


@functools.cache
def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products are clearly faster than float32 ones here: the processor has instructions for them.

    Not measured, since a measurement under load may differ from one process to the next, and a resumed run would then differ too.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or tiles()


@functools.cache
def tiles() -> bool:
    """Whether the processor multiplies bfloat16 matrices in tiles (AMX)."""
    return torch.cpu._is_amx_tile_supported()


class PeakMemory:
    """The most memory taken since it was made, beyond what was taken then: on a GPU of tensors, else of the process (Linux)."""

    def __init__(self, device: torch.device):
        self.device = device
        self.before: int | None = None
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device)
            return
        give_back()                                                                       # what earlier work left is not taken any more
        try:
            Path("/proc/self/clear_refs").write_text("5")                                 # the peak starts anew
        except OSError:
            return
        self.before = resident("VmRSS")

    def bytes(self) -> int | None:
        """None where it cannot be known."""
        if self.before is None:
            return None
        most = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else resident("VmHWM")
        return None if most is None else max(0, most - self.before)


def memory_bytes() -> int:
    """Memory of this machine that a process may use: the smaller of physical memory and the control group's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(place) as file:
                text = file.read().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def processor_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def facts() -> dict[str, Any]:
    """What a result must say about where it was measured."""
    return {
        "processor": processor_name(), "cores": os.cpu_count(), "memory_gb": round(memory_bytes() / 2**30, 1), "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(), "python": platform.python_version(), "torch": torch.__version__,
    }
