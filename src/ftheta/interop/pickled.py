"""Tensors out of pickled files (`pytorch_model.bin`, `.pt`, `.pth`), in a process of its own that can do little else.

A pickle is a program. Here it is read by torch's restricted reader (`weights_only`), which knows how to make tensors and nothing else, in a
child that has its own folder, a limit on memory, on processor time and on the size of what it writes, no network where the system can
take it away, and that is killed when it takes too long. What comes back is a safetensors file. Module and program: `python -m` runs the
child.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ftheta.core import tensors as tensor_files
from ftheta.core.errors import FolderError

SECONDS = 600
"""Of processor time, and of waiting, for one file."""
ROOM = 1 << 30
"""Bytes that reading may take beside the libraries and the file's tensors."""
COPIES = 3
"""How often the tensors may be in memory at once."""
WRAPPED = ("state_dict", "model_state_dict", "model", "module")
"""Under which names checkpoints keep their tensors."""
NEW_NETWORK = 0x40000000 | 0x10000000
"""Linux: a network and a user space of one's own, which has no way out."""


def read(path: Path, seconds: float = SECONDS) -> dict[str, Tensor]:
    """The tensors of a pickled file. Raises FolderError for anything that is not tensors by name, is damaged, or takes too much."""
    size = unpacked(path)
    with tempfile.TemporaryDirectory(prefix="ftheta-import-") as folder:
        limits = {"memory": COPIES * size + ROOM, "seconds": int(seconds), "written": size + (64 << 20)}
        command = [sys.executable, "-m", "ftheta.interop.pickled", str(path.resolve()), folder, json.dumps(limits)]
        bare = {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": folder, "HOME": folder, "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(command, cwd=folder, env=bare, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, start_new_session=True)
        except subprocess.TimeoutExpired:
            raise FolderError(f"{path} took more than {seconds:g} seconds to read and was given up: it does not hold tensors alone") from None
        if done.returncode or not (Path(folder) / "tensors.safetensors").exists():
            raise FolderError(f"{path} was not read: {said(done.stderr, done.returncode)}")
        found = tensor_files.read(Path(folder) / "tensors.safetensors")
        same = json.loads((Path(folder) / "shared.json").read_text())
        return {**found, **{name: found[first] for name, first in same.items()}}


def unpacked(path: Path) -> int:
    """Bytes that the file's content takes. Raises FolderError for an archive that is packed: torch writes none, and bombs are."""
    try:
        if not zipfile.is_zipfile(path):
            return path.stat().st_size                                                    # as torch wrote them before 1.6
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile) as error:
        raise FolderError(f"{path} cannot be read: {error}") from None
    whole = sum(entry.file_size for entry in entries)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or whole > path.stat().st_size:
        raise FolderError(f"{path} is an archive of {whole:,} bytes packed into {path.stat().st_size:,}: torch writes no such file, and it is not unpacked")
    return whole


def said(errors: str, code: int) -> str:
    """Why the child gave up, in one line."""
    last = [line.strip() for line in errors.splitlines() if line.startswith("REFUSED: ")]
    if last:
        return last[-1].removeprefix("REFUSED: ")
    return f"it took more memory or time than its tensors can need, or ended the process that read it (exit {code})"


# the child


def confine(limits: Mapping[str, int]) -> None:
    """Give away what reading tensors does not need."""
    statm = Path("/proc/self/statm")
    taken = int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else ROOM
    for what, most in (
        (resource.RLIMIT_AS, taken + limits["memory"]), (resource.RLIMIT_CPU, limits["seconds"]), (resource.RLIMIT_FSIZE, limits["written"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    if sys.platform == "linux":
        ctypes.CDLL(None).unshare(NEW_NETWORK)                                            # refused in some containers: then the network stays


def tensors(value: Any) -> dict[str, Tensor]:
    """Named tensors out of what a file holds. Raises ValueError for anything else."""
    if isinstance(value, Mapping) and not any(isinstance(part, Tensor) for part in value.values()):
        value = next((value[name] for name in WRAPPED if isinstance(value.get(name), Mapping)), value)
    if not isinstance(value, Mapping) or not value:
        raise ValueError("it does not hold tensors by name")
    found = {name: part.detach() for name, part in value.items() if isinstance(name, str) and isinstance(part, Tensor)}
    if len(found) != len(value):
        raise ValueError(f"'{next(name for name in value if name not in found)}' is no tensor")
    return found


def convert(path: Path, folder: Path) -> None:
    """Write the tensors of a pickled file as safetensors, each once; `shared.json` says which names are the same tensor."""
    value = tensors(torch.load(path, map_location="cpu", weights_only=True))
    first: dict[tuple[Any, ...], str] = {}
    once, same = {}, {}
    for name, part in value.items():
        if part.layout != torch.strided:
            raise ValueError(f"'{name}' is not a dense tensor")
        place = (part.untyped_storage().data_ptr(), part.storage_offset(), tuple(part.shape), part.stride(), part.dtype) if part.numel() else (name,)
        if place in first:
            same[name] = first[place]
        else:
            first[place], once[name] = name, part
    with (folder / "tensors.safetensors").open("wb") as file:
        for piece in tensor_files.pieces(once, {"format": "pt"}):
            file.write(piece)
    (folder / "shared.json").write_text(json.dumps(same))


def main() -> None:
    """The child: path, folder and limits from the command line."""
    confine(json.loads(sys.argv[3]))
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except BaseException as error:
        called = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        if called:
            why = f"it would call {called[1]}, which makes no tensor"
        elif why.startswith("Weights only load failed"):
            why = "it holds something that torch does not write for tensors"
        print(f"REFUSED: {why}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
