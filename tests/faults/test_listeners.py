"""R23 and R24: a tracker or a log that fails, and a clock that jumps, neither stop nor change a run."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path

import pytest

from faults.builds import trainer
from faults.children import FAMILIES, differences, left_behind
from ftheta.core.errors import Stopped
from ftheta.training.events import Events, read_lines


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("error", [RuntimeError("no connection"), OSError(errno.EPIPE, "broken pipe"), KeyError("x"), MemoryError()], ids=repr)
def test_a_tracker_that_fails(family, error, recipe, golden, tmp_path):
    calls = []

    def tracker(name, facts):
        calls.append(name)
        if len(calls) == 5:
            raise error

    trainer(recipe(family), tmp_path / "run", listeners=[tracker]).fit()
    assert len(calls) == 5
    assert not differences(left_behind(tmp_path / "run"), golden(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_log_that_cannot_be_written(family, recipe, golden, tmp_path):
    for name in ("metrics.jsonl", "events.jsonl"):
        out = tmp_path / name.removesuffix(".jsonl")
        (out / name).mkdir(parents=True)
        trainer(recipe(family), out).fit()
        (out / name).rmdir()
        (out / "metrics.jsonl").touch()
        found, wanted = left_behind(out), golden(family)
        assert not differences({**found, "losses": []}, {**wanted, "losses": []})


def test_a_log_that_fills_the_disk(recipe, golden, tmp_path, monkeypatch):
    real = Path.open

    def full(self, mode="r", *more, **options):
        if self.name == "metrics.jsonl" and mode == "a" and self.exists() and self.stat().st_size > 600:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, mode, *more, **options)

    monkeypatch.setattr(Path, "open", full)
    trainer(recipe("policy"), tmp_path / "run").fit()
    assert not differences({**left_behind(tmp_path / "run"), "losses": []}, {**golden("policy"), "losses": []})


def test_a_damaged_log_is_mended_on_resume(recipe, golden, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "metrics.jsonl").write_bytes(b'{"step": 1, "loss"\n\xff\xfe\n12\n[]\n"x"\n{"step": 3}\n{"st')
    trainer(recipe("policy"), out).fit()
    assert not differences(left_behind(out), golden("policy"))


def test_whole_lines_are_read_and_torn_ones_left_out(tmp_path):
    place = tmp_path / "log"
    place.write_bytes(b'{"step": 1}\n{"step": 2, "text": "\xe2\x80\xa8"}\n\xff\n{"step"')
    assert read_lines(place) == [{"step": 1}, {"step": 2, "text": "\u2028"}]


def test_a_request_to_stop_is_not_taken_for_a_tracker_that_failed():
    def interrupted(name, facts):
        raise Stopped("stopped by SIGTERM")

    with pytest.raises(Stopped):
        Events(None, [interrupted]).event("stage", name="evaluate")


@pytest.mark.parametrize("jump", [-1e9, 1e9], ids=["back", "forth"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_clock_that_jumps(family, jump, recipe, golden, tmp_path, monkeypatch):
    real, calls = time.time, [0]

    def clock():
        calls[0] += 1
        return real() + (jump if calls[0] > 2 else 0.0)

    monkeypatch.setattr(time, "time", clock)
    trainer(recipe(family), tmp_path / "run").fit()
    assert calls[0] > 3
    assert not differences(left_behind(tmp_path / "run"), golden(family))
    assert all(isinstance(json.loads(line)["time"], float) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines())


def test_a_machine_that_slept_saves_and_goes_on(recipe, golden, tmp_path, monkeypatch):
    real, calls = time.monotonic, [0]

    def clock():
        calls[0] += 1
        return real() + (1e6 if calls[0] > 20 else 0.0)

    monkeypatch.setattr(time, "monotonic", clock)
    trainer(recipe("policy"), tmp_path / "run").fit()
    assert not differences(left_behind(tmp_path / "run"), golden("policy"))
