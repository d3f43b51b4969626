"""R05 and R06: whichever call to the disk fails, the error is raised, what was saved before loads, and nothing is left lying about."""

from __future__ import annotations

import contextlib
import errno
import os
import time

import pytest
import torch

from faults.builds import trainer
from faults.children import FAMILIES, differences, left_behind
from ftheta.core.atomic import ASIDE, TEMPORARY, clear_attempts, commit, verify
from ftheta.core.errors import FolderError
from ftheta.data.stages import stage
from ftheta.training.checkpoints import Checkpoints, State

CALLS = ("open", "write", "fsync", "rename", "mkdir", "ftruncate")
FAULTS = {"no space": errno.ENOSPC, "I/O error": errno.EIO, "access": errno.EACCES, "read-only": errno.EROFS}


class Disk:
    """Counts the calls that change the disk, and lets the `fails`-th of them fail."""

    def __init__(self, monkeypatch, fails: int = 0, number: int = errno.EIO, again: bool = False):
        self.count = 0
        for name in CALLS:
            real = getattr(os, name)

            def wrapped(*args, _real=real, _name=name, **kwargs):
                if _name == "open" and not args[1] & (os.O_WRONLY | os.O_RDWR):
                    return _real(*args, **kwargs)
                self.count += 1
                if fails and (self.count == fails or (again and self.count > fails)):
                    raise OSError(number, os.strerror(number))
                return _real(*args, **kwargs)

            monkeypatch.setattr(os, name, wrapped)


def state(step: int) -> State:
    draw = torch.Generator().manual_seed(step)
    groups = {"model": {"w": torch.randn(64, 8, generator=draw)}, "optimizer": {"w/m": torch.randn(64, 8, generator=draw)}}
    return State(step, groups, {"step": step, "validation_loss": 1.0})


def equal(a: State | None, b: State) -> bool:
    return a is not None and a.step == b.step and all(torch.equal(a.groups[g][n], value) for g, group in b.groups.items() for n, value in group.items())


def leftovers(folder) -> list[str]:
    return [place.name for place in folder.rglob("*") if place.name.startswith((TEMPORARY, ASIDE))]


def calls_of_a_save(folder) -> int:
    checkpoints = Checkpoints(folder)
    checkpoints.save(state(1))
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch)
        checkpoints.save(state(2))
    return disk.count


@pytest.mark.parametrize("behind", [False, True], ids=["waiting", "behind"])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_of_a_save_may_fail(fault, behind, tmp_path):
    total = calls_of_a_save(tmp_path / "count")
    assert total >= 12
    for number in range(1, total + 1):
        for again in (False, True):
            folder = tmp_path / f"{number}-{again}"
            checkpoints = Checkpoints(folder)
            checkpoints.save(state(1))
            with pytest.MonkeyPatch.context() as patch:
                Disk(patch, number, FAULTS[fault], again)
                failed = False
                try:
                    if behind:
                        checkpoints.save_behind(state(2))
                        checkpoints.wait()
                    else:
                        checkpoints.save(state(2))
                except (OSError, FolderError):
                    failed = True
            found = Checkpoints(folder).newest()
            assert equal(found, state(2)) or (failed and equal(found, state(1))), number
            assert failed or (number == 1 and not again), number                          # making a folder that is there already may fail
            assert not leftovers(folder), number
            assert all(not verify(place) for place in folder.glob("step-*")), number


def test_a_failed_replacement_keeps_what_was_there(tmp_path):
    def write(text: bytes) -> None:
        with commit(tmp_path / "thing", replace=True) as attempt:
            attempt.write("a", text)

    write(b"old")
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch)
        write(b"old")
    for number in range(1, disk.count + 1):
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, number, errno.ENOSPC)
            with pytest.raises(OSError) if number > 1 else contextlib.nullcontext():     # making a folder that is there already may fail
                write(b"new")
        assert not verify(tmp_path / "thing"), number
        clear_attempts(tmp_path)
        assert [place.name for place in tmp_path.iterdir()] == ["thing"], number
        write(b"old")


def test_a_replacement_that_died_between_its_renames_is_undone(tmp_path):
    with commit(tmp_path / "thing") as attempt:
        attempt.write("a", b"old")
    (tmp_path / "thing").rename(tmp_path / f"{ASIDE}thing-0a1b2c3d")
    (tmp_path / f"{TEMPORARY}thing-17-0a1b2c3d").mkdir()
    clear_attempts(tmp_path)
    assert not verify(tmp_path / "thing") and not leftovers(tmp_path)


def test_an_attempt_of_another_process_at_another_artefact_is_left_alone(tmp_path):
    def other(attempt):
        attempt.write("b", b"2")

    def build(attempt):
        attempt.write("a", b"1")
        stage(tmp_path, "tokens", {"key": 2}, other)                                      # as another process would, meanwhile
        attempt.write("c", b"3")

    assert not verify(stage(tmp_path, "tokens", {"key": 1}, build))


@pytest.mark.parametrize("most", [1, 7, 4096])
def test_short_writes_lose_nothing(most, tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:most])))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(3))
    assert equal(checkpoints.newest(), state(3))


def test_a_disk_that_writes_nothing_is_an_error_and_no_endless_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", lambda descriptor, data: 0)
    with pytest.raises(OSError):
        Checkpoints(tmp_path).save(state(3))


def test_a_slow_disk_never_mixes_two_saves(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: (time.sleep(0.02), real(descriptor, data))[1])
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (1, 2, 3):
        checkpoints.save_behind(state(step))
        checkpoints.settle()
    checkpoints.wait()
    assert all(equal(checkpoints.load(step), state(step)) and not verify(checkpoints.path(step)) for step in (1, 2, 3))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["waiting", "behind"])
def test_a_full_disk_stops_training_and_a_free_one_continues_exactly(family, asynchronous, recipe, golden, tmp_path):
    data = recipe(family)
    data["train"]["checkpoint"] = {"every": 4, "asynchronous": asynchronous}
    once = trainer(data, tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:

        def fill(name, facts):
            if name == "metrics" and facts["step"] == 7:
                Disk(patch, 1, errno.ENOSPC, again=True)

        once.events.listeners.append(fill)
        with pytest.raises((FolderError, OSError), match=r"No space left|could not be written"):
            once.fit()
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps() == [4]
    assert not leftovers(tmp_path / "run")
    trainer(data, tmp_path / "run").fit()
    assert not differences(left_behind(tmp_path / "run"), golden(family))
