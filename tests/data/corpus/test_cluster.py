"""Documents prepared by tasks of Ray: the same bytes as here, machines that die, errors that come back, nothing left behind."""

import contextlib
import importlib.util
import json
import logging
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar

import pytest

import ftheta
from ftheta.core import log
from ftheta.core.atomic import verify
from ftheta.core.errors import ConfigError, DataError, MissingExtraError, Problem, UsageError
from ftheta.data.clean.normalise import Normalise
from ftheta.data.corpus import cluster as module
from ftheta.data.corpus import executors, reading
from ftheta.data.corpus.cleaning import Clean
from ftheta.data.corpus.cluster import Ray
from ftheta.data.corpus.executors import Local
from ftheta.data.corpus.reading import parts
from ftheta.data.corpus.step import answer, order_of, outcome, perform, subject
from ftheta.data.sources.text import TextFiles
from ftheta.lifecycle.executors import build_executor

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
from ftheta.lifecycle.executors import build_executor

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

DYING = """
import os, signal
from ftheta.data.corpus import cluster

cluster.RETRIES = 1
cluster.carry_out = lambda order, folder: os.kill(os.getpid(), signal.SIGKILL)
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

    def start(name, on, workers, driver=DRIVER, **environment):
        home = tmp_path / name
        given = {**os.environ, "FTHETA_HOME": str(home), **environment}
        process = subprocess.Popen(
            [sys.executable, "-c", driver, texts.name, on, str(workers), f"{name}.json"], cwd=tmp_path, env=given, stderr=subprocess.PIPE, text=True,
        )
        begun.append(process)
        return process, home

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def left(home):
    """Every file of every stage, and the account."""
    files = {file.relative_to(home).as_posix(): file.read_bytes() for file in (home / "stages").rglob("*") if file.is_file() and file.name != ".lock"}
    assert not [folder for folder in (home / "stages").glob("*/[!.]*") if verify(folder)]
    return {**files, "account": home.with_suffix(".json").read_bytes()}


def finish(process, seconds=110):
    _, said = process.communicate(timeout=seconds)
    assert process.returncode == 0, said
    return said


@contextlib.contextmanager
def machines(count, folder):
    """A cluster of that many machines: what to tell the driver, and what kills one."""
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    process = subprocess.Popen(
        [sys.executable, HERE / "nodes.py", str(count)], env={**os.environ, **secret, "XDG_CACHE_HOME": str(folder / "machines")},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
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
def test_a_cluster_of_ones_own_gives_the_same_bytes_and_goes_away(start, texts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["", texts.name, "local", "1", "here.json"])
    monkeypatch.setattr(log, "configure", lambda: None)
    monkeypatch.setattr(reading, "PART", reading.PART)
    monkeypatch.setenv("FTHETA_HOME", str(tmp_path / "here"))
    exec(DRIVER, {})
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
    assert "ray" not in sys.modules                                                       # though everything that may use it is imported


def test_run_and_data_run_hand_on_who_works_and_refuse_before_anything_is_written(monkeypatch, tmp_path, texts):
    recipe = {
        "format": 1, "name": "tiny", "objective": "next_token", "train": {"steps": 1, "batch": 1}, "data": {
            "source": {"kind": "text_files", "path": str(texts)}, "split": {"validation": 0.1, "test": 0.1}, "tokenizer": {"kind": "bytes"}, "pack": {"length": 16}},
        "model": {"kind": "decoder", "dim": 8, "depth": 1, "context": 16, "mixer": {"kind": "attention", "heads": 1}, "feedforward": {"kind": "mlp", "hidden": 8}},
    }
    for verb in (ftheta.run, ftheta.run_data):
        with pytest.raises(UsageError, match="--on: there is no 'moon'"):
            verb(recipe, out=tmp_path / "refused", on="moon")
    assert not (tmp_path / "refused").exists()

    class Counting(Local):
        made: ClassVar[list] = []

        def __init__(self, workers=None, told=None):
            super().__init__(workers, told)
            self.made.append((workers, self))
            self.performed, self.closed = [], False

        def each(self, what, work, cache):
            self.performed.append(what)
            return super().each(what, work, cache)

        def close(self):
            super().close()
            self.closed = True

    monkeypatch.setattr(executors, "Local", Counting)
    for verb, workers in ((ftheta.run, 1), (ftheta.run_data, 3)):
        verb(recipe, out=tmp_path / "runs", workers=workers)
    assert [workers for workers, _ in Counting.made] == [1, 3]
    assert all(made.closed and made.performed[:2] == ["read", "clean"] and "tokenize" in made.performed for _, made in Counting.made)


def test_an_order_names_folders_within_the_cache_and_an_answer_is_plain(texts, tmp_path):
    [(_, read)] = parts(TextFiles(path=str(texts)))
    here, elsewhere = tmp_path / "a", tmp_path / "b"
    first = perform(read, [], here)
    order = json.loads(json.dumps(order_of(Clean(rules=(Normalise(),), number=0), [first], here)))
    assert order["inputs"] == [f"read/{first.name}"] and subject(order) == f"clean {first.name}"
    cleaned = outcome(answer(order), here)
    assert cleaned.parent == here / "clean" and not verify(cleaned)
    assert outcome(answer({**order, "cache": str(here)}), elsewhere) == elsewhere / "clean" / cleaned.name
    with pytest.raises(DataError, match=r"read/.* was made by another machine and is not here: set FTHETA_HOME to a folder that all machines share"):
        outcome(answer({**order, "cache": str(elsewhere)}), elsewhere)
    with pytest.raises(DataError, match=r"has ftheta .* and is to work for 0\.0: install the same version everywhere"):
        outcome(answer({**order, "version": "0.0"}), here)
    for error in (UsageError("a"), ConfigError([Problem(("b",), "c")]), MissingExtraError("d", "e", "f")):
        with pytest.raises(type(error), match=re.escape(str(error))) as raised:
            outcome({"error": type(error).__name__, "message": str(error)}, here)
        assert type(raised.value) is type(error)


@pytest.mark.slow
def test_any_number_of_processes_gives_the_same_bytes(start, tmp_path):
    for workers in (1, 2, 8):
        finish(start(f"here-{workers}", "local", workers)[0])
        assert left(tmp_path / f"here-{workers}") == left(tmp_path / "here-1")


@needs_ray
@pytest.mark.slow
def test_any_number_of_tasks_gives_the_same_bytes(start, tmp_path):
    finish(start("here", "local", 1)[0])
    with machines(2, tmp_path) as (cluster, _):
        for workers in (1, 2, 8):
            finish(start(f"there-{workers}", "ray", workers, **cluster)[0])
            assert left(tmp_path / f"there-{workers}") == left(tmp_path / "here")
    none_left(cluster["RAY_AUTH_TOKEN"])


@needs_ray
@pytest.mark.slow
def test_a_machine_that_dies_changes_nothing(start, tmp_path):
    finish(start("here", "local", 1)[0])
    with machines(2, tmp_path) as (cluster, kill):
        process, home = start("there", "ray", 0, **cluster)
        while len(list((home / "stages").glob("clean/[!.]*"))) < 3:
            assert process.poll() is None
            time.sleep(0.002)
        kill()
        assert process.poll() is None and not list((home / "stages").glob("tokens/[!.]*"))
        finish(process)
    assert left(home) == left(tmp_path / "here")


@needs_ray
@pytest.mark.slow
def test_what_is_wrong_comes_back_and_who_has_no_token_is_refused(start, texts, tmp_path):
    (texts / "59.txt").write_bytes(b"\x00\xff\xfe not text \xff")
    with machines(2, tmp_path) as (cluster, _):
        errors = [start(name, on, 2, **environment)[0].communicate(timeout=100)[1] for name, on, environment in (("a", "local", {}), ("b", "ray", cluster))]
        assert errors[0].splitlines()[-1] == errors[1].splitlines()[-1] and "DataError" in errors[0] and "59.txt" in errors[0]
        died = start("died", "ray", 2, driver=DYING + DRIVER, **cluster)[0].communicate(timeout=100)[1]
        assert re.search(r"DataError: a task that had to read 00\.txt and \d+ more files? was lost 2 times \(.*died", died)
        stranger, _ = start("stranger", "ray", 2, **{**cluster, "RAY_AUTH_TOKEN": secrets.token_hex(32)})
        said = stranger.communicate(timeout=100)[1]
        assert stranger.returncode == 1 and f"UsageError: --on ray: no cluster answers at RAY_ADDRESS={cluster['RAY_ADDRESS']}" in said and "token" in said


@needs_ray
@pytest.mark.slow
def test_machines_that_share_a_store_and_no_disk(start, tmp_path, monkeypatch):
    moto = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server]'")
    finish(start("here", "local", 1)[0])
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (("AWS_ENDPOINT_URL", f"http://{host}:{port}"), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(name, value)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store = pytest.importorskip("s3fs").S3FileSystem()
    store.mkdir("bucket")
    try:
        with machines(2, tmp_path) as (cluster, kill):
            process, _ = start("there", "ray", 0, **cluster, FTHETA_HOME="s3://bucket/team", XDG_CACHE_HOME=str(tmp_path / "driver"))
            copies = "ftheta/copies/s3/bucket/team"
            while not all(list((tmp_path / "machines" / machine / copies / "stages").glob("clean/[!.]*")) for machine in ("0", "1")):
                assert process.poll() is None
                time.sleep(0.01)
            kill()
            finish(process)
    finally:
        server.stop()
    (tmp_path / "driver" / copies).rename(tmp_path / "there")
    assert left(tmp_path / "there") == left(tmp_path / "here")
