"""R01 to R04: killed with SIGKILL at any moment, once or several times, a run ends with the same losses and parameters, bit by bit."""

from __future__ import annotations

import signal

import pytest

from faults.conftest import FAMILIES, differences, left_behind

IN_A_COMMIT = ("write", "fsync", "rename", "mkdir")


@pytest.mark.parametrize("family", FAMILIES)
def test_uninterrupted_runs_are_equal(family, zygote, recipe, golden, tmp_path):
    assert zygote.run(recipe(family), tmp_path / "run") == 0, zygote.said()
    assert not differences(left_behind(tmp_path / "run"), golden(family))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("steps", [(1,), (5,), (9, 11), (2, 6, 10)])
def test_killed_at_steps(family, steps, zygote, recipe, golden, tmp_path):
    for step in steps:
        assert zygote.run(recipe(family), tmp_path / "run", fault={"kind": "killed_at", "step": step}) == -signal.SIGKILL
    assert zygote.run(recipe(family), tmp_path / "run") == 0, zygote.said()
    assert not differences(left_behind(tmp_path / "run"), golden(family))
