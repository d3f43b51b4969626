"""R01 to R04: killed with SIGKILL at any moment, once or several times, a run ends with the same losses and parameters, bit by bit."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time

import pytest

from faults.children import FAMILIES, differences, left_behind
from ftheta.core.atomic import verify

EVERY = (*FAMILIES, "images", "mixture")
COMMITTING = ("write", "fsync", "rename", "mkdir")
KILLED = -signal.SIGKILL


def finish(zygote, recipe, out, golden):
    """Continue a run to its end and compare it with the uninterrupted one."""
    assert zygote.run(recipe, out) == 0, zygote.said()
    assert not differences(left_behind(out), golden)


@pytest.mark.parametrize("family", FAMILIES)
def test_uninterrupted_runs_are_equal(family, zygote, recipe, golden, tmp_path):
    finish(zygote, recipe(family), tmp_path / "run", golden(family))


@pytest.mark.parametrize("family", EVERY)
@pytest.mark.parametrize("steps", [(1,), (12,), (2, 6, 10)], ids=str)
def test_killed_at_steps(family, steps, zygote, recipe, golden, tmp_path):
    for step in steps:
        assert zygote.run(recipe(family), tmp_path / "run", fault={"kind": "killed_at", "step": step}) == KILLED
    finish(zygote, recipe(family), tmp_path / "run", golden(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_killed_at_steps_while_saving_behind(family, zygote, recipe, golden, tmp_path):
    data = recipe(family)
    data["train"]["checkpoint"] = {"every": 2, "asynchronous": True}
    for step in (4, 7, 11):
        assert zygote.run(data, tmp_path / "run", fault={"kind": "killed_at", "step": step}) == KILLED
    finish(zygote, data, tmp_path / "run", golden(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_killed_at_random_moments(family, zygote, recipe, golden, tmp_path):
    draws, killed = random.Random(family), 0
    zygote.run(recipe(family), tmp_path / "first")                                         # data are prepared once
    began = time.monotonic()
    zygote.run(recipe(family), tmp_path / "whole")
    length = time.monotonic() - began
    for _ in range(40):
        pid = zygote.start(recipe(family), tmp_path / "run")
        time.sleep(draws.uniform(0.1, 0.7) * length)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if zygote.wait(pid) == KILLED:
            killed += 1
        else:                                                                             # it was done by then: begin again
            shutil.rmtree(tmp_path / "run")
        if killed == 4:
            break
    finish(zygote, recipe(family), tmp_path / "run", golden(family))
    assert killed


def calls_of_a_run(zygote, recipe, out) -> int:
    """How many calls that change the disk a run makes: a child that is killed at a later one is not killed."""
    low, high = 1, 4096
    while low < high:
        middle = (low + high) // 2
        code = zygote.run(recipe, out / str(middle), fault={"kind": "break_calls", "calls": COMMITTING, "at": middle})
        low, high = (middle + 1, high) if code == KILLED else (low, middle)
    return low - 1


def killed_at_calls(family, zygote, recipe, golden, folder, calls, after):
    """Kill one run at each of these calls, and finish it."""
    for number in calls:
        out = folder / f"{number}-{after}"
        fault = {"kind": "break_calls", "calls": COMMITTING, "at": number, "after": after}
        assert zygote.run(recipe(family), out, fault=fault) == KILLED, number
        whole = [place for place in (out / "checkpoints").glob("step-*") if not verify(place)]
        assert len(whole) == len(list((out / "checkpoints").glob("step-*"))), f"call {number}: a checkpoint is there and not whole"
        finish(zygote, recipe(family), out, golden(family))


def test_killed_at_every_call_of_one_checkpoint(zygote, recipe, golden, tmp_path):
    # the calls in the middle of a run are those of a checkpoint; its commit makes about 15
    data = recipe("policy")
    total = calls_of_a_run(zygote, data, tmp_path / "count")
    middle = total // 2
    killed_at_calls("policy", zygote, recipe, golden, tmp_path, range(middle - 7, middle + 8), False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_call(family, after, zygote, recipe, golden, tmp_path):
    total = calls_of_a_run(zygote, recipe(family), tmp_path / "count")
    killed_at_calls(family, zygote, recipe, golden, tmp_path, range(1, total + 1), after)
