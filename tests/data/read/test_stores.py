"""Files in stores and on disks: addresses, links, files that vanish or change, ranges of large files."""

import errno
import functools
import http.server
import io
import json
import os
import tarfile
import threading
import tracemalloc
import zipfile

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from ftheta.core.errors import DataError
from ftheta.data.corpus import contents
from ftheta.data.corpus.reading import parts, rows_of
from ftheta.data.corpus.step import perform
from ftheta.data.read import stores
from ftheta.data.read import walk as walking
from ftheta.data.read.account import Account
from ftheta.data.read.row import Wanted
from ftheta.data.read.walk import File
from ftheta.data.sources import text as text_source

from .reading import named, read, reasons, source
from .test_archives import tar


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "sub" / "rows.jsonl").write_text('{"text": "two"}\n')
    (tmp_path / "all.tar.gz").write_bytes(tar({"m.md": b"three"}, ".gz"))
    return tmp_path


WANT = {"a.txt": "one", "all.tar.gz/m.md": "three", "sub/rows.jsonl:0": "two"}


def test_a_store_in_memory(folder):
    store = fsspec.filesystem("memory")
    store.put(str(folder), "/bucket/", recursive=True)
    try:
        [top] = {path.rsplit("/a.txt")[0] for path in store.find("/bucket") if path.endswith("/a.txt")}
        assert named(f"memory://{top}") == WANT
        assert named(f"memory://{top}/*.txt") == {"a.txt": "one"}
        assert named(f"memory://{top}/a.txt") == {"a.txt": "one"}
        assert named(f"memory://{top}", include=["**/*.jsonl"], exclude=["*.gz"]) == {"sub/rows.jsonl:0": "two"}
        assert set(named([f"memory://{top}/a.txt", str(folder / "sub")]).values()) == {"one", "two"}
        with pytest.raises(DataError, match=r"nowhere cannot be looked into"):
            source("memory://bucket/nowhere").files()
        with pytest.raises(DataError, match="no file below"):
            source(f"memory://{top}/*.none").files()
    finally:
        store.rm("/bucket", recursive=True)
    with pytest.raises(DataError, match=r"unknown://x: Protocol not known"):
        source("unknown://x").files()


@pytest.mark.parametrize("path", ["memory://shut/", "memory://shut/*.txt", "memory://shut/a.txt"])
def test_a_store_that_lets_nobody_in_is_named(path, monkeypatch):
    class NoKeys(Exception):                                                              # as botocore's, which are no OSError
        pass

    def refuse(*_, **__):
        raise NoKeys("Unable to locate credentials")

    for name in ("info", "find", "glob", "ls"):
        monkeypatch.setattr(MemoryFileSystem, name, refuse)
    with pytest.raises(DataError, match=r"data\.source\.path: memory://shut/.* cannot be looked into \(Unable to locate credentials\)"):
        source(path).files()
    account = Account()
    assert not list(source(path, on_bad="skip").read(File("memory://shut/a.txt", "a.txt", 1), account))
    assert dict(account.bad) == {"cannot be read (Unable to locate credentials)": 1}


def test_a_web_server(folder):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        assert named(f"{at}/a.txt") == {"a.txt": "one"}
        assert named(f"{at}/all.tar.gz") == {"all.tar.gz/m.md": "three"}
        assert set(named([f"{at}/a.txt", f"{at}/sub/rows.jsonl"]).values()) == {"one", "two"}
        assert named(f"{at}/") == WANT                                                   # by the links on the server's page
        with pytest.raises(DataError, match="cannot be looked into"):
            source(f"{at}/none.txt").files()
        files = source(f"{at}/a.txt").files()
        server.shutdown()
    account = Account()
    assert not list(source(f"{at}/a.txt", on_bad="skip").read(files[0], account)) and account.bad.total() == 1
    with pytest.raises(DataError, match=r"cannot be looked into .*is the address right"):  # and not that no file matches
        source(f"{at}/").files()


def test_links_in_a_circle_and_links_to_nowhere_are_named(folder, caplog):
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "circle.txt").symlink_to(folder / "circle.txt")
    (folder / "nowhere.txt").symlink_to(folder / "none")
    (folder / "good.txt").symlink_to(folder / "a.txt")
    os.mkfifo(folder / "pipe.txt")                                                        # opening it would wait for ever
    documents, account = read(folder)
    assert {d.name: d.text for d in documents} == {**WANT, "good.txt": "one"}
    assert reasons(account) == {"circle.txt": "a link that leads in a circle", "nowhere.txt": "a link that leads nowhere"} and "1 links to folders" in caplog.text
    with pytest.raises(DataError, match=r"circle\.txt"):
        list(source(folder).documents())


def test_what_cannot_be_read_costs_a_run_nothing_else(folder, tmp_path_factory, monkeypatch):
    cache = tmp_path_factory.mktemp("cache")
    (folder / "circle.txt").symlink_to(folder / "circle.txt")
    (folder / "nowhere.txt").symlink_to(folder / "none")
    (folder / "mine.txt").write_text("secret")

    def refused(do):
        def checked(path):
            if str(path).endswith("mine.txt"):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return do(path)
        return checked

    monkeypatch.setattr(contents, "digest_file", refused(contents.digest_file))            # who is root may read all
    monkeypatch.setattr(stores.io, "FileIO", refused(io.FileIO))

    def account():
        [(_, step)] = parts(source(folder, on_bad="quarantine"))
        return rows_of([perform(step, [], cache)])

    first = account()
    assert first.good == 3 and first.bad == {"a link that leads in a circle": 1, "a link that leads nowhere": 1, "cannot be read (Permission denied)": 1}
    assert [json.loads(line)["file"] for line in first.lines()] == ["circle.txt", "mine.txt", "nowhere.txt"]
    (folder / "none").write_text("now it leads somewhere")
    assert account().good == 5                                                  # the link and what it leads to


