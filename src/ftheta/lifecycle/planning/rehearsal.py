"""Tensors without storage: within a `Rehearsal` real code runs, and nothing is computed.

Floating-point tensors are fakes that know shape, type and device. Whole numbers (token ids, documents, masks, edges) stay real while
they are small, so that code which looks at them takes the path it takes in a run; a number read from a fake is 1. Every storage that
comes to life or dies is counted by the part it belongs to, and put into a shadow heap. Every operation is counted, for FLOPs and time.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_iter, tree_map

from ftheta.lifecycle.ledger import FORMULAS
from ftheta.lifecycle.planning.heap import Block, ShadowHeap

aten = torch.ops.aten
SURELY_SMALL = 2048
"""Elements: operations on whole numbers of this many and less are carried out without a second thought."""
LARGEST_REAL = 1 << 24
"""Elements beyond which even whole numbers are fakes: the rehearsal itself must stay small."""
SMALLEST_COUNTED = 64
"""Bytes."""
READS = frozenset({aten._local_scalar_dense.default, aten.item.default})
INDEXED = frozenset({aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default, aten._unsafe_index.Tensor})
PRODUCTS = frozenset({aten.mm.default, aten._sparse_addmm.default, aten._sparse_mm.default})
"""Of which one matrix may be sparse, and real: torch has no fakes of those."""
RECURRENT = aten.mkldnn_rnn_layer.default


def scratch_of_input(args: tuple[Any, ...], made: int) -> int:
    return size_of(args[0])


def scratch_of_both(args: tuple[Any, ...], made: int) -> int:
    return size_of(args[0]) + size_of(args[1])


def scratch_of_output(args: tuple[Any, ...], made: int) -> int:
    return made


SCRATCH: dict[Any, Callable[[tuple[Any, ...], int], int]] = {
    aten.logsumexp.default: scratch_of_input,
    aten.convolution.default: scratch_of_input,
    aten.convolution_backward.default: scratch_of_both,
    aten.upsample_nearest2d.default: scratch_of_output,
}
"""Memory that kernels on a CPU take and give back within one operation, where it is as large as a tensor (torch's profiler shows it)."""


class Spec(NamedTuple):
    """What is needed to make a tensor like one that was used."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Bytes read to see every element once."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class SparseSpec(NamedTuple):
    """A sparse matrix that was used."""

    shape: tuple[int, ...]
    values: int


@dataclass
class Operation:
    """One kind of operation on tensors of given shapes, and how often it was done."""

    part: str
    """What was being done: forward and backward passes, or the optimizer's step."""
    function: Any
    arguments: Any
    """(leaves, tree) of its arguments, with a Spec in place of every tensor."""
    flops: float
    moved: int
    """Bytes read and written once."""
    count: int = 0


class Rehearsal(TorchDispatchMode):
    """`live`, `peak` and `operations` say what a real run would have used."""

    def __init__(self, heap: ShadowHeap | None = None) -> None:
        super().__init__()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.heap = heap
        self.part = "weights"
        """What new storages belong to."""
        self.owners: dict[int, tuple[str, int, Block | None]] = {}
        self.live: dict[str, int] = {}
        self.total = 0
        self.most = 0
        self.peak: dict[str, int] = {}
        self.operations: dict[Any, Operation] = {}
        self.flops: dict[str, float] = {}

    # running

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:
            return args[0].fake_device if isinstance(args[0], FakeTensor) else args[0].device
        if func in READS and isinstance(args[0], FakeTensor):
            return 1.0 if args[0].is_floating_point() else 1
        given = [leaf for leaf in tree_iter((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(isinstance(tensor, FakeTensor) for tensor in given) or not self.stays_real(func, given, args, kwargs):
            result = self.pretend(func, args, kwargs)
        else:
            result = func(*args, **kwargs)
        if func is aten.topk.default and isinstance(result[0], FakeTensor):
            result = (result[0], evenly(result[1].shape, args[0].shape[args[2] if len(args) > 2 else -1]))
        made = sum(self.meet(leaf) for leaf in tree_iter(result) if isinstance(leaf, Tensor))
        self.count(func, args, kwargs, given, made, result)
        return result

    def stays_real(self, func: Any, given: list[Tensor], args: Any, kwargs: Any) -> bool:
        """Whether an operation on nothing but real tensors is carried out: made from nothing, whole numbers only; never large ones."""
        if given and max(tensor.numel() for tensor in given) <= SURELY_SMALL:
            return True
        try:
            made = [leaf for leaf in tree_iter(self.pretend(func, args, kwargs)) if isinstance(leaf, Tensor)]
        except RuntimeError:                                                              # its shape depends on the numbers: only doing it can tell
            return True
        return all(leaf.is_sparse or leaf.numel() <= LARGEST_REAL for leaf in made) and (bool(given) or not any(leaf.is_floating_point() for leaf in made))

    def pretend(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The operation's result as fakes."""
        if func in PRODUCTS and (sparse := [leaf for leaf in args if isinstance(leaf, Tensor) and leaf.is_sparse]):
            dense = next(leaf for leaf in reversed(args) if isinstance(leaf, Tensor) and not leaf.is_sparse)
            with self.fake:
                return torch.empty(sparse[0].shape[0], dense.shape[1], dtype=dense.dtype, device=dense.device)
        if func in INDEXED:
            args = (args[0], [place for index in args[1] for place in places(index)], *args[2:])
        with self.fake:
            args, kwargs = tree_map(self.faked, (args, kwargs))
            result = func(*args, **kwargs)
            if func is RECURRENT and args[-1]:                                            # torch's fake has no workspace
                result = (*result[:3], torch.empty(workspace(args), dtype=torch.uint8))
        return result

    def faked(self, value: Any) -> Any:
        return self.fake.from_tensor(value, static_shapes=True) if isinstance(value, Tensor) and not isinstance(value, FakeTensor) else value

    def fakes(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch whose real numbers are fakes and whose whole numbers are real."""
        return {name: self.faked(value) if value.is_floating_point() and not value.is_sparse else value for name, value in batch.items()}

    # memory

    def meet(self, tensor: Tensor) -> int:
        """Note a storage seen for the first time; its bytes, 0 for one already known."""
        if tensor.layout != torch.strided:
            return 0
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.owners or size < SMALLEST_COUNTED:
            return 0
        self.owners[key] = (self.part, size, self.heap.allocate(size) if self.heap else None)
        weakref.finalize(storage, self.part_from, key)
        self.live[self.part] = self.live.get(self.part, 0) + size
        self.total += size
        self.see_peak()
        return size

    def see_peak(self, extra: int = 0) -> None:
        if self.total + extra > self.most:
            self.most = self.total + extra
            self.peak = {**self.live, self.part: self.live.get(self.part, 0) + extra}

    def part_from(self, key: int) -> None:
        part, size, block = self.owners.pop(key)
        self.live[part] -= size
        self.total -= size
        if self.heap and block:
            self.heap.free(block)

    def hand_over(self, tensor: Tensor, part: str) -> None:
        """From now on this tensor's storage belongs to another part."""
        key = tensor.untyped_storage()._cdata
        if key in self.owners:
            old, size, block = self.owners[key]
            self.owners[key] = (part, size, block)
            self.live[old] -= size
            self.live[part] = self.live.get(part, 0) + size

    # work

    def count(self, func: Any, args: Any, kwargs: Any, given: list[Tensor], made: int, result: Any) -> None:
        if func in SCRATCH and (size := SCRATCH[func](args, made)):
            self.see_peak(size)
            if self.heap:
                self.heap.free(self.heap.allocate(size))
        formula = FORMULAS.get(func._overloadpacket)
        if formula is None and not made and not func._schema.is_mutable:                  # a view, or a question
            return
        arguments, tree = tree_flatten((args, kwargs))
        leaves = tuple(spec(leaf) if isinstance(leaf, Tensor) else leaf for leaf in arguments)
        key = (self.part, func, leaves)
        if key not in self.operations:
            flops = float(formula(*args, **kwargs, out_val=result)) if formula else 0.0
            moved = made + sum(leaf.size for leaf in leaves if isinstance(leaf, Spec))
            self.operations[key] = Operation(self.part, func, (leaves, tree), flops, moved)
        operation = self.operations[key]
        operation.count += 1
        self.flops[self.part] = self.flops.get(self.part, 0.0) + operation.flops

    def forget_work(self) -> None:
        """Begin counting operations anew."""
        self.operations, self.flops = {}, {}


def evenly(shape: tuple[int, ...], choices: int) -> Tensor:
    """Real numbers for choices that cannot be computed (a router's, among experts): every one as often as every other."""
    with _disable_current_modes():
        return torch.arange(torch.Size(shape).numel()).remainder_(choices).view(shape)


def size_of(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def spec(tensor: Tensor) -> Spec | SparseSpec:
    if tensor.layout == torch.strided:
        return Spec(tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype)
    return SparseSpec(tuple(tensor.shape), tensor._nnz() if tensor.is_sparse else 0)


def places(index: Tensor | None) -> list[Tensor | None]:
    """A real mask as the numbers of its true elements, so that what it picks has a known shape; anything else as it is."""
    if index is None or isinstance(index, FakeTensor) or index.dtype not in (torch.bool, torch.uint8):
        return [index]
    return list(index.nonzero().unbind(1))


def workspace(args: tuple[Any, ...]) -> int:
    """Bytes oneDNN keeps of an LSTM layer for its backward pass; fitted to what it asks for (within 10 % for widths of 32 to 512)."""
    inputs, state = args[0], args[5]
    steps, rows, width = inputs.shape
    return 4 * steps * rows * (6 * width + 12 * state.shape[-1])
