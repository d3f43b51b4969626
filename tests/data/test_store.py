"""Stages that machines share through S3, over HTTP: who is first counts, what is damaged or half there is made again, what died is cleared."""

import contextlib
import datetime
import json
import logging
import signal
import subprocess
import sys
import threading
import time

import pytest

from ftheta.core.atomic import MANIFEST, read_manifest, sealed, verify
from ftheta.core.errors import DataError
from ftheta.data import store as module
from ftheta.data.clean.normalise import Normalise
from ftheta.data.corpus.executors import Local
from ftheta.data.sources.source_config import Sections
from ftheta.data.sources.text import TextFiles
from ftheta.data.stages import available, cache_at, home, offer, stage, where
from ftheta.data.store import Store
from ftheta.data.text import prepare_text
from ftheta.data.tokenizers.trained import Bytes

moto = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server]'")
pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'ftheta[data]'")

KEY = {"what": "a"}
CHILD = """
import os, signal, sys
from ftheta.data import store
from ftheta.data.stages import home, stage

if len(sys.argv) > 1:                                                                  # dies when it is about to do this
    setattr(store.Store, sys.argv[1], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
stage(home(), "s", {"what": "a"}, lambda attempt: [attempt.write("x.bin", b"abc" * 1000), attempt.write("deep/y.txt", b"y")])
"""


@pytest.fixture(scope="module")
def server():
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        running.start()
        host, port = running.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield f"http://{host}:{port}"
        running.stop()


