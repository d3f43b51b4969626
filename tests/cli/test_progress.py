"""How far the data are is a bar where a person watches, and a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

import pytest

from ftheta.cli.progress import PLAIN_SECONDS, Progress


def shards(progress: Progress, name: str, total: int) -> None:
    for done in range(1, total + 1):
        progress("shards", {"name": name, "done": done, "total": total})


def test_plain_lines_only_of_what_takes_long(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress() as progress:
        shards(progress, "read", 3)
        assert capsys.readouterr().err == ""
        progress("shards", {"name": "clean", "done": 1, "total": 9})
        now[0] += PLAIN_SECONDS + 1
        progress("shards", {"name": "clean", "done": 2, "total": 9})
        progress("shards", {"name": "clean", "done": 3, "total": 9})
    assert capsys.readouterr().err == "clean: 2 of 9 shards\n"


def test_a_bar_for_each_stage_where_a_person_watches(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with Progress() as progress:
        assert progress.live
        progress("shards", {"name": "read", "done": 1, "total": 2})
        assert progress.bar is not None and progress.bar.tasks[0].description == "read" and progress.bar.tasks[0].total == 2
        progress("shards", {"name": "clean", "done": 1, "total": 4})                       # a stage that ended early makes way
        assert progress.bar is not None and progress.bar.tasks[0].completed == 1 and progress.bar.tasks[0].fields["numbers"] == "1 of 4 shards"
        shards(progress, "clean", 4)
        assert progress.bar is None                                                        # done: nothing stays on the screen to be redrawn
        progress("start", {"precision": "float32", "threads": 1, "device": "cpu"})
        assert progress.bar is not None and progress.bar.tasks[0].description == "training"
    assert progress.bar is None
