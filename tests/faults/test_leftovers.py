"""R34 and R35: a run leaves no process, thread, open file, temporary file or shared memory behind; another thread count is not called exact."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from faults.builds import trainer
from faults.children import FAMILIES, free_port, rank_environment
from ftheta.core.errors import NonFiniteError

PROGRAM = """
import json, os, sys, threading
import torch
torch.set_num_threads(1)
import ftheta
from ftheta.core import distributed
files = lambda: sorted(os.readlink(f"/proc/self/fd/{entry}") for entry in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{entry}"))
outcome = ftheta.run(json.loads(sys.argv[1]), out=sys.argv[2])
open_files = [name for name in files() if sys.argv[2] in name]
threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
print(json.dumps({"fresh": outcome.fresh, "threads": threads, "files": open_files}))
"""


def processes_of_session(session: int) -> list[str]:
    """Command lines of the processes of a session that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getsid(int(entry.name)) == session and (entry / "stat").read_text().split(") ")[1][0] != "Z":
                found.append((entry / "cmdline").read_text().replace("\0", " ")[:80])
        except OSError:
            continue
    return found


def shared_memory() -> set[str]:
    """What lies in shared memory, less the folders that other tests make there on purpose at the same time."""
    return {name for name in os.listdir("/dev/shm") if not name.startswith("ftheta-test-")}


@pytest.mark.parametrize("world", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_leaves_nothing_behind(world, recipe, tmp_path):
    temporary, data, out = tmp_path / "tmp", recipe("language"), tmp_path / "run"
    temporary.mkdir()
    data["train"]["workers"] = 2
    data["train"]["checkpoint"] = {"every": 2, "asynchronous": True}
    shared, port = shared_memory(), free_port()
    base = {**os.environ, "TMPDIR": str(temporary), "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
    base["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path / "inductor")                                  # torch keeps its own cache, on purpose
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(data), str(out)], env={**base, **(rank_environment(rank, world, port) if world > 1 else {})},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )
        for rank in range(world)
    ]
    for process in started:
        said, complaints = process.communicate(timeout=120)
        assert process.returncode == 0, complaints
        assert json.loads(said.splitlines()[-1]) == {"fresh": True, "threads": [], "files": []}
        assert not processes_of_session(process.pid)
    assert not list(temporary.iterdir())
    assert shared_memory() <= shared
    assert not [place for place in out.rglob(".*") if not place.name.endswith(".lock")]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_failed_training_leaves_no_thread_and_no_arithmetic_of_its_own(family, recipe, tmp_path):
    data = recipe(family)
    data["train"]["workers"] = 3
    data["train"]["checkpoint"] = {"every": 1, "asynchronous": True}
    once = trainer(data, tmp_path / "run")
    real = once.backward
    once.backward = lambda batch, phase, step: (real(batch, phase, step)[0] * (1.0 if step < 6 else math.nan), 1.0, {})  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError):
        once.fit()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("ftheta")] == []
    assert sys.float_info.min / 2 > 0                                                     # numbers too small to be normal are numbers again


@pytest.mark.parametrize("family", FAMILIES)
def test_another_thread_count_is_not_called_exact(family, zygote, recipe, tmp_path):
    data = recipe(family)
    data["train"]["threads"] = None
    assert zygote.run(data, tmp_path / "run", fault={"kind": "stop_at", "step": 5}) == 143
    assert zygote.run(data, tmp_path / "run", fault={"kind": "stop_at", "step": 8}, threads=1) == 143
    assert "not exact" not in zygote.said()
    assert zygote.run(data, tmp_path / "run", threads=2) == 0
    assert "continuing with 2 threads instead of 1: the result will be close, not exact" in zygote.said()
