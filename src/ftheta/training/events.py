"""What happens in a run, as lines of JSON: metrics.jsonl (numbers by step) and events.jsonl (the rest), and who listens.

A listener that fails is dropped with a warning, and a log that cannot be written is given up with one: neither stops a run.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ftheta.core.atomic import write_file
from ftheta.core.errors import Stopped
from ftheta.core.log import logger

Listener = Callable[[str, dict[str, Any]], None]
Exhibit = tuple[Mapping[str, str], Mapping[str, bytes]]
"""Texts by title and pictures (PNG) by file name."""
EXHIBITS = "exhibits"
"""The folder of what was shown on the way."""


class Events:
    """The writers of one run folder; `folder=None` only tells the listeners."""

    def __init__(self, folder: Path | None, listeners: list[Listener] | None = None):
        self.folder = folder
        self.listeners = list(listeners or [])

    def metrics(self, **record: Any) -> None:
        """One line of metrics.jsonl; must hold `step`."""
        self._append("metrics.jsonl", record)
        self._tell("metrics", record)

    def event(self, name: str, /, **facts: Any) -> None:
        """One line of events.jsonl, with the wall clock's time."""
        self._append("events.jsonl", {"time": round(time.time(), 3), "event": name, **facts})
        self._tell(name, facts)

    def exhibit(self, step: int, texts: Mapping[str, str], pictures: Mapping[str, bytes]) -> None:
        """What the model makes at this step: an event with the texts and where the pictures lie."""
        places = {f"{EXHIBITS}/step-{step}-{name}": data for name, data in pictures.items()}
        try:
            if self.folder is not None and places:
                (self.folder / EXHIBITS).mkdir(exist_ok=True)
                for place, data in places.items():
                    write_file(self.folder / place, data)
        except OSError as error:
            self._give_up(EXHIBITS, error)
        self.event("exhibit", step=step, **texts, **({"pictures": list(places)} if places else {}))

    def rewind(self, step: int) -> None:
        """Forget metrics of steps after `step`: they will be made again."""
        if self.folder is None or not (self.folder / "metrics.jsonl").exists():
            return
        try:
            kept = [line for line in read_lines(self.folder / "metrics.jsonl") if line.get("step", step) <= step]
            write_file(self.folder / "metrics.jsonl", "".join(encode(line) for line in kept).encode())
        except OSError as error:
            self._give_up("metrics.jsonl", error)

    def _append(self, name: str, record: dict[str, Any]) -> None:
        if self.folder is None:
            return
        try:
            with (self.folder / name).open("a", encoding="utf-8") as file:
                file.write(encode(record))
        except OSError as error:
            self._give_up(name, error)

    def _give_up(self, name: str, error: OSError) -> None:
        logger.warning("%s cannot be written (%s); the run goes on without its log", name, error)
        self.folder = None

    def _tell(self, name: str, facts: dict[str, Any]) -> None:
        for listener in list(self.listeners):
            try:
                listener(name, facts)
            except Stopped:
                raise
            except Exception as error:                                                    # whatever a tracker does must not stop a run
                logger.warning("a listener failed and was dropped: %s: %s", type(error).__name__, error)
                self.listeners.remove(listener)


def encode(record: dict[str, Any]) -> str:
    """One JSON line; numbers that are not finite become null (JSON has none)."""
    plain = {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()}
    return json.dumps(plain, ensure_ascii=False) + "\n"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a JSON-lines log; a torn last line (the process was killed) and damaged ones are left out."""
    return parse_lines(path.read_bytes())


def parse_lines(data: bytes) -> list[dict[str, Any]]:
    """The lines that are JSON objects."""
    lines = []
    for text in data.split(b"\n"):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines
