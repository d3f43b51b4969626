"""Runs as processes: started, stopped and continued by the commands a person would type, each of which is said.

A run outlives the page's server: it is stopped through its folder's lock, which says which process writes there.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from ftheta.core.atomic import holder, write_file
from ftheta.core.errors import UsageError
from ftheta.web.runs import Runs

PROGRAM = [sys.executable, "-c", "from ftheta.cli import main; main()"]
"""`ftheta`, by the Python that runs this."""


class Processes:
    """Those of the runs of one folder that were started here."""

    def __init__(self, runs: Runs):
        self.runs = runs
        self.started: dict[str, subprocess.Popen[bytes]] = {}

    def starting(self, name: str) -> bool:
        """Whether a process of ours lives."""
        process = self.started.get(name)
        return process is not None and process.poll() is None

    def process(self, name: str) -> int | None:
        """The process that writes a run, whoever started it."""
        return self.started[name].pid if self.starting(name) else holder(self.runs.folder / name)

    def start(self, name: str, recipe: str) -> str:
        """Run a recipe into a new folder; the equal command. Raises UsageError for a name that is taken."""
        place, file = self.runs.folder / name, self.runs.folder / f"{name}.yaml"
        if place.exists() or self.starting(name):
            raise UsageError(f"name: there is a run '{name}' already: choose another name, or continue that one")
        if file.exists() and not self.runs.begun_here(name):
            raise UsageError(f"name: there is a file {file} already: choose another name")
        self.runs.folder.mkdir(parents=True, exist_ok=True)
        write_file(file, recipe.encode())
        place.with_name(f"{name}.log").unlink(missing_ok=True)                            # of one that could not begin
        return self.carry_out(name, file)

    def resume(self, name: str) -> str:
        """Let a run go on; the equal command. Raises UsageError for one that is running."""
        folder = self.runs.find(name)
        if self.process(name) is not None:
            raise UsageError(f"name: '{name}' is running")
        return self.carry_out(name, recipe_of(self.runs, folder))

    def carry_out(self, name: str, recipe: Path) -> str:
        arguments = ["run", str(recipe), "--out", str(self.runs.folder / name)]
        with (self.runs.folder / f"{name}.log").open("ab") as log:
            self.started[name] = subprocess.Popen(
                [*PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )
        return command(arguments)

    def stop(self, name: str) -> str:
        """Ask a run to stop, which saves its state first; the equal command. Raises UsageError for one that is not running."""
        self.runs.find(name)
        process = self.process(name)
        if process is None:
            raise UsageError(f"name: '{name}' is not running")
        os.kill(process, signal.SIGTERM)
        return f"kill -TERM {process}"

    def commands(self, name: str) -> dict[str, str]:
        """What the buttons of a run would type: what began it and lets it go on, and what stops it."""
        process = self.process(name)
        own = {"run": command(["run", str(recipe_of(self.runs, self.runs.find(name))), "--out", str(self.runs.folder / name)])}
        return own if process is None else {**own, "stop": f"kill -TERM {process}"}


def recipe_of(runs: Runs, folder: Path) -> Path:
    """The recipe a run goes on by: what it was started with, else the one it keeps."""
    own = runs.folder / f"{folder.name}.yaml"
    return own if own.is_file() else folder / "recipe.yaml"


def command(arguments: list[str]) -> str:
    """As a shell takes it."""
    return shlex.join(["ftheta", *arguments])
