import os
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from ftheta.core import tensors
from ftheta.core.atomic import TEMPORARY, clear_attempts, commit, file_name, holder, lock, verify, write_file
from ftheta.core.errors import FolderError


def leftovers(folder):
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(TEMPORARY)]


def test_commit_is_whole_or_absent(tmp_path):
    final = tmp_path / "thing"
    with pytest.raises(RuntimeError), commit(final) as attempt:
        attempt.write("a", b"1")
        raise RuntimeError
    assert not final.exists() and not leftovers(tmp_path)
    with commit(final, {"why": "test"}) as attempt:
        attempt.write("a", b"1", b"23")
        attempt.write_json("sub/b.json", {"x": "中文"})
    assert verify(final) == []
    assert (final / "a").read_bytes() == b"123"


def test_replace_swaps_whole_folders(tmp_path):
    for text in (b"old", b"new"):
        with commit(tmp_path / "x", replace=True) as attempt:
            attempt.write("a", text)
    assert (tmp_path / "x" / "a").read_bytes() == b"new" and not leftovers(tmp_path)
    with pytest.raises(FolderError, match="already exists"), commit(tmp_path / "x"):
        pass


def test_every_flipped_byte_and_truncation_is_found(tmp_path):
    with commit(tmp_path / "x") as attempt:
        attempt.write("a", bytes(range(64)))
    place = tmp_path / "x" / "a"
    whole = place.read_bytes()
    for i in range(len(whole)):
        place.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        assert "checksum differs" in verify(tmp_path / "x")[0]
        place.write_bytes(whole[:i])
        assert "were written" in verify(tmp_path / "x")[0]
    place.unlink()
    assert "is missing" in verify(tmp_path / "x")[0]


def test_short_writes_are_completed(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:7])))
    write_file(tmp_path / "f", b"x" * 100)
    with commit(tmp_path / "x") as attempt:
        attempt.write("a", b"y" * 100)
    assert (tmp_path / "f").read_bytes() == b"x" * 100 and verify(tmp_path / "x") == []


def test_lock_refuses_a_second_writer(tmp_path):
    with lock(tmp_path), pytest.raises(FolderError, match=rf"another process \(pid {os.getpid()}\)"), lock(tmp_path):
        pass
    with lock(tmp_path):
        pass


def test_dead_attempts_are_cleared(tmp_path):
    (tmp_path / f"{TEMPORARY}x-1").mkdir()
    (tmp_path / f"{TEMPORARY}f").write_text("x")
    assert len(clear_attempts(tmp_path)) == 2 and not leftovers(tmp_path)


def test_a_title_is_a_name_of_a_file_on_any_system():
    assert file_name("occupations: log p(he) - log p(she)") == "occupations__log_p_he__-_log_p_she_"
    assert file_name('a/b\\c:d*e?f"g<h>i|j\n') == "a_b_c_d_e_f_g_h_i_j_"
    assert file_name("1,0 à 3.5+2@é_中文_हिन्दी") == "1,0_à_3.5+2@é_中文_हिन्दी"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool])
def test_tensors_are_what_the_library_reads(tmp_path, dtype):
    values = {"b": torch.randn(3, 5).mul(9).to(dtype), "a.c": torch.ones(()).to(dtype), "empty": torch.empty(0, 4, dtype=dtype), "t": torch.ones(4, 6).to(dtype).t()}
    with commit(tmp_path / "x") as attempt:
        attempt.write("m.safetensors", *tensors.pieces(values, {"format": "pt"}))
    found = safetensors.torch.load_file(tmp_path / "x" / "m.safetensors")
    assert found.keys() == values.keys()
    assert all(torch.equal(found[name], values[name]) for name in values)


def test_mismatches_are_reported_together():
    found = {"a": torch.ones(2), "c": torch.ones(1), "d": torch.ones(1, dtype=torch.int64)}
    wanted = {"a": torch.ones(3), "b": torch.ones(1), "d": torch.ones(1)}
    assert len(tensors.mismatches(found, wanted)) == 4


def test_who_holds_a_folder_is_known_from_outside(tmp_path):
    """The process that holds the lock, and nobody once it is gone, however it went."""
    assert holder(tmp_path) is None
    with lock(tmp_path):
        assert holder(tmp_path) == os.getpid()
    assert holder(tmp_path) is None
    code = f"import sys, time; from pathlib import Path; from ftheta.core.atomic import lock\nwith lock(Path({str(tmp_path)!r})): print('held', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    assert holder(tmp_path) == process.pid
    process.kill()
    process.wait()
    assert (tmp_path / ".lock").read_text() == f"{process.pid}\n" and holder(tmp_path) is None
    (tmp_path / ".lock").write_text(f"{os.getpid()}\n")                                   # one that lives and holds nothing
    assert holder(tmp_path) is None
    (tmp_path / ".lock").write_text("nobody")
    assert holder(tmp_path) is None
