"""R12 to R14: SIGTERM at any time ends a run with its state saved and exit code 143; nothing is orphaned; what follows is exact."""

from __future__ import annotations

import os
import signal
import time

import pytest

from faults.children import FAMILIES, differences, free_port, left_behind, rank_environment, wait_for
from ftheta.core.atomic import ASIDE, TEMPORARY, verify
from ftheta.training.checkpoints import Checkpoints

STOPPED = 143
KILLED = -signal.SIGKILL


def leftovers(folder) -> list[str]:
    return [place.name for place in folder.rglob("*") if place.name.startswith((TEMPORARY, ASIDE))]


def signalled(zygote, recipe, out, there, fault, number=signal.SIGTERM, within=300.0, **more) -> int:
    """The exit code of a child that is sent a signal as soon as it says it is `there`, and ends so many seconds after it."""
    pid = zygote.start(recipe, out, fault={**fault, "there": str(there)}, **more)
    wait_for(there)
    os.kill(pid, number)
    start = time.monotonic()
    code = zygote.wait(pid)
    assert time.monotonic() - start < within
    return code


def finish(zygote, recipe, out, golden):
    assert not leftovers(out)
    assert zygote.run(recipe, out) == 0, zygote.said()
    assert not differences(left_behind(out), golden)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_while_training(family, number, zygote, recipe, golden, tmp_path):
    out = tmp_path / "run"
    assert signalled(zygote, recipe(family), out, tmp_path / "there", {"kind": "slow_steps", "step": 6, "seconds": 0.1}, number) == STOPPED
    assert Checkpoints(out / "checkpoints").steps()[-1] in (6, 7)                         # after the step it struck in, not at the next checkpoint
    finish(zygote, recipe(family), out, golden(family))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["waiting", "behind"])
def test_while_saving(family, asynchronous, zygote, recipe, golden, tmp_path):
    data, out = recipe(family), tmp_path / "run"
    data["train"]["checkpoint"] = {"every": 4, "asynchronous": asynchronous}
    fault = {"kind": "slow_calls", "calls": ["rename"], "within": "step-4", "seconds": 0.3}
    assert signalled(zygote, data, out, tmp_path / "there", fault) == STOPPED
    assert all(not verify(place) for place in (out / "checkpoints").glob("step-*"))
    finish(zygote, data, out, golden(family))


def test_in_the_last_save_of_training(zygote, recipe, golden, tmp_path):
    data, out = recipe("policy"), tmp_path / "run"
    data["train"]["checkpoint"] = {}
    fault = {"kind": "slow_calls", "calls": ["rename"], "within": "step-12", "seconds": 0.3}
    assert signalled(zygote, data, out, tmp_path / "there", fault) == STOPPED
    assert Checkpoints(out / "checkpoints").steps() == [12]
    finish(zygote, data, out, golden("policy"))


def test_while_compiling(zygote, recipe, golden, tmp_path):
    data, out = recipe("language"), tmp_path / "run"
    data["train"]["compile"] = "always"
    assert signalled(zygote, data, out, tmp_path / "there", {"kind": "slow_compile", "seconds": 0.5}) == STOPPED
    assert Checkpoints(out / "checkpoints").steps() == [1]
    finish(zygote, recipe("language"), out, golden("language"))


def test_while_reading_data(zygote, recipe, golden, tmp_path):
    out, home = tmp_path / "run", tmp_path / "home"
    more = {"environment": {"FTHETA_HOME": str(home)}}
    fault = {"kind": "slow_calls", "calls": ["fsync"], "seconds": 0.3}
    assert signalled(zygote, recipe("language"), out, tmp_path / "there", fault, within=20, **more) == STOPPED
    assert zygote.run(recipe("language"), out, **more) == 0, zygote.said()
    assert not differences(left_behind(out), golden("language")) and not leftovers(home)


OUTSIDE: dict[str, dict[str, str]] = {
    "evaluating": {"kind": "slow_evaluation"}, "tracker": {"kind": "slow_listener", "stage": "evaluate"}, "begin": {"kind": "slow_listener", "stage": "data"},
}


@pytest.mark.parametrize("fault", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_outside_training_at_once(fault, zygote, recipe, golden, tmp_path):
    out = tmp_path / "run"
    slow = {**fault, "seconds": 90}
    assert signalled(zygote, recipe("language"), out, tmp_path / "there", slow, within=60, mode="run") == STOPPED, zygote.said()
    assert not leftovers(out)
    assert zygote.run(recipe("language"), out, mode="run") == 0, zygote.said()
    assert not differences(left_behind(out), golden("language")) and not verify(out / "report") and not verify(out / "model")


def test_a_second_signal_ends_it_at_once_and_loses_only_what_was_not_saved(zygote, recipe, golden, tmp_path):
    out = tmp_path / "run"
    pid = zygote.start(recipe("policy"), out, fault={"kind": "slow_steps", "step": 5, "there": str(tmp_path / "there"), "seconds": 20})
    wait_for(tmp_path / "there")
    os.kill(pid, signal.SIGTERM)
    time.sleep(0.2)
    os.kill(pid, signal.SIGTERM)
    assert zygote.wait(pid, 15) == STOPPED
    assert Checkpoints(out / "checkpoints").steps() == [3]
    finish(zygote, recipe("policy"), out, golden("policy"))


def pair(zygote, recipe, out, faults=(None, None)) -> list[int]:
    """Two processes as torchrun would start them."""
    port = free_port()
    return [zygote.start(recipe, out, fault=faults[rank], environment=rank_environment(rank, 2, port)) for rank in (0, 1)]


@pytest.fixture(scope="module")
def golden_pair(zygote, recipe, tmp_path_factory):
    """What two processes leave behind when nothing happens."""
    known = {}

    def of(family):
        if family not in known:
            out = tmp_path_factory.mktemp(f"pair-{family}") / "run"
            assert [zygote.wait(pid) for pid in pair(zygote, recipe(family), out)] == [0, 0], zygote.said()
            known[family] = left_behind(out)
        return known[family]

    return of


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("struck", [0, 1], ids=["first", "second"])
def test_sigterm_to_one_of_two_processes_stops_both(family, struck, zygote, recipe, golden_pair, tmp_path):
    out, there = tmp_path / "run", tmp_path / "there"
    slow = {"kind": "slow_steps", "step": 5, "there": str(there), "seconds": 0.1}
    pids = pair(zygote, recipe(family), out, (slow, None))
    wait_for(there)
    os.kill(pids[struck], signal.SIGTERM)
    assert [zygote.wait(pid, 30) for pid in pids] == [STOPPED, STOPPED], zygote.said()
    assert not leftovers(out)
    assert [zygote.wait(pid) for pid in pair(zygote, recipe(family), out)] == [0, 0], zygote.said()
    assert not differences(left_behind(out), golden_pair(family))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("struck", [0, 1], ids=["first", "second"])
def test_when_one_of_two_processes_is_killed_the_other_ends_too(family, struck, zygote, recipe, golden_pair, tmp_path):
    out, there = tmp_path / "run", tmp_path / "there"
    slow = {"kind": "slow_steps", "step": 5, "there": str(there), "seconds": 0.1}
    pids = pair(zygote, recipe(family), out, (slow, None))
    wait_for(there)
    os.kill(pids[struck], signal.SIGKILL)
    assert zygote.wait(pids[struck], 30) == KILLED
    assert zygote.wait(pids[1 - struck], 30) > 0, zygote.said()
    assert [zygote.wait(pid) for pid in pair(zygote, recipe(family), out)] == [0, 0], zygote.said()
    assert not differences(left_behind(out), golden_pair(family))
