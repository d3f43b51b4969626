"""The runs of a folder, as what is on disk says. Nothing is remembered here, so it says the same after a restart and of runs that somebody else began.

A run goes by a name in the list: no path is ever made of what a client sends. Beside the folder `NAME` of a run that was started from the page
lie `NAME.yaml`, its recipe, and `NAME.log`, what it printed.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from ftheta.core.atomic import MANIFEST, holder, read_manifest
from ftheta.core.errors import FthetaError
from ftheta.serving.http.errors import Refusal
from ftheta.training.events import EXHIBITS, parse_lines

NAME = re.compile(r"[\w][\w.-]{0,79}")
"""What a run may be called, as in a recipe."""
LOGS = {"metrics": "metrics.jsonl", "events": "events.jsonl"}
PIECE = 1 << 20
"""Bytes of a log in one answer."""
TAIL = 4000
"""Bytes of what a run printed last."""
TEXTS = {"recipe": "recipe.yaml", "card": "report/card.md", "data_card": "data/card.md"}


class Runs:
    """The runs below one folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def names(self) -> list[str]:
        """In their order."""
        entries = [entry.name for entry in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted({name for entry in entries for name in (entry, entry.removesuffix(".log")) if self.there(name)})

    def there(self, name: str) -> bool:
        """Whether there is a run of this name: a folder with a recipe or events, or a recipe and what was printed before there was a folder."""
        if not NAME.fullmatch(name):
            return False
        return any((self.folder / name / file).is_file() for file in ("recipe.yaml", LOGS["events"])) or self.begun_here(name)

    def begun_here(self, name: str) -> bool:
        """Whether it was started from the page."""
        return all((self.folder / f"{name}{end}").is_file() for end in (".yaml", ".log"))

    def find(self, name: str) -> Path:
        """The folder of a run in the list. Raises Refusal."""
        if not self.there(name):
            raise Refusal(404, "there is no such run here", "name", "run_not_found")
        return self.folder / name

    def facts(self, name: str, starting: bool = False) -> dict[str, Any]:
        """A run in short; `starting` says that its process is there and holds nothing yet."""
        folder = self.find(name)
        events, last = events_of(folder), last_line(folder / "metrics.jsonl")
        results = read_json(folder / "report" / "results.json")
        state = "running" if starting else state_of(folder, events)
        return {
            "name": name, "state": state, "stage": next((event.get("name") for event in reversed(events) if event["event"] == "stage"), None),
            "began": events[0].get("time") if events else None, "ended": events[-1].get("time") if events and state != "running" else None,
            "reason": events[-1].get("reason") if state == "failed" and events else None, "last": last, "progress": last.get("progress"),
            "measurements": (results or {}).get("measurements", []), "task": (results or {}).get("task"), "model": (folder / "model" / MANIFEST).is_file(),
        }

    def whole(self, name: str) -> dict[str, Any]:
        """All there is to say of a run, but for its curves."""
        folder = self.find(name)
        texts = {key: read_text(folder / place) for key, place in TEXTS.items()}
        texts["recipe"] = texts["recipe"] or read_text(self.folder / f"{name}.yaml")
        return {
            **texts, "results": read_json(folder / "report" / "results.json"), "events": events_of(folder), "pictures": self.pictures(name),
            "printed": read_text(self.folder / f"{name}.log", TAIL),
        }

    def pictures(self, name: str) -> list[str]:
        """Pictures that the manifests of the report and of the data card list."""
        folder = self.find(name)
        return [f"{part}/{file}" for part in ("report", "data") for file in files_of(folder / part) if file.endswith(".png")]

    def shown(self, name: str) -> list[str]:
        """Pictures that were shown while it learned."""
        folder = self.find(name) / EXHIBITS
        return sorted(f"{EXHIBITS}/{file.name}" for file in folder.glob("*.png")) if folder.is_dir() else []

    def picture(self, name: str, which: str) -> bytes:
        """One of the pictures. Raises Refusal."""
        folder = self.find(name)
        if which not in (*self.pictures(name), *self.shown(name)):
            raise Refusal(404, "there is no such picture", "which", "picture_not_found")
        return (folder / which).read_bytes()

    def log(self, name: str, which: str, after: int, mark: str) -> dict[str, Any]:
        """The whole lines of a log beyond an offset, and from where to go on. Where the file is another one than `mark` says (it was rewound), all of it."""
        if which not in LOGS:
            raise Refusal(404, "there is no such log", "which", "log_not_found")
        place = self.find(name) / LOGS[which]
        try:
            with place.open("rb") as file:
                file.seek(0, 2)
                size, now = file.tell(), str(place.stat().st_ino)
                begin = after if mark == now and after <= size else 0
                file.seek(begin)
                data = file.read(PIECE)
        except OSError:
            return {"mark": "", "after": 0, "anew": True, "more": False, "lines": []}
        data = data[: data.rfind(b"\n") + 1]
        return {"mark": now, "after": begin + len(data), "anew": begin == 0, "more": size - begin > PIECE, "lines": parse_lines(data)}


def state_of(folder: Path, events: list[dict[str, Any]]) -> str:
    """running, done, failed or stopped; what was killed is stopped: it can go on."""
    if holder(folder) is not None:
        return "running"
    if (folder / "report" / MANIFEST).is_file():
        return "done"
    begun = (folder / "recipe.yaml").is_file()
    return "failed" if not (events or begun) or (events and events[-1]["event"] == "failed") else "stopped"


def events_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of events.jsonl."""
    try:
        return [line for line in parse_lines((folder / "events.jsonl").read_bytes()) if "event" in line]
    except OSError:
        return []


def last_line(place: Path) -> dict[str, Any]:
    """The last line of a log that speaks of training; empty where there is none."""
    try:
        with place.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 16_384))
            lines = parse_lines(file.read())
    except OSError:
        return {}
    return next((line for line in reversed(lines) if "progress" in line), {})


def files_of(folder: Path) -> list[str]:
    """What a committed folder's manifest lists; nothing where there is none."""
    try:
        return list(read_manifest(folder)["files"])
    except FthetaError:
        return []


def read_text(place: Path, tail: int | None = None) -> str | None:
    """A text file or its end; None where there is none."""
    with contextlib.suppress(OSError):
        data = place.read_bytes()
        return (data if tail is None else data[-tail:]).decode(errors="replace")
    return None


def read_json(place: Path) -> dict[str, Any] | None:
    """A JSON file; None where there is none that is whole."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(place.read_bytes())
        return found if isinstance(found, dict) else None
    return None
