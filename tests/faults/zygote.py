"""Starts children that train and can be killed at a chosen place. Run as a program: one JSON command a line in, one JSON answer out.

Everything is imported once, then every child is forked, so a child costs milliseconds. A child has a process of its own, which SIGKILL
ends as it would any other. Faults are put in here, by wrapping `os` inside the child; the package has no hooks.

Commands: {"do": "start", "recipe", "out", "mode", "fault", "environment", "threads"} → {"pid"};  {"do": "wait", "pid", "seconds"} → {"code"}.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet  # noqa: F401  (this and the next two are imported late otherwise, by every child anew)
import sklearn.datasets  # noqa: F401
import torch
import torch._dynamo

from ftheta.architectures import ARCHITECTURES
from ftheta.architectures.architecture import Estimator
from ftheta.blocks import MIXERS
from ftheta.core import distributed
from ftheta.core.errors import FthetaError
from ftheta.core.log import configure
from ftheta.data.sources import SOURCES
from ftheta.lifecycle import lifecycle
from ftheta.lifecycle.build import build_data, build_model, build_source, build_validation, completed
from ftheta.lifecycle.lifecycle import claim, held, run
from ftheta.lifecycle.recipe import load
from ftheta.objectives import OBJECTIVES
from ftheta.training.checkpoints import Checkpoints
from ftheta.training.events import Events
from ftheta.training.optimizers import OPTIMIZERS
from ftheta.training.stopping import StopRequest
from ftheta.training.trainer import Trainer

USED = {
    ARCHITECTURES: ("decoder", "gan", "actor_critic", "resnet"), OBJECTIVES: ("next_token", "adversarial", "ppo", "classification"),
    OPTIMIZERS: ("adamw",), MIXERS: ("attention",), SOURCES: ("text_files", "digits"),
}
"""Modules that catalogues import late, imported early for the same reason."""


def fit(recipe: dict[str, Any], folder: Path, listeners: list[Any]) -> None:
    """What `run` does up to the end of training, without what takes longer than the training: cost accounting, model folder, report."""
    parsed = load(recipe)
    distributed.start()
    stop = StopRequest()
    first = distributed.rank() == 0
    with stop.installed(), held(folder):
        data = build_data(parsed)
        parsed = completed(parsed, data.ports.sizes)
        claim(parsed, folder)
        model = build_model(parsed.architecture(data.ports.sizes), parsed.seed)
        assert not isinstance(model, Estimator)
        checkpoints = Checkpoints(folder / "checkpoints", parsed.train.checkpoint.keep, parsed.train.checkpoint.pin_every)
        events = Events(folder if first else None, listeners if first else [])
        Trainer(
            model, parsed.objective, build_source(parsed, data), parsed.train, seed=parsed.seed, validation=build_validation(parsed, data),
            checkpoints=checkpoints, events=events, stop=stop,
        ).fit()


def break_calls(fault: dict[str, Any]) -> None:
    """Kill the process just before the `at`-th counted call to one of `calls`, or just after it with `after`."""
    left = [fault["at"]]

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and not fault.get("after"):
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*args, **kwargs)
            finally:
                if left[0] == 0:                                                          # also when the call failed, as making a folder that is there does
                    os.kill(os.getpid(), signal.SIGKILL)

        return counted

    for name in fault["calls"]:
        setattr(os, name, wrapped(getattr(os, name)))


def slow_calls(fault: dict[str, Any]) -> None:
    """Every call to one of `calls` whose arguments mention `within` takes `seconds` longer and says so with a file `there`."""

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*args: Any, **kwargs: Any) -> Any:
            if fault.get("within", "") in str(args):
                Path(fault["there"]).touch()
                time.sleep(fault["seconds"])
            return call(*args, **kwargs)

        return slow

    for name in fault["calls"]:
        setattr(os, name, wrapped(getattr(os, name)))


def slow_compile(fault: dict[str, Any]) -> None:
    def compile_(self: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
        Path(fault["there"]).touch()
        for _ in range(20):
            time.sleep(fault["seconds"] / 20)

    torch.nn.Module.compile = compile_  # type: ignore[method-assign]


def slow_steps(fault: dict[str, Any]) -> Callable[[str, dict[str, Any]], None]:
    def listener(name: str, facts: dict[str, Any]) -> None:
        if name == "metrics" and facts["step"] >= fault["step"]:
            Path(fault["there"]).touch()
            time.sleep(fault["seconds"])

    return listener


def killed_at(fault: dict[str, Any]) -> Callable[[str, dict[str, Any]], None]:
    def listener(name: str, facts: dict[str, Any]) -> None:
        if name == "metrics" and facts["step"] == fault["step"]:
            os.kill(os.getpid(), signal.SIGKILL)

    return listener


def stop_at(fault: dict[str, Any]) -> Callable[[str, dict[str, Any]], None]:
    """SIGTERM from within, so that the step is certain."""

    def listener(name: str, facts: dict[str, Any]) -> None:
        if name == "metrics" and facts["step"] == fault["step"]:
            os.kill(os.getpid(), signal.SIGTERM)

    return listener


def slow_listener(fault: dict[str, Any]) -> Callable[[str, dict[str, Any]], None]:
    """Slow when a stage begins: a tracker that is interrupted."""

    def listener(name: str, facts: dict[str, Any]) -> None:
        if name == "stage" and facts["name"] == fault["stage"]:
            Path(fault["there"]).touch()
            time.sleep(fault["seconds"])

    return listener


def slow_evaluation(fault: dict[str, Any]) -> None:
    def slow(*args: Any) -> Any:
        Path(fault["there"]).touch()
        time.sleep(fault["seconds"])
        return real(*args)

    real, lifecycle.evaluate_all = lifecycle.evaluate_all, slow


def nan_at(fault: dict[str, Any]) -> None:
    """The loss of one step is not a number, in one process, until data has been left out."""

    def poisoned(self: Trainer, batch: Any, phase: Any, step: int) -> Any:
        total, count, metrics = real(self, batch, phase, step)
        bad = step == fault["step"] and distributed.rank() == fault["rank"] and not self.progress.skipped_data
        return (math.nan if bad else total), count, metrics

    real, Trainer.backward = Trainer.backward, poisoned  # type: ignore[method-assign]


LISTENERS = {"stop_at": stop_at, "slow_steps": slow_steps, "killed_at": killed_at, "slow_listener": slow_listener}
CHANGES = {"break_calls": break_calls, "slow_calls": slow_calls, "slow_compile": slow_compile, "slow_evaluation": slow_evaluation, "nan_at": nan_at}


def child(command: dict[str, Any]) -> int:
    """The exit code the command line would give."""
    fault = command.get("fault") or {}
    torch.set_num_threads(command.get("threads") or 1)
    listeners = [LISTENERS[fault["kind"]](fault)] if fault.get("kind") in LISTENERS else []
    if fault.get("kind") in CHANGES:
        CHANGES[fault["kind"]](fault)
    if user := command.get("user"):
        os.setgid(user)
        os.setuid(user)
    configure()
    try:
        if command.get("mode", "fit") == "fit":
            fit(command["recipe"], Path(command["out"]), listeners)
        else:
            run(command["recipe"], out=command["out"], listeners=listeners)
    except FthetaError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        return error.exit_code
    finally:
        distributed.stop()
    return 0


def start(command: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.environ.update(command.get("environment") or {})
        log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, place in ((0, null), (1, log), (2, log)):
            os.dup2(place, number)
        code = child(command)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        code = 70
    finally:
        os._exit(code)


def wait(pid: int, seconds: float) -> int | None:
    """The exit code, negative for a signal; None when it is still running after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def serve() -> None:
    torch.set_num_threads(1)
    for catalogue, names in USED.items():
        for name in names:
            catalogue.load(name)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        answer = {"pid": start(command)} if command["do"] == "start" else {"code": wait(command["pid"], command["seconds"])}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
