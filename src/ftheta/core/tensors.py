"""Named tensors on disk: safetensors files, written straight from memory so that they are hashed on the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ftheta.core.errors import FolderError

NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32",
    torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
}


def pieces(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> list[bytes | memoryview]:
    """The bytes of a safetensors file, tensor data by reference (contiguous CPU tensors are not copied).

    Format: an 8-byte little-endian header length, a JSON header, then the data. https://github.com/huggingface/safetensors
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    data: list[bytes | memoryview] = []
    offset = 0
    for name in sorted(tensors, key=lambda n: (-tensors[n].element_size(), n)):
        tensor = tensors[name].detach().cpu().contiguous()
        flat = tensor.reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0, dtype=torch.uint8)
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + flat.numel()]}
        data.append(flat.numpy().data)
        offset += flat.numel()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *data]


def read(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises FolderError naming the file when it is damaged."""
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError:
        raise FolderError(f"{path} is missing") from None
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise FolderError(f"{path} is not a readable safetensors file: {error}") from None


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, types, shapes and every byte."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return found.hexdigest()


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of those that hold a NaN or an infinite number; the least and the largest number tell, at the speed of reading."""
    ends = {name: torch.stack(tensor.aminmax()) for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()}
    return sorted(name for name, pair in ends.items() if not pair.isfinite().all())


def mismatches(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], outside: Mapping[str, str] | None = None) -> list[str]:
    """Every missing, unexpected, mis-shaped or mis-typed tensor, in words; `outside`: what the file calls them, where that is not their name here."""
    outside = {name: other for name, other in (outside or {}).items() if other != name}
    shown = {name: f"'{outside[name]}' (here '{name}')" if name in outside else f"'{name}'" for name in wanted}
    reasons = [f"missing tensor {shown[name]} {tuple(wanted[name].shape)}" for name in sorted(wanted.keys() - found.keys())]
    reasons += [f"unexpected tensor '{name}' {tuple(found[name].shape)}" for name in sorted(found.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & found.keys()):
        a, b = found[name], wanted[name]
        if a.shape != b.shape:
            reasons.append(f"tensor {shown[name]} has shape {tuple(a.shape)}, expected {tuple(b.shape)}")
        elif a.is_floating_point() != b.is_floating_point():
            reasons.append(f"tensor {shown[name]} has type {a.dtype}, expected {b.dtype}")
    return reasons
