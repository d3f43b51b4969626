"""How a run shows its progress: a live bar when a person watches, plain lines otherwise, nothing from other processes than the first."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

PLAIN_SECONDS = 10.0
"""Between plain lines."""


class Progress:
    """A listener of a run's events."""

    def __init__(self) -> None:
        self.quiet = os.environ.get("RANK", "0") != "0"
        self.live = sys.stderr.isatty() and not self.quiet
        self.bar: RichProgress | None = None
        self.task: TaskID | None = None
        self.last = 0.0
        self.doing = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        if self.quiet:
            return
        if event == "stage":
            self.close()
            if not self.live:
                self.line(f"{facts['name']} ...")
        elif event == "start":
            self.open(facts)
        elif event == "metrics" and "progress" in facts:
            self.show(facts)
        elif event == "shards":
            self.shards(facts)
        elif event == "checkpoint" and not self.live:
            self.line(f"step {facts['step']:,}: checkpoint")

    def open(self, facts: dict[str, Any]) -> None:
        if self.live:
            self.start("training", 1.0, f"{facts['precision']}, {facts['threads']} threads")
        else:
            self.line(f"training on {facts['device']} in {facts['precision']}, {facts['threads']} threads")

    def show(self, facts: dict[str, Any]) -> None:
        names = [name for name in facts if name.endswith("loss") or name in ("accuracy", "mean_return", "episode_return")]
        numbers = "  ".join(f"{name.replace('_', ' ')} {facts[name]:.4g}" for name in names if facts[name] is not None)
        numbers = f"step {facts['step']:,}  {numbers}  {facts['units_per_second']:,.0f}/s"
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=facts["progress"], numbers=numbers)
        elif time.monotonic() - self.last > PLAIN_SECONDS or facts["progress"] >= 1:
            self.last = time.monotonic()
            left = facts["seconds"] * (1 / max(facts["progress"], 1e-6) - 1)
            self.line(f"{facts['progress']:4.0%}  {numbers}  {left:,.0f} s left")

    def shards(self, facts: dict[str, Any]) -> None:
        """How far one stage of the data is; a new stage has a new bar."""
        numbers = f"{facts['done']:,} of {facts['total']:,} shards"
        if self.live:
            if self.doing != facts["name"]:
                self.close()
                self.start(facts["name"], facts["total"], numbers)
            assert self.bar is not None and self.task is not None
            self.bar.update(self.task, completed=facts["done"], numbers=numbers)
            self.doing = facts["name"]
            if facts["done"] == facts["total"]:
                self.close()
        elif self.doing != facts["name"]:
            self.doing, self.last = facts["name"], time.monotonic()                       # a stage that is done at once says nothing
        elif time.monotonic() - self.last > PLAIN_SECONDS:
            self.last = time.monotonic()
            self.line(f"{facts['name']}: {numbers}")

    def start(self, what: str, total: float, numbers: str) -> None:
        """Show a bar."""
        columns = (TextColumn("[bold]{task.description}"), BarColumn(), TextColumn("{task.fields[numbers]}"), TimeElapsedColumn(), TimeRemainingColumn())
        self.bar = RichProgress(*columns, console=Console(stderr=True), refresh_per_second=4)
        self.bar.start()
        self.task = self.bar.add_task(what, total=total, numbers=numbers)

    def line(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar, self.doing = None, ""
