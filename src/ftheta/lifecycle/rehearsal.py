"""A training step rehearsed on tensors without storage: the real trainer, model, objective and optimizer run, nothing is computed.

Floating-point tensors are fakes that know their shape, type and device; whole numbers (token ids, documents, masks, edges) stay
real while they are small, so that code which looks at them takes the path it takes in a run. Every storage that comes to life or
dies is counted, which gives the peak of live memory by part; every operation is recorded, which gives FLOPs and bytes moved.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
REAL = 1 << 22
"""Elements beyond which even whole numbers are fakes: the rehearsal itself must stay small."""


class Rehearsal(TorchDispatchMode):
    """Within it, tensors made have no storage; `live`, `peak` and `operations` say what a real run would have used."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.part = "activations"
        self.live: dict[str, int] = {}
        self.peak: dict[str, int] = {}
        self.most = 0
        self.total = 0
        self.parts: dict[int, tuple[str, int]] = {}
        self.log: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (aten._local_scalar_dense.default, aten.item.default) and isinstance(args[0], FakeTensor):
            return 1.0 if args[0].is_floating_point() else 1
        tensors = [leaf for leaf in tree_iter((args, kwargs)) if isinstance(leaf, Tensor)]
        if not any(isinstance(t, FakeTensor) for t in tensors) and self.stays_real(func, tensors, args, kwargs):
            result = func(*args, **kwargs)
        else:
            result = self.pretend(func, args, kwargs)
        for leaf in tree_iter(result):
            if isinstance(leaf, Tensor):
                self.meet(leaf)
        self.log.append(func)
        return result

    def stays_real(self, func, tensors, args, kwargs):
        if tensors and max(t.numel() for t in tensors) <= 2048:
            return True
        try:
            result = self.pretend(func, args, kwargs)
        except Exception as e:
            return True
        made = [leaf for leaf in tree_iter(result) if isinstance(leaf, Tensor)]
        if any(m.numel() > REAL for m in made):
            return False
        return bool(tensors) or not any(m.is_floating_point() for m in made)

    def pretend(self, func, args, kwargs):
        if func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default, aten._unsafe_index.Tensor):
            args = (args[0], [i for index in args[1] for i in self.places(index)], *args[2:])
        with self.fake:
            conv = lambda t: self.fake.from_tensor(t, static_shapes=True) if isinstance(t, Tensor) and not isinstance(t, FakeTensor) else t
            a, k = tree_map(conv, (args, kwargs))
            return func(*a, **k)

    def places(self, index):
        if index is None or index.dtype not in (torch.bool, torch.uint8) or isinstance(index, FakeTensor):
            return [index]
        return list(index.nonzero().unbind(1))

    def meet(self, t):
        if t.is_sparse:
            return
        st = t.untyped_storage()
        key = st._cdata
        if key in self.parts:
            return
        size = st.nbytes()
        if size < 64: return
        self.parts[key] = (self.part, size)
        self.live[self.part] = self.live.get(self.part, 0) + size
        self.total += size
        weakref.finalize(st, self.part_with, key)
        if self.total > self.most:
            self.most = self.total
            self.peak = dict(self.live)
            self.peakop=len(self.log)

    def part_with(self, key):
        part, size = self.parts.pop(key)
        self.live[part] -= size
        self.total -= size

    def move(self, t, part):
        key = t.untyped_storage()._cdata
        old, size = self.parts[key]
        self.live[old] -= size
        self.live[part] = self.live.get(part, 0) + size
        self.parts[key] = (part, size)