@pytest.fixture
def s3(server, tmp_path, monkeypatch):
    """A bucket's file system; FTHETA_HOME is an address in it, with the copies of machine "one" here."""
    s3fs = pytest.importorskip("s3fs")
    files = s3fs.S3FileSystem(use_listings_cache=False)
    if files.exists("bucket"):
        files.rm("bucket", recursive=True)
    files.mkdir("bucket")
    monkeypatch.setenv("FTHETA_HOME", "s3://bucket/team")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "one"))
    return files


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Go on as another machine."""
    return lambda name: monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))


def build(attempt):
    attempt.write("x.bin", b"abc" * 1000)
    attempt.write("deep/y.txt", b"y")
    attempt.write("empty", b"")


def never(attempt):
    raise AssertionError("was there already")


def content(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def attempts(files, folder):
    return {path.split("/")[-1] for path in files.ls(f"bucket/team/s/{folder.name}", detail=False)} - {MANIFEST}


def test_an_address_has_a_folder_here_and_the_folder_an_address(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for address in ("s3://bucket/team", "gs://other"):
        monkeypatch.setenv("FTHETA_HOME", address)
        assert home().is_relative_to(tmp_path) and where(home() / "stages") == f"{address}/stages" and cache_at(f"{address}/stages") == home() / "stages"
    monkeypatch.setenv("FTHETA_HOME", str(tmp_path / "plain"))
    assert home() == tmp_path / "plain" and where(home()) == str(tmp_path / "plain") and cache_at(where(home())) == home()


def test_what_one_machine_made_another_finds_with_the_same_bytes(s3, other, tmp_path):
    first = stage(home(), "s", KEY, build)
    other("two")
    second = stage(home(), "s", KEY, never)
    assert first != second and content(first) == content(second) and not verify(second)
    assert content(stage(tmp_path / "plain", "s", KEY, build)) == content(first)          # and the same as without a store
    s3.rm("bucket/team", recursive=True)
    assert stage(home(), "s", KEY, never) == second                                       # the store is not asked for what is here


def test_inputs_are_fetched_and_what_is_missing_is_offered_again(s3, other):
    made = stage(home(), "s", KEY, build)
    other("two")
    there = home() / "s" / made.name
    assert available(home(), there) == there and content(there) == content(made)
    other("three")
    s3.rm("bucket/team", recursive=True)
    with pytest.raises(DataError, match=rf"s3://bucket/team/s/{made.name} is not there any more: run the same command again"):
        available(home(), home() / "s" / made.name)
    other("one")
    offer(home(), made)
    other("three")
    assert content(available(home(), home() / "s" / made.name)) == content(made)


@pytest.mark.parametrize("point", ["publish", "claim", "clear"])
def test_a_machine_that_dies_between_files_and_manifest(s3, other, point, monkeypatch):
    died = subprocess.run([sys.executable, "-c", CHILD, point])
    assert died.returncode == -signal.SIGKILL
    found = s3.find("bucket/team")
    assert len(found) == {"publish": 0, "claim": 2, "clear": 3}[point] and any(path.endswith(MANIFEST) for path in found) == (point == "clear")
    other("two")
    seen = subprocess.run([sys.executable, "-c", CHILD])
    assert seen.returncode == 0
    other("one")                                                                          # what it had made is given to the store, not made again
    folder = stage(home(), "s", KEY, never)
    other("two")
    assert content(folder) == content(stage(home(), "s", KEY, never))
    assert len(attempts(s3, folder)) == {"publish": 1, "claim": 2, "clear": 1}[point]
    monkeypatch.setattr(module, "DEAD", datetime.timedelta(seconds=-2))
    store = Store("s3://bucket/team")
    standing = json.loads(s3.cat_file(f"bucket/team/s/{folder.name}/{MANIFEST}"))["attempt"]
    store.clear(f"s/{folder.name}", standing, None)
    assert attempts(s3, folder) == {standing}


def test_a_dead_attempt_is_cleared_after_an_age_and_not_before(s3, other, monkeypatch):
    s3.pipe_file("bucket/team/s/else/dead/x.bin", b"half")
    folder = stage(home(), "s", KEY, build)
    s3.pipe_file(f"bucket/team/s/{folder.name}/dead/x.bin", b"half")
    for age, kept in ((datetime.timedelta(days=1), True), (datetime.timedelta(seconds=-2), False)):
        monkeypatch.setattr(module, "DEAD", age)
        s3.rm_file(f"bucket/team/s/{folder.name}/{MANIFEST}")
        before = attempts(s3, folder)
        assert Store("s3://bucket/team").publish(folder, f"s/{folder.name}")
        assert "dead" in before and before <= attempts(s3, folder) if kept else attempts(s3, folder).isdisjoint(before) and len(attempts(s3, folder)) == 1
    assert s3.exists("bucket/team/s/else/dead/x.bin")


def test_a_flipped_byte_is_found_and_the_stage_made_again(s3, other, caplog):
    folder = stage(home(), "s", KEY, build)
    [attempt] = attempts(s3, folder)
    for place, damage in (("x.bin", b"abd" + b"abc" * 999), ("x.bin", b"short"), ("deep/y.txt", None)):
        at = f"bucket/team/s/{folder.name}/{attempt}/{place}"
        s3.rm_file(at) if damage is None else s3.pipe_file(at, damage)
        other(f"reader of {place} {damage is None} {len(damage or b'')}")
        caplog.clear()
        made = []
        again = stage(home(), "s", KEY, lambda attempt, made=made: [build(attempt), made.append(1)])
        assert made and content(again) == content(folder) and f"/{place} " in caplog.text and "it is made again" in caplog.text
        attempt = json.loads(s3.cat_file(f"bucket/team/s/{folder.name}/{MANIFEST}"))["attempt"]
    other("last")
    assert content(stage(home(), "s", KEY, never)) == content(folder)


def test_a_manifest_that_was_changed_is_not_trusted(s3, other, caplog):
    folder = stage(home(), "s", KEY, build)
    place = f"bucket/team/s/{folder.name}/{MANIFEST}"
    s3.pipe_file(place, s3.cat_file(place).replace(b'"bytes": 3000', b'"bytes": 3001'))
    other("two")
    made = []
    assert content(stage(home(), "s", KEY, lambda attempt: [build(attempt), made.append(1)])) == content(folder)
    assert made and "was changed after it was written" in caplog.text
    other("three")
    assert content(stage(home(), "s", KEY, never)) == content(folder)


def test_a_damaged_copy_here_is_fetched_again(s3):
    folder = stage(home(), "s", KEY, build)
    whole = content(folder)
    (folder / "x.bin").write_bytes(b"bad")
    assert content(stage(home(), "s", KEY, never)) == whole


RACER = """
import sys, time
from pathlib import Path
import s3fs
from ftheta.data.stages import home, stage
from ftheta.data.store import Store

