"""Other people's files made into a model folder: pickled weights, whole or in shards, and llama2.c's."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ftheta.core import tensors as tensor_files
from ftheta.core.atomic import commit
from ftheta.core.errors import FolderError, UsageError
from ftheta.interop import hub, llama2c, pickled
from ftheta.models.folder import load, read_json, save

COPIED = (".json", ".jinja", ".model", ".txt", ".tiktoken")
"""Files beside the weights that a model folder is made of."""
INDEXES = ("pytorch_model.bin.index.json", "model.safetensors.index.json")


def import_model(source: str | Path, out: str | Path, *, unsafe_pickle: bool = False) -> Path:
    """Make the folder `out` of a folder, a file or a hub's model whose weights are pickled, or of a llama2.c file.

    The tensors written are the tensors read, bit by bit. Raises UsageError for pickled files without `unsafe_pickle`, FolderError for
    those that hold something other than tensors.
    """
    out = Path(out)
    if out.exists():
        raise UsageError(f"{out} is there already: choose another --out")
    if (name := hub.named(source)) is not None:
        folder = hub.fetch(name, (*hub.FILES, "*.bin", "*.pt", "*.pth"))[0]
    else:
        folder = Path(source)
    if folder.is_file() and folder.suffix == ".bin" and llama2c_header(folder):
        return save(load(folder), out)
    files = weight_files(folder)
    if not unsafe_pickle:
        raise UsageError(
            f"{files[0]} is a pickle, a program that may do anything when it is read; with --unsafe-pickle it is read by a reader that only makes "
            "tensors, in a process of its own with limits: say so if you trust where it comes from"
        )
    found: dict[str, Tensor] = {}
    for file in files:
        found |= pickled.read(file)
    beside = folder if folder.is_dir() else folder.parent
    with commit(out) as attempt:
        attempt.write("model.safetensors", *tensor_files.pieces(alone(found), {"format": "pt"}))
        for path in sorted(beside.iterdir()):
            if path.is_file() and path.suffix in COPIED and path.name not in INDEXES:
                attempt.write(path.name, path.read_bytes())
    return verified(out, found)


def llama2c_header(path: Path) -> bool:
    """Whether a file begins as llama2.c's do, and not as torch's."""
    with path.open("rb") as file:
        head = file.read(llama2c.HEADER.size)
    return len(head) == llama2c.HEADER.size and head[:2] not in (b"PK", b"\x80\x02") and all(0 < abs(size) <= llama2c.LARGEST for size in llama2c.HEADER.unpack(head))


def weight_files(folder: Path) -> list[Path]:
    """The pickled files of a model. Raises FolderError when there are none, or a shard is missing."""
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise FolderError(f"{folder} is neither a folder nor a file")
    index = folder / "pytorch_model.bin.index.json"
    if index.exists():
        places = read_json(index).get("weight_map")
        if not isinstance(places, Mapping) or not all(isinstance(place, str) and Path(place).name == place for place in places.values()):
            raise FolderError(f"{index}: weight_map must say for every tensor which file of this folder holds it")
        shards = [folder / place for place in sorted(set(places.values()))]
        if missing := [path.name for path in shards if not path.is_file()]:
            raise FolderError(f"{index} lists files that are not there: {', '.join(missing)}")
        return shards
    if (folder / "pytorch_model.bin").is_file():
        return [folder / "pytorch_model.bin"]
    found = sorted(path for path in folder.iterdir() if path.suffix in hub.PICKLED)
    if len(found) != 1:
        raise FolderError(f"{folder} holds {'no pickled weights' if not found else 'several pickled files: ' + ', '.join(path.name for path in found) + '; name one'}")
    return found


def alone(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without names that say a tensor again: of several names of one tensor the first, as the ecosystem keeps them."""
    seen: set[int] = set()
    return {name: value for name, value in values.items() if not (id(value) in seen or seen.add(id(value)))}


def verified(out: Path, found: Mapping[str, Tensor]) -> Path:
    """The folder, read back: every tensor bit by bit what was read, or the folder is taken away and FolderError raised."""
    written = tensor_files.read(out / "model.safetensors")
    for name, value in alone(found).items():
        if not torch.equal(written[name].reshape(-1).view(torch.uint8), value.contiguous().reshape(-1).view(torch.uint8)):
            shutil.rmtree(out)
            raise FolderError(f"tensor '{name}' was not written as it was read")
    return out
