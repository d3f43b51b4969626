"""Children to kill, the tiny recipes they train, and what must be equal afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny

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
        pid = self.ask(do="start", recipe=recipe, out=str(out), mode=mode, fault=fault, environment=environment, threads=threads, user=user, log=str(self.log))["pid"]
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


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    started = Zygote(tmp_path_factory.mktemp("zygote"))
    yield started
    assert started.process.stdin is not None
    started.process.stdin.close()
    started.process.wait(10)


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="session")
def recipe(texts: Path) -> Callable[[str], dict[str, Any]]:
    """A fresh copy of the tiny recipe of a family."""
    makers: dict[str, Callable[[], dict[str, Any]]] = {"language": lambda: tiny.language(texts), "gan": tiny.gan, "policy": tiny.policy}
    return lambda family: makers[family]()


@pytest.fixture(scope="session")
def golden(zygote: Zygote, recipe: Callable[[str], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """What an uninterrupted run of a family leaves behind."""
    known: dict[str, dict[str, Any]] = {}

    def of(family: str) -> dict[str, Any]:
        if family not in known:
            out = tmp_path_factory.mktemp(f"golden-{family}") / "run"
            assert zygote.run(recipe(family), out) == 0, zygote.said()
            known[family] = left_behind(out)
        return known[family]

    return of


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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rank_environment(rank: int, world: int, port: int) -> dict[str, str]:
    """What torchrun would set."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
