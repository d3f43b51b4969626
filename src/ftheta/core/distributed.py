"""Several processes that act as one: started by torchrun, every function is a no-op in a single process."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def start() -> None:
    """Join the group torchrun describes in the environment (gloo on CPU, nccl on CUDA)."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else int(os.environ.get("RANK", "0"))


def world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    if world() > 1:
        dist.barrier()


def sum_(tensors: list[Tensor]) -> None:
    """Add each tensor over all processes, in place, in one message per element type."""
    if world() == 1 or not tensors:
        return
    for dtype in dict.fromkeys(t.dtype for t in tensors):
        group = [t for t in tensors if t.dtype == dtype]
        flat = torch.cat([t.reshape(-1) for t in group])
        dist.all_reduce(flat)
        for tensor, part in zip(group, flat.split([t.numel() for t in group]), strict=True):
            tensor.copy_(part.view_as(tensor))


def rows_of_all(mine: Mapping[str, Tensor], slots: Tensor, total: int) -> dict[str, Tensor]:
    """Tensors whose rows (b, ...) fill `slots` of a step, with the rows (total, ...) of all processes; those without dimensions as the first process has
    them. A process may have no rows, and then no tensors."""
    if world() == 1:
        return dict(mine)
    kinds = from_first({name: [str(value.dtype).removeprefix("torch."), list(value.shape[1:]), value.ndim] for name, value in mine.items()})
    device = next((value.device for value in mine.values()), torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    found = {}
    for name, (kind, shape, ndim) in kinds.items():
        dtype = getattr(torch, kind)
        whole = torch.zeros([total, *shape] if ndim else [], dtype=torch.uint8 if dtype == torch.bool else dtype, device=device)
        if ndim and name in mine:
            whole[slots] = mine[name].to(whole.dtype)
        elif rank() == 0:
            whole = mine[name].clone().to(whole.dtype)
        dist.all_reduce(whole)                                                            # a sum with zeros: each row stands in one process only
        found[name] = whole.to(dtype)
    return found


def any_true(value: bool) -> bool:
    """Whether it is true on any process."""
    if world() == 1:
        return value
    flag = torch.tensor([float(value)], device="cuda" if torch.cuda.is_available() else "cpu")
    dist.all_reduce(flag)
    return bool(flag.item() > 0)


def from_first(value: T) -> T:
    """The first process's value on every process (anything JSON can hold; no pickle)."""
    if world() == 1:
        return value
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(device)
    size = torch.tensor([data.numel()], device=device)
    dist.broadcast(size, src=0)
    if rank() != 0:
        data = torch.empty(int(size.item()), dtype=torch.uint8, device=device)
    dist.broadcast(data, src=0)
    return json.loads(bytes(data.cpu().tolist()))
