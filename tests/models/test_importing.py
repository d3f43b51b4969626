"""`ftheta import`: what comes out is bit by bit what was in; files that would do something are refused and do nothing."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.test_hub import foreign, write

import ftheta
from ftheta.core import tensors
from ftheta.core.errors import FolderError, UsageError
from ftheta.interop import pickled


def old(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A folder whose weights are only there as one pickle, and its tensors; one stands under two names."""
    foreign(write(folder, tie=True))
    values = tensors.read(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**values, "lm_head.weight": values["model.embed_tokens.weight"]}, folder / "pytorch_model.bin")
    return folder, values


def test_a_pickle_becomes_a_model_folder(tmp_path: Path) -> None:
    folder, values = old(tmp_path / "old")
    assert ftheta.import_model(folder, tmp_path / "new", unsafe_pickle=True) == tmp_path / "new"
    found = tensors.read(tmp_path / "new" / "model.safetensors")
    assert found.keys() == values.keys() and all(torch.equal(found[name], values[name]) for name in values)
    assert ftheta.load(tmp_path / "new").generate("ab", most=4)
    assert not (tmp_path / "new" / "pytorch_model.bin").exists()


def test_shards_types_and_views(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    base = torch.arange(12.0)
    parts = [{"a": base[:6].view(2, 3), "b": base[6:]}, {"c": torch.ones(3, dtype=torch.bfloat16).t(), "d": torch.zeros(0, dtype=torch.int64), "e": base.view(3, 4).t()}]
    for i, part in enumerate(parts):
        torch.save(part, tmp_path / "old" / f"pytorch_model-{i}.bin")
    places = {name: f"pytorch_model-{i}.bin" for i, part in enumerate(parts) for name in part}
    (tmp_path / "old" / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    found = tensors.read(ftheta.import_model(tmp_path / "old", tmp_path / "new", unsafe_pickle=True) / "model.safetensors")
    for name, value in (parts[0] | parts[1]).items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name
    (tmp_path / "old" / "pytorch_model-1.bin").unlink()
    with pytest.raises(FolderError, match=r"lists files that are not there: pytorch_model-1.bin"):
        ftheta.import_model(tmp_path / "old", tmp_path / "other", unsafe_pickle=True)


def test_checkpoints_and_old_torch_files(tmp_path: Path) -> None:
    values = {"w": torch.randn(3, 2)}
    torch.save({"epoch": 3, "state_dict": values}, tmp_path / "a.pt")
    torch.save(values, tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    for file in ("a.pt", "b.pth"):
        assert torch.equal(tensors.read(ftheta.import_model(tmp_path / file, tmp_path / f"{file}-new", unsafe_pickle=True) / "model.safetensors")["w"], values["w"])


def test_without_the_flag_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = old(tmp_path / "old")
    monkeypatch.setattr(pickled, "read", lambda path: pytest.fail("it was read"))
    with pytest.raises(UsageError, match=r"pytorch_model.bin is a pickle, a program that may do anything.*--unsafe-pickle"):
        ftheta.import_model(folder, tmp_path / "new")
    with pytest.raises(UsageError, match="is there already"):
        ftheta.import_model(folder, folder, unsafe_pickle=True)


class Does:
    """Calls something when it is unpickled."""

    def __init__(self, call: Any, *arguments: Any):
        self.what = (call, arguments)

    def __reduce__(self) -> Any:
        return self.what


def zipped(data: bytes, compression: int = zipfile.ZIP_STORED, more: int = 0) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
        if more:
            archive.writestr("archive/data/0", b"\0" * more)
    return sink.getvalue()


def whole() -> bytes:
    sink = io.BytesIO()
    torch.save({"w": torch.randn(300, 300)}, sink)
    return sink.getvalue()


def wide() -> bytes:
    sink = io.BytesIO()
    torch.save({"w": torch.zeros(1).expand(1 << 40)}, sink)
    return sink.getvalue()


def does(place: Path) -> dict[str, tuple[bytes, str]]:
    """Files that are no models, and what is said of them."""
    command = f"touch {place}"
    return {
        "system": (pickle.dumps({"w": Does(os.system, command)}, protocol=2), r"it would call (posix|nt).system, which makes no tensor"),
        "newer system": (pickle.dumps({"w": Does(os.system, command)}, protocol=4), "something that torch does not write for tensors"),
        "zipped system": (zipped(pickle.dumps({"w": Does(os.system, command)}, protocol=2)), r"it would call (posix|nt).system"),
        "eval": (zipped(pickle.dumps(Does(eval, f"open({str(place)!r}, 'w')"), protocol=2)), r"it would call eval"),
        "zip bomb": (zipped(pickle.dumps({}), zipfile.ZIP_DEFLATED, 1 << 26), "packed into .*not unpacked"),
        "wide tensor": (wide(), "memory"),
        "cut off": (whole()[:100_000], "was not read"),
        "text": (b"not a model at all", "was not read"),
        "empty": (b"", "was not read"),
        "no tensors": (zipped(pickle.dumps({"w": 3}, protocol=2)), "'w' is no tensor"),
    }


@pytest.mark.parametrize("name", does(Path("x")))
def test_files_that_would_do_something(name: str, tmp_path: Path) -> None:
    data, said = does(tmp_path / "done")[name]
    (tmp_path / "m.bin").write_bytes(data)
    with pytest.raises(FolderError, match=said):
        ftheta.import_model(tmp_path / "m.bin", tmp_path / "new", unsafe_pickle=True)
    assert not (tmp_path / "done").exists() and not (tmp_path / "new").exists()


def test_what_takes_too_long_is_killed(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(whole())
    with pytest.raises(FolderError, match=r"took more than 0.01 seconds"):
        pickled.read(tmp_path / "m.bin", seconds=0.01)


def test_the_child_has_limits_and_no_network(tmp_path: Path) -> None:
    """What the confined process can still do, told by itself."""
    program = """
import json, resource, socket, sys
from ftheta.interop import pickled
pickled.confine({"memory": 1 << 30, "seconds": 5, "written": 1 << 20})
try:
    bytearray(8 << 30)
    memory = "free"
except MemoryError:
    memory = "limited"
listener = sys.argv[1]
try:
    socket.create_connection(("127.0.0.1", int(listener)), timeout=2)
    network = "there"
except OSError as error:
    network = "none"
print(json.dumps([memory, network, resource.getrlimit(resource.RLIMIT_CPU)[0]]))
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        bare = {**os.environ, "OMP_NUM_THREADS": "1"}                                     # as the child has it: a process with threads cannot leave the network
        done = subprocess.run([sys.executable, "-c", program, str(port)], capture_output=True, text=True, check=True, env=bare)
        alone = subprocess.run(["unshare", "-Un", "true"], capture_output=True).returncode == 0
    memory, network, seconds = json.loads(done.stdout)
    assert memory == "limited" and seconds == 5 and (network == "none" or not alone)


def test_llama2c_needs_no_flag(tmp_path: Path) -> None:
    dim, hidden, vocab, context = 8, 12, 260, 4
    sizes = [vocab * dim, dim, dim * dim, dim * dim, dim * dim, dim * dim, dim, hidden * dim, dim * hidden, hidden * dim, dim, 2 * context * 2]
    values = torch.randn(sum(sizes)).numpy()
    (tmp_path / "model.bin").write_bytes(struct.pack("<7i", dim, hidden, 1, 2, 2, vocab, context) + values.tobytes())
    pieces = [b"<unk>", b"<s>", b"</s>", *(f"<0x{i:02X}>".encode() for i in range(256)), b"a"]
    (tmp_path / "tokenizer.bin").write_bytes(struct.pack("<i", 6) + b"".join(struct.pack("<fi", 0.0, len(piece)) + piece for piece in pieces))
    ftheta.import_model(tmp_path / "model.bin", tmp_path / "new")
    a, b = ftheta.load(tmp_path / "model.bin"), ftheta.load(tmp_path / "new")
    assert all(torch.equal(value, b.architecture.theta()[name]) for name, value in a.architecture.theta().items())