def test_names_that_are_not_utf_8_are_told_and_cost_nothing_else(folder, tmp_path_factory):
    (folder / "sub" / os.fsdecode(b"caf\xe9.txt")).write_text("latin")
    (folder / "\\x41.txt").write_text("an ordinary name with a backslash")
    with tarfile.open(folder / "old.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as made:
        member = tarfile.TarInfo("na\xefve.txt")
        member.size = 4
        made.addfile(member, io.BytesIO(b"four"))
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as made_zip:
        made_zip.writestr("n\u00fc.txt", "five")
    (folder / "said.zip").write_bytes(zipped.getvalue().replace("n\u00fc".encode(), b"n\xfc\xfc"))
    for path in (folder, f"{folder}/**/*"):
        read_from = source(path, on_bad="quarantine")
        [(_, step)] = parts(read_from)
        account = rows_of([perform(step, [], tmp_path_factory.mktemp("cache"))])
        assert account.good == 5 and account.bad.total() == 2
        bad = {found["file"]: found["reason"] for found in map(json.loads, account.lines())}
        assert bad["sub/caf\\xe9.txt"] == "a name that is not UTF-8: rename the file" and bad["said.zip"].startswith("damaged .zip ('utf-8' codec can't decode")
    assert {"\\x41.txt", "old.tar/na\\xefve.txt"} < set(named(folder))


def test_a_folder_that_may_not_be_read_is_named(folder, monkeypatch):
    def scandir(path):
        if str(path).endswith("sub"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"the folder .*/sub cannot be looked into \(Permission denied\)"):
        source(folder).files()


def append(place):
    with place.open("a") as file:
        file.write("more")


def test_files_that_vanish_or_change_while_they_are_read_are_named(folder):
    for what, reason in ((os.unlink, "vanished while it was read"), (append, "changed while it was read")):
        place = folder / "rows.jsonl"
        place.write_text('{"text": "x"}\n' * 3)
        read_from, account = source(place, on_bad="quarantine"), Account()
        [file] = read_from.files()
        documents = read_from.read(file, account)
        next(documents)
        what(place)
        list(documents)
        assert reasons(account)["rows.jsonl"] == reason
    files = source(folder).files()
    (folder / "a.txt").unlink()
    account = Account()
    for file in files:
        list(source(folder, on_bad="quarantine").read(file, account))
    assert account.good == 5 and set(reasons(account)) == {"a.txt", "rows.jsonl:4"}


def test_named_data_sets_bring_their_licence():
    [first, *rest] = read("data:chinese_poetry/lunyu.tsv.xz", header=False, text=[2, 3], facts=[1])[0]
    assert first.facts["licence"] == "MIT" and first.text.count("\n") == 1 and rest
    assert len(source("data:chinese_poetry").files()) == 5
    assert read("data:chinese_poetry/lunyu.tsv.xz", header=False, text=3, licence="mine")[0][0].facts["licence"] == "mine"


def test_what_the_source_says_goes_with_every_document(folder):
    documents, _ = read(folder, called="notes", consent="asked", language="en", licence="CC0")
    assert all(dict(d.facts) == {"source": "notes", "consent": "asked", "language": "en", "licence": "CC0"} for d in documents)
    (folder / "x.py").write_text("print()")
    assert {d.name: d.facts for d in read(folder)[0]}["x.py"] == {"code": "python"}


LINES = st.lists(st.sampled_from([b"", b"a", b"b" * 30, "中文".encode(), b"\xff", b'{"text": "x"}', b"\ttab", b"\r"]), max_size=30)


@settings(max_examples=150, deadline=None)
@given(LINES, st.booleans(), st.integers(1, 40), st.sampled_from(["lines", "jsonl", "tsv"]))
def test_ranges_of_bytes_are_the_whole_file(tmp_path_factory, rows, ended, part, format):
    """Every line is in the range where it begins, whatever the ranges."""
    place = tmp_path_factory.mktemp("ranges") / "file"
    place.write_bytes((b"text\n" if format == "tsv" else b"") + b"\n".join(rows) + (b"\n" if ended else b""))
    read_from, whole, parts = source(place, format=format, on_bad="quarantine", most_bad=1.0), Account(), Account()
    size = place.stat().st_size
    file = File(str(place), "file", size)
    expected = [(d.name, d.text) for d in read_from.read(file, whole)]
    ranges = [file._replace(start=start, end=min(start + part, size)) for start in range(0, size, part)] or [file]
    assert [(d.name, d.text) for one in ranges for d in read_from.read(one, parts)] == expected
    assert (parts.good, parts.blank, parts.bad) == (whole.good, whole.blank, whole.bad)
    assert [(bad.offset, bad.reason) for bad in parts.records] == [(bad.offset, bad.reason) for bad in whole.records]


def test_large_files_of_lines_are_cut_and_others_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(text_source, "PART", 1000)
    rows = [{"text": f"row {i}"} for i in range(200)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rows.csv").write_text("text\n" + "".join(f'"{row["text"]}"\n' for row in rows))
    (tmp_path / "whole.txt").write_text("x" * 3000)
    files = source(tmp_path).files()
    sizes = {name: [file.size for file in files if file.name == name] for name in ("rows.jsonl", "rows.csv", "whole.txt")}
    assert sizes["rows.jsonl"] == [1000] * (len(sizes["rows.jsonl"]) - 1) + [(tmp_path / "rows.jsonl").stat().st_size % 1000]
    assert len(sizes["rows.csv"]) == len(sizes["whole.txt"]) == 1
    assert [File(**json.loads(json.dumps(file._asdict()))) for file in files] == files
    cut = read(tmp_path / "rows.jsonl")[0]
    monkeypatch.setattr(text_source, "PART", 1 << 30)
    assert cut == read(tmp_path / "rows.jsonl")[0] and [d.text for d in cut] == [row["text"] for row in rows]
    assert len(source(tmp_path / "rows.jsonl").files()) == 1 and Wanted().end is None and walking.ARCHIVES


def test_no_document_at_all_says_what_was_looked_for(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=r"no document in .*, only 2 × empty; looked for files \['\*\*/\*'\], in rows for 'text'"):
        list(source(tmp_path).documents())
    (tmp_path / "c.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"only 2 × empty, 1 × is not UTF-8"):
        list(source(tmp_path, on_bad="skip", most_bad=1.0).documents())


def test_a_huge_line_is_read_once_and_never_held(tmp_path):
    with (tmp_path / "a.jsonl").open("wb") as file:                                       # a hole: it takes no room on the disk
        file.write(b'{"text": "before"}\n')
        file.seek(512 << 20)
        file.write(b'\n{"text": "after"}\n')
    files = source(tmp_path).files()
    assert len(files) == 9
    tracemalloc.start()
    documents, account = read(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 40 << 20
    tracemalloc.stop()
    assert [d.text for d in documents] == ["before", "after"] and account.bad == {"longer than 16,777,216 bytes": 1} and account.rows == 3
