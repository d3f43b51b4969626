"""The machine as a plan needs it: memory in use and free, the time of given operations, power drawn."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_unflatten

from ftheta.core.device import memory_bytes, processor_name
from ftheta.lifecycle.planning.rehearsal import Operation, SparseSpec, Spec

GUESSED_RATE = 5e10
"""FLOP/s, to find which operations are worth timing."""
GUESSED_BANDWIDTH = 5e9
"""Bytes/s, likewise."""
CALL_SECONDS = 15e-6
"""What Python and autograd add to an operation."""
REPEATS = 3


# memory


def status(field: str) -> int | None:
    """A field of this process's status in bytes, where the system has one."""
    try:
        with open("/proc/self/status") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(f"{field}:")), None)
    except OSError:
        return None


def resident_bytes() -> int:
    """Memory this process occupies now."""
    return status("VmRSS") or peak_bytes()


def peak_bytes() -> int:
    """Most memory this process has occupied."""
    unit = 1 if sys.platform == "darwin" else 1024
    return status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available_bytes() -> int:
    """Memory that processes could take now without pushing others out."""
    try:
        with open("/proc/meminfo") as file:
            free = next((int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")), memory_bytes())
    except OSError:
        free = memory_bytes()
    return min(free, memory_bytes())


# time


def step_seconds(operations: Sequence[Operation], device: torch.device, seconds: float = 4.0) -> float:
    """How long these operations take here: the costly ones timed on random numbers, for `seconds` in all, the others in proportion."""
    largest = available_bytes() // 8
    ranked = sorted(operations, key=lambda operation: -guess(operation) * operation.count)
    timed = guessed = 0.0
    rest = list(ranked)
    end = time.perf_counter() + seconds
    for operation in ranked:
        if time.perf_counter() > end:
            break
        found = once(operation, device) if operation.moved <= largest else None
        if found is not None:
            timed += found * operation.count
            guessed += guess(operation) * operation.count
            rest.remove(operation)
    scale = timed / guessed if guessed else 1.0
    return timed + sum((guess(operation) * scale) * operation.count for operation in rest) + CALL_SECONDS * sum(operation.count for operation in operations)


def guess(operation: Operation) -> float:
    return operation.flops / GUESSED_RATE + operation.moved / GUESSED_BANDWIDTH


def once(operation: Operation, device: torch.device) -> float | None:
    """Seconds one such operation takes, the median of a few; None for one that cannot be done by itself."""
    leaves, tree = operation.arguments
    if any(isinstance(leaf, SparseSpec) for leaf in leaves):
        return None
    taken = []
    try:
        args, kwargs = tree_unflatten([random_tensor(leaf, device) if isinstance(leaf, Spec) else leaf for leaf in leaves], tree)
        for _ in range(REPEATS + 1):
            start = time.perf_counter()
            operation.function(*args, **kwargs)
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None
    return sorted(taken[1:])[REPEATS // 2]


def random_tensor(spec: Spec, device: torch.device) -> Tensor:
    """Numbers in [-1, 1) where they are real, else zeros, which are valid everywhere."""
    made = torch.empty_strided(spec.shape, spec.stride, dtype=spec.dtype, device=device)
    return made.uniform_(-1, 1) if spec.dtype.is_floating_point else made.zero_()


# power


class Power(NamedTuple):
    """Watts while training, and where the number comes from."""

    watts: float
    how: str


def power(device: torch.device, threads: int) -> Power:
    """What the GPU or the busy processor cores draw; the rest of the machine is left out."""
    if device.type == "cuda":
        command = ["nvidia-smi", "--query-gpu=power.limit", "--format=csv,noheader,nounits"]
        try:
            limit = float(subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.split()[0])
            return Power(0.8 * limit, f"80 % of the GPU's limit of {limit:.0f} W, which nvidia-smi gives")
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return Power(300.0, "assumed for a GPU whose limit nvidia-smi does not give")
    for place in sorted(Path("/sys/class/powercap").glob("*-rapl:0/constraint_0_power_limit_uw")):
        try:
            limit = int(place.read_text()) / 1e6
        except (OSError, ValueError):
            continue
        return Power(limit, f"the processor's limit of {limit:.0f} W, which {place.parent.name} gives")
    server = any(word in processor_name() for word in ("EPYC", "Xeon", "Graviton", "Altra"))
    each = 5.0 if server else 15.0
    return Power(each * threads, f"assumed: {each:.0f} W for each of {threads} busy cores of a {'server' if server else 'desktop'} processor ({processor_name()})")
