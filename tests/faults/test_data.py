"""Faults of the stages of documents: a disk that fails, two at one cache, a clock that jumps, signals. R05, R06, R11, R12, R24 and R25 on a data run."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from faults.children import wait_for
from faults.test_io import FAULTS, Disk, leftovers
from ftheta.core.atomic import TEMPORARY, lock, verify
from ftheta.core.errors import FolderError, FthetaError
from ftheta.data.corpus import reading
from ftheta.data.corpus.executors import Local
from ftheta.data.stages import stage
from ftheta.lifecycle.corpora import prepared, run_data
from ftheta.lifecycle.data_card import write_data_card
from ftheta.lifecycle.lifecycle import plainly
from ftheta.lifecycle.recipe import load

STOPPED = 143


def recipe(texts: Path, **data: Any) -> dict[str, Any]:
    return {
        "format": 1, "name": "faults",
        "data": {
            "source": {"kind": "text_files", "path": str(texts)}, "clean": ["normalise"], "deduplicate": ["exact"], "split": {"validation": 0.1, "test": 0.1},
            "tokenizer": {"kind": "bytes"}, "pack": {"length": 16}, **data,
        },
        "model": {"kind": "decoder", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2}}, "objective": "next_token",
    }


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FTHETA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(texts: Path, out: Path) -> str:
    """The data of a run in this process, and their card; what came of it."""
    text = prepared(load(recipe(texts)), Local(1))
    with plainly(out):
        write_data_card(out, text.account, text.card("faults"))
    return f"{text.account}\n{text.card('faults')}"


def kept(home: Path) -> dict[str, bytes]:
    """Every file of every stage, by its place."""
    files = [place for place in (home / "stages").rglob("*") if place.is_file() and place.name != ".lock"]
    return {str(place.relative_to(home)): place.read_bytes() for place in files}


@pytest.fixture
def clean(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, bytes]]:
    """What a run without faults says and leaves."""
    monkeypatch.setenv("FTHETA_HOME", str(tmp_path / "clean home"))
    said = run(texts, tmp_path / "clean")
    return said, kept(tmp_path / "clean home")


@pytest.mark.parametrize("fault", FAULTS)
def test_whichever_call_fails_a_rerun_completes_and_equals_the_clean_run(
    fault: str, texts: Path, clean: tuple[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FTHETA_HOME", str(tmp_path / "count"))
    with pytest.MonkeyPatch.context() as patch:
        total = Disk(patch)
        run(texts, tmp_path / "counted")
    assert total.count > 60
    harmless = 0
    for number in range(1 + list(FAULTS).index(fault), total.count + 1, len(FAULTS)):     # each fault at every fourth call: every call fails once
        place, home = tmp_path / str(number), tmp_path / f"home-{number}"
        monkeypatch.setenv("FTHETA_HOME", str(home))
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, number, FAULTS[fault])
            try:
                run(texts, place)
                harmless += 1
            except FthetaError as error:
                assert os.strerror(FAULTS[fault]) in str(error), number
        assert not leftovers(home), number
        for folder in home.glob("stages/*/[!.]*"):
            assert not verify(folder), number
        assert run(texts, place) == clean[0] and kept(home) == clean[1], number
    assert harmless < total.count / len(FAULTS) / 2                                       # only making a folder that is there may fail unseen


@pytest.mark.parametrize("most", [1, 4096])
def test_short_writes_lose_nothing(most: int, texts: Path, clean: tuple[str, dict[str, bytes]], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data[:most])))
    assert run(texts, tmp_path / "run") == clean[0] and kept(home) == clean[1]


def test_a_clock_that_jumps_changes_nothing(texts: Path, clean: tuple[str, dict[str, bytes]], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(10**6))
    for name in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, lambda: [4e9, 0.0, 1e3, -5.0][next(times) % 4])
    assert run(texts, tmp_path / "run") == clean[0] and kept(home) == clean[1]


def refuse_writing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a disk that is mounted read-only does."""
    opened, made = os.open, os.mkdir

    def open_(path: Any, flags: int, *more: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and str(path).startswith(str(home)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(path, flags, *more)

    def mkdir(path: Any, *more: Any) -> None:
        if str(path).startswith(str(home)) and not os.path.isdir(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        made(path, *more)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "mkdir", mkdir)


def test_a_cache_that_cannot_be_written_fails_before_anything_is_read(texts: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    refuse_writing(home, monkeypatch)
    with pytest.raises(FolderError, match=r"the cache .*/home/stages cannot be written \(Read-only file system\): set FTHETA_HOME to a folder that can"):
        run(texts, tmp_path / "run")
    assert not any(home.iterdir()) and not (tmp_path / "run").exists()


def test_a_cache_that_cannot_be_written_but_has_everything_is_used(texts: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run(texts, tmp_path / "run")
    refuse_writing(home, monkeypatch)
    assert run(texts, tmp_path / "other") == before


def test_a_run_folder_that_cannot_be_written_fails_before_anything_is_read(texts: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "shut").mkdir()
    monkeypatch.setattr(os, "access", lambda place, mode, real=os.access: str(place) != str(tmp_path / "shut") and real(place, mode))  # root may write anywhere
    for place, reason in (("shut/run", "nobody may write into"), ("file", "no folder is"), ("file/run", "no folder is")):
        with pytest.raises(FolderError, match=rf"{place} cannot be written \({reason} .*\): choose another --out"):
            run_data(recipe(texts), out=tmp_path / place)
    assert not home.exists() and not any((tmp_path / "shut").iterdir())


# other processes

HELD = """
import os
from pathlib import Path
import time
real = os.rename
def rename(a, b):
    if "/clean/" in str(b):
        Path("{there}").touch()
        while not Path("{there}.go").exists():
            time.sleep(0.01)
    return real(a, b)
os.rename = rename
"""


def child(texts: Path, out: Path, home: Path, before: str = "", workers: int = 1) -> subprocess.Popen[bytes]:
    """`ftheta data run` as a process of its own; `before` is done first."""
    place = out.with_suffix(".json")
    place.write_text(json.dumps(recipe(texts)))
    script = (
        f"{before}\nimport sys\nimport ftheta.data.corpus.reading as reading\nreading.PART = 600\nfrom ftheta.cli import main\n"
        f"sys.argv = ['ftheta', 'data', 'run', {str(place)!r}, '--out', {str(out)!r}, '--workers', '{workers}']\nmain()"
    )
    return subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "FTHETA_HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def hears(process: subprocess.Popen[bytes], words: str) -> bool:
    """Whether a process says this, read up to there."""
    assert process.stdout is not None
    return any(words in line.decode() for line in process.stdout)


def said_by(process: subprocess.Popen[bytes]) -> str:
    return process.communicate()[0].decode()


@pytest.fixture
def golden(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What a run in parts leaves that nothing happens to."""
    monkeypatch.setattr(reading, "PART", 600)
    monkeypatch.setenv("FTHETA_HOME", str(tmp_path / "golden home"))
    run(texts, tmp_path / "golden")
    return kept(tmp_path / "golden home")


def test_two_runs_on_one_cache_both_end_and_the_second_waits(texts: Path, golden: dict[str, bytes], tmp_path: Path) -> None:
    home, there = tmp_path / "home", tmp_path / "there"
    first = child(texts, tmp_path / "first", home, HELD.format(there=there))
    wait_for(there)
    second = child(texts, tmp_path / "second", home)
    assert hears(second, f"clean: waiting for process {first.pid}, which is making it ...")
    (tmp_path / "there.go").touch()
    for one in (first, second):
        said_by(one)
        assert one.wait(60) == 0
    assert kept(home) == golden and not leftovers(home)
    assert (tmp_path / "first/data/account.json").read_bytes() == (tmp_path / "second/data/account.json").read_bytes()


def test_who_waits_builds_it_if_the_first_dies(texts: Path, golden: dict[str, bytes], tmp_path: Path) -> None:
    home, there = tmp_path / "home", tmp_path / "there"
    first = child(texts, tmp_path / "first", home, HELD.format(there=there))
    wait_for(there)
    second = child(texts, tmp_path / "second", home)
    assert hears(second, "waiting for process")
    first.kill()
    said_by(first)
    said_by(second)
    assert second.wait(60) == 0
    assert kept(home) == golden and not leftovers(home)


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 2), (signal.SIGINT, 1)])
def test_a_signal_ends_all_processes_and_the_run_can_be_continued(number: signal.Signals, workers: int, texts: Path, golden: dict[str, bytes], tmp_path: Path) -> None:
    home, there = tmp_path / "home", tmp_path / "there"
    held = HELD.format(there=there)
    if workers > 1:                                                                       # the call is in the processes that do the work
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(held)
        held = f"import os\nos.environ['PYTHONPATH'] = {str(tmp_path / 'site')!r} + os.pathsep + os.environ.get('PYTHONPATH', '')"
    process = child(texts, tmp_path / "run", home, held, workers)
    wait_for(there)
    below = children_of(process.pid)
    assert len(below) == (workers if workers > 1 else 0)
    process.send_signal(number)
    said = said_by(process)
    assert process.wait(60) == STOPPED
    assert f"stopped by {number.name}; run the same command again to continue" in said and "Traceback" not in said
    assert not any(Path(f"/proc/{pid}").exists() and "zombie" not in Path(f"/proc/{pid}/status").read_text() for pid in below)
    found = child(texts, tmp_path / "run", home)
    assert found.wait(60) == 0, said_by(found)
    found.communicate()
    assert kept(home) == golden


def children_of(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
        int(one) for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid) for one in (task / "children").read_text().split()
    ]


def test_a_lock_is_refused_or_waited_for(tmp_path: Path) -> None:
    script = (
        f"import time\nfrom pathlib import Path\nfrom ftheta.core.atomic import lock\n"
        f"with lock(Path({str(tmp_path / 'a')!r})):\n    print('held', flush=True)\n    time.sleep(0.5)"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert owner.stdout is not None and owner.stdout.readline() == b"held\n"
    with pytest.raises(FolderError, match=f"another process \\(pid {owner.pid}\\)"), lock(tmp_path / "a"):
        pass
    told = list[str]()
    with lock(tmp_path / "a", told.append):
        assert owner.wait(10) == 0
    assert told == [str(owner.pid)]
    owner.communicate()


def test_attempts_of_a_dead_process_are_cleared(tmp_path: Path) -> None:
    dead = tmp_path / "tokens" / f"{TEMPORARY}0-17-0a1b2c3d"
    dead.mkdir(parents=True)
    place = stage(tmp_path, "tokens", {"key": 1}, lambda attempt: attempt.write("a", b"1"))
    assert not verify(place)