name, meeting, conditional = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "True"
claim, pipe_file = Store.claim, s3fs.S3FileSystem.pipe_file

def together(*given):
    (meeting / name).touch()
    while len(list(meeting.iterdir())) < 2:
        time.sleep(0.001)
    return claim(*given)

Store.claim = together
if not conditional:
    s3fs.S3FileSystem.pipe_file = lambda self, path, value, mode="overwrite": pipe_file(self, path, value)
print((stage(home(), "s", {"what": "a"}, lambda attempt: attempt.write("x.bin", name.encode())) / "x.bin").read_text())
"""


@pytest.mark.parametrize("conditional", [True, False])
def test_two_machines_that_finish_the_same_at_once(s3, other, tmp_path, conditional):
    """Each writes other bytes, to see whose count; in a store without conditional writes the later manifest stands."""
    (tmp_path / "meeting").mkdir()
    racers = []
    for name in ("one", "two"):
        other(name)
        racers.append(subprocess.Popen([sys.executable, "-c", RACER, name, tmp_path / "meeting", str(conditional)], stdout=subprocess.PIPE, text=True))
    said = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    other("three")
    folder = stage(home(), "s", KEY, never)
    stands = (folder / "x.bin").read_text()
    if conditional:
        assert said == [stands, stands] and len(attempts(s3, folder)) == 1
    else:
        assert said == ["one", "two"] and stands in said and len(attempts(s3, folder)) == 2


def test_a_store_that_cannot_be_reached_is_named(s3, monkeypatch):
    monkeypatch.setenv("FTHETA_HOME", "s3://nowhere/team")
    with pytest.raises(DataError, match=r"FTHETA_HOME: s3://nowhere/team/s/\w+: The specified bucket does not exist"):
        stage(home(), "s", KEY, build)
    monkeypatch.setenv("FTHETA_HOME", "unknown://team")
    with pytest.raises(DataError, match="FTHETA_HOME: unknown://team: Protocol not known"):
        stage(home(), "s", KEY, build)


def test_a_manifest_cannot_lead_out_of_its_folder(s3, other):
    folder = stage(home(), "s", KEY, build)
    manifest = read_manifest(folder)
    manifest["files"]["../../out"] = manifest["files"]["x.bin"]
    s3.pipe_file(f"bucket/team/s/{folder.name}/{MANIFEST}", sealed({**manifest, "attempt": "a"}))
    other("two")
    assert content(stage(home(), "s", KEY, build)) == content(folder) and not list(home().rglob("out"))


def test_documents_prepared_with_a_store_are_those_prepared_without(s3, other, tmp_path):
    (tmp_path / "texts").mkdir()
    for i in range(12):
        (tmp_path / "texts" / f"{i}.txt").write_text(f"text {i} " * 200)

    def prepared(cache, executor):
        with contextlib.closing(executor):
            return prepare_text(TextFiles(path=str(tmp_path / "texts")), Sections(Bytes(), cache, (Normalise(),), executor=executor))

    plain = prepared(tmp_path / "plain", Local(1))
    shared = prepared(home() / "stages", Local(2))
    other("two")
    again = prepared(home() / "stages", Local(1))
    assert plain.account == shared.account == again.account
    assert [content(folder) for folder in plain.tokens] == [content(folder) for folder in shared.tokens] == [content(folder) for folder in again.tokens]
    manifests = [path for path in s3.find("bucket/team/stages") if path.endswith(MANIFEST)]
    assert len(manifests) == len(list((tmp_path / "plain").glob("*/[!.]*")))


def test_two_that_want_the_same_on_one_machine_build_it_once(tmp_path):
    built, found = [], []

    def slowly(attempt):
        built.append(1)
        time.sleep(0.2)
        build(attempt)

    threads = [threading.Thread(target=lambda: found.append(stage(tmp_path, "s", KEY, slowly))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert built == [1] and len(found) == 4 and len(set(found)) == 1 and not verify(found[0])
