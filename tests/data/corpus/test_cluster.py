"""Documents prepared by tasks of Ray: the same bytes as here, machines that die, errors that come back, nothing left behind."""

import contextlib
import importlib.util
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ftheta.core.atomic import verify
from ftheta.core.errors import MissingExtraError, UsageError
from ftheta.data.corpus import cluster as module
from ftheta.data.corpus.cluster import Ray
from ftheta.lifecycle.corpora import build_executor

HERE = Path(__file__).parent
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed: pip install 'ftheta[cluster]'")
DRIVER = """
import contextlib, json, sys
import ftheta.data.corpus.reading as reading
from pathlib import Path
from ftheta.core.errors import FthetaError
from ftheta.core.log import configure
from ftheta.data.clean.normalise import Normalise
from ftheta.data.dedup.exact import Exact
from ftheta.data.sources.source_config import Sections
from ftheta.data.sources.text import TextFiles
from ftheta.data.split import Split
from ftheta.data.stages import home
from ftheta.data.text import prepare_text
from ftheta.data.tokenizers.trained import Bytes
from ftheta.lifecycle.corpora import build_executor

configure()
reading.PART = 2000
texts, on, workers, account = sys.argv[1:]
with contextlib.closing(build_executor(on, int(workers) or None)) as executor:
    try:
        sections = Sections(Bytes(), home() / "stages", (Normalise(),), Split(validation=0.1, test=0.1), deduplicate=(Exact(),), executor=executor)
        text = prepare_text(TextFiles(path=texts), sections)
        Path(account).write_text(json.dumps(text.account))
    except FthetaError as error:
        sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def texts(tmp_path):
    place = tmp_path / "texts"
    place.mkdir()
    for i in range(60):
        (place / f"{i:02}.txt").write_text(" ".join(f"word{(i * 7 + j * j) % 97}" for j in range(100)) + f" 第{i % 50}篇")
    return place


@pytest.fixture
def start(texts, tmp_path):
    """Starts the driver in a process; where its stages lie."""
    begun = []

    def start(name, on, workers, **environment):
        home = tmp_path / name
        given = {**os.environ, "FTHETA_HOME": str(home), **environment}
        process = subprocess.Popen([sys.executable, "-c", DRIVER, texts, on, str(workers), tmp_path / f"{name}.json"], env=given, stderr=subprocess.PIPE, text=True)
        begun.append(process)
        return process, home

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def left(home):
    """Every file of every stage, and the account."""
    files = {file.relative_to(home).as_posix(): file.read_bytes() for file in home.rglob("*") if file.is_file() and file.name != ".lock"}
    assert not [folder for folder in (home / "stages").glob("*/[!.]*") if verify(folder)]
    return {**files, "account": home.with_suffix(".json").read_bytes()}


def finish(process, seconds=110):
    _, said = process.communicate(timeout=seconds)
    assert process.returncode == 0, said
    return said


@contextlib.contextmanager
def machines(count, **environment):
    """A cluster of that many machines: what to tell the driver, and what kills one."""
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    process = subprocess.Popen(
        [sys.executable, HERE / "nodes.py", str(count)], env={**os.environ, **secret, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    assert process.stdin is not None and process.stdout is not None

    def kill():
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "killed\n"

    try:
        yield {**secret, "RAY_ADDRESS": process.stdout.readline().strip()}, kill
    finally:
        process.stdin.close()
        process.wait(60)


def processes_with(value):
    """Processes that were started with this in their environment."""
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if value.encode() in place.read_bytes():
                found.append(place.parent.name)
    return found


def none_left(value, seconds=20):
    end = time.monotonic() + seconds
    while found := processes_with(value):
        assert time.monotonic() < end, found
        time.sleep(0.1)


@needs_ray
def test_a_cluster_of_ones_own_gives_the_same_bytes_and_goes_away(start, tmp_path):
    finish(start("here", "local", 1)[0])
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:                              # names of sockets are short
        there, home = start("there", "ray", 2, TMPDIR=scratch, RAY_AUTH_TOKEN=(token := secrets.token_hex(32)))
        finish(there)
        assert left(home) == left(tmp_path / "here")
        none_left(token)
        assert not list(Path(scratch).iterdir())


def test_who_performs_steps_is_chosen_by_name(monkeypatch):
    with pytest.raises(UsageError, match=r"--on: there is no 'rya'; did you mean 'ray'\? \(choices: local, ray\)"):
        build_executor("rya", None)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"--on ray needs the package 'ray': pip install 'ftheta\[cluster\]'"):
        Ray()
    used = subprocess.run([sys.executable, "-c", "import sys, ftheta.lifecycle.lifecycle, ftheta.data.corpus.cluster; sys.exit('ray' in sys.modules)"])
    assert used.returncode == 0


@needs_ray
@pytest.mark.slow
def test_any_number_of_machines_gives_the_same_bytes_though_one_dies(start, texts, tmp_path):
    for workers in (1, 2, 8):
        finish(start(f"here-{workers}", "local", workers)[0])
        assert left(tmp_path / f"here-{workers}") == left(tmp_path / "here-1")
    with machines(2) as (cluster, kill):
        for workers in (1, 2, 8):
            finish(start(f"there-{workers}", "ray", workers, **cluster)[0])
            assert left(tmp_path / f"there-{workers}") == left(tmp_path / "here-1")
        process, home = start("killed", "ray", 0, **cluster)
        while not len(list((home / "stages").glob("clean/[!.]*"))) >= 3:
            assert process.poll() is None
            time.sleep(0.002)
        kill()
        assert process.poll() is None and not list((home / "stages").glob("tokens/[!.]*"))
        finish(process)
        assert left(home) == left(tmp_path / "here-1")

        (texts / "59.txt").write_bytes(b"\x00\xff\xfe not text \xff")
        errors = [start(name, on, 2, **environment)[0].communicate(timeout=100)[1] for name, on, environment in (("a", "local", {}), ("b", "ray", cluster))]
        assert errors[0].splitlines()[-1] == errors[1].splitlines()[-1] and "DataError" in errors[0] and "59.txt" in errors[0]

        stranger, _ = start("stranger", "ray", 2, **{**cluster, "RAY_AUTH_TOKEN": secrets.token_hex(32)})
        said = stranger.communicate(timeout=100)[1]
        assert stranger.returncode == 1 and f"UsageError: --on ray: no cluster answers at RAY_ADDRESS={cluster['RAY_ADDRESS']}" in said and "token" in said
    none_left(cluster["RAY_AUTH_TOKEN"])
