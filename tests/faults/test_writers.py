"""R11 and R25: a second writer refuses, and so does a run that could not save anything, before its first step."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from faults.children import FAMILIES, differences, left_behind, wait_for
from ftheta.core.atomic import lock
from ftheta.core.errors import FolderError
from ftheta.lifecycle.lifecycle import held, run

NOBODY = 65534


@pytest.mark.parametrize("family", FAMILIES)
def test_a_second_writer_refuses_and_the_first_goes_on(family, zygote, recipe, golden, tmp_path):
    out = tmp_path / "run"
    first = zygote.start(recipe(family), out, fault={"kind": "slow_steps", "step": 5, "there": str(tmp_path / "there"), "seconds": 0.15})
    wait_for(tmp_path / "there")
    assert zygote.run(recipe(family), out) == 1
    assert f"another process (pid {first})" in zygote.said()
    assert zygote.wait(first) == 0
    assert not differences(left_behind(out), golden(family))


def test_a_killed_writer_leaves_no_lock(zygote, recipe, golden, tmp_path):
    out = tmp_path / "run"
    pid = zygote.start(recipe("policy"), out, fault={"kind": "slow_steps", "step": 5, "there": str(tmp_path / "there"), "seconds": 5})
    wait_for(tmp_path / "there")
    os.kill(pid, signal.SIGKILL)
    assert zygote.wait(pid) == -signal.SIGKILL
    assert zygote.run(recipe("policy"), out) == 0
    assert not differences(left_behind(out), golden("policy"))


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize("begun", [False, True], ids=["new", "begun"])
@pytest.mark.parametrize("own_lock", [False, True], ids=["lock of root", "own lock"])
def test_a_folder_that_cannot_be_written_fails_before_step_1(begun, own_lock, zygote, recipe, tmp_path):
    out = tmp_path / "run"
    if begun:
        assert zygote.run(recipe("policy"), out, fault={"kind": "killed_at", "step": 4}) == -signal.SIGKILL
        lines = (out / "metrics.jsonl").read_bytes()
    else:
        out.mkdir()
    (out / ".lock").touch()
    os.chown(out / ".lock", NOBODY if own_lock else 0, -1)
    out.chmod(0o555)
    tmp_path.chmod(0o755)
    assert zygote.run(recipe("policy"), out, user=NOBODY) == 1
    assert "cannot be written" in zygote.said() and "choose another --out" in zygote.said()
    assert (out / "metrics.jsonl").exists() == begun and (not begun or (out / "metrics.jsonl").read_bytes() == lines)


def test_places_that_can_hold_no_folder(recipe, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (Path("/proc/nothing/run"), tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(FolderError), held(place):
            pass
        with pytest.raises(FolderError):
            run(recipe("policy"), out=place)


def test_a_read_only_disk_is_found_when_the_lock_is_taken(tmp_path, monkeypatch):
    with lock(tmp_path):
        pass
    real = os.open

    def refuse(path, flags, *more):
        if flags & os.O_EXCL:
            raise OSError(30, "Read-only file system")
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FolderError, match="Read-only file system"), held(tmp_path):
        pass
