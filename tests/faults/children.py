"""Children that train and can be killed, what they leave behind, and how two such heaps differ."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FAMILIES = ("language", "gan", "policy")
CLOCK = ("seconds", "waited", "units_per_second")
"""Facts that no two runs share."""


class Zygote:
    """Talks to `zygote.py`."""

    def __init__(self, folder: Path):
        self.log = folder / "children.log"
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
        )
        self.running: set[int] = set()
        self.read()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the program that starts children has died"
        return json.loads(line)

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self.read()

    def start(
        self, recipe: dict[str, Any], out: Path, *, mode: str = "fit", fault: dict[str, Any] | None = None, environment: dict[str, str] | None = None,
        threads: int = 1, user: int | None = None,
    ) -> int:
        """A child's pid."""
        self.log.unlink(missing_ok=True) if not self.running else None
        where = {"recipe": recipe, "out": str(out), "log": str(self.log)}
        pid = self.ask(do="start", **where, mode=mode, fault=fault, environment=environment, threads=threads, user=user)["pid"]
        self.running.add(pid)
        return pid

    def wait(self, pid: int, seconds: float = 60) -> int:
        """Its exit code, negative for a signal. A child that outlives `seconds` is killed and fails the test."""
        code = self.ask(do="wait", pid=pid, seconds=seconds)["code"]
        if code is None:
            os.kill(pid, signal.SIGKILL)
            self.ask(do="wait", pid=pid, seconds=10)
        self.running.discard(pid)
        assert code is not None, f"still running after {seconds} s:\n{self.said()}"
        return code

    def run(self, recipe: dict[str, Any], out: Path, **more: Any) -> int:
        return self.wait(self.start(recipe, out, **more))

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


def left_behind(out: Path) -> dict[str, Any]:
    """The list of losses as text, and the bytes of everything in the last checkpoint that is not a clock's."""
    steps = sorted(int(place.name[5:]) for place in (out / "checkpoints").glob("step-*"))
    last = out / "checkpoints" / f"step-{steps[-1]}"
    counters = json.loads((last / "state.json").read_text())
    return {
        "step": steps[-1], "losses": losses(out),
        "counters": {key: value for key, value in counters.items() if key not in CLOCK},
        **{place.name: place.read_bytes() for place in sorted(last.glob("*.safetensors"))},
    }


def losses(out: Path) -> list[str]:
    """The lines of metrics.jsonl without what comes from a clock, as text: equal text is equal bits."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [json.dumps({key: value for key, value in line.items() if key not in CLOCK}) for line in lines]


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Names of what is not equal, losses line by line."""
    names = [name for name in sorted({*found, *wanted} - {"losses"}) if found.get(name) != wanted.get(name)]
    pairs = zip(found["losses"], wanted["losses"], strict=False)
    return names + [f"{a} is not {b}" for a, b in pairs if a != b] + ([] if len(found["losses"]) == len(wanted["losses"]) else ["number of lines"])


def wait_for(place: Path, seconds: float = 60) -> None:
    """Until a file is there."""
    end = time.monotonic() + seconds
    while not place.exists():
        assert time.monotonic() < end, f"{place} never came"
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rank_environment(rank: int, world: int, port: int) -> dict[str, str]:
    """What torchrun would set."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
