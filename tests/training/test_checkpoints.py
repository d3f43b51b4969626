import threading

import pytest
import torch

from ftheta.training.checkpoints import Checkpoints, State


def state(step: int) -> State:
    groups = {name: {f"{name}.{i}": torch.full((1000,), float(step * 10 + i)) for i in range(5)} for name in ("model", "optimizer", "average")}
    return State(step, groups, {"step": step})


def test_a_save_behind_holds_the_state_of_its_step(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        live = state(step)
        checkpoints.save_behind(live)
        for value in live.groups["model"].values():                                       # buffers move in the next forward pass
            value.add_(1)
        checkpoints.settle()
        for name in ("optimizer", "average"):                                             # these only when the step ends
            for value in live.groups[name].values():
                value.add_(1)
        checkpoints.wait()
        found, wanted = checkpoints.load(step).groups, state(step).groups
        assert all(torch.equal(found[name][key], value) for name, group in wanted.items() for key, value in group.items())


def test_settle_waits_for_the_copies_and_not_for_the_writing(tmp_path, monkeypatch):
    checkpoints, copying, writing = Checkpoints(tmp_path), threading.Event(), threading.Event()
    stage, save = checkpoints.stage, checkpoints.save

    def slow_stage(groups):
        if "optimizer" in groups:
            copying.wait(10)
        return stage(groups)

    def slow_save(found):
        writing.wait(10)
        return save(found)

    monkeypatch.setattr(checkpoints, "stage", slow_stage)
    monkeypatch.setattr(checkpoints, "save", slow_save)
    checkpoints.save_behind(state(1))
    assert not checkpoints.settled.is_set()
    copying.set()
    checkpoints.settle()
    assert checkpoints.steps() == []
    writing.set()
    checkpoints.wait()
    assert checkpoints.steps() == [1]


def test_a_copy_that_fails_stops_nobody_and_is_reported(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    stage = checkpoints.stage

    def failing(groups):
        if "optimizer" in groups:
            raise MemoryError("no room")
        return stage(groups)

    monkeypatch.setattr(checkpoints, "stage", failing)
    checkpoints.save_behind(state(1))
    checkpoints.settle()
    with pytest.raises(MemoryError):
        checkpoints.wait()
    assert checkpoints.steps() == []
