"""R26: the bad-row corpus. Every good row comes out as it went in, every bad one is counted, named and survived."""

import json
import random
import time
import tracemalloc

import pytest

from ftheta.core.atomic import commit
from ftheta.core.errors import ConfigError, DataError
from ftheta.data.read.account import Account
from ftheta.data.read.archives import Entry
from ftheta.data.read.lines import Caps, lines, nesting
from ftheta.data.read.row import Wanted
from ftheta.data.sources.text import TextFiles
from ftheta.lifecycle.recipe import load

PYTHON = {"format": 1, "name": "x", "model": "decoder", "objective": "next_token", "train": {"steps": 1}}
SMALL = Caps(line=4000, row=16000, nesting=50)
BAD = {
    b'{"text": "cut': "not JSON", b'{"text": "caf\xe9"}': "not UTF-8", b'{"text": "\xed\xa0\x80"}': "not UTF-8", b'{"text": "\\ud800"}': "lone surrogate",
    b'{"text": NaN}': "NaN is not JSON", b'{"text": "a", "x": -Infinity}': "-Infinity is not JSON", b'{"text": "a", "x": 1e999}': "a number too large",
    b'{"text": "a", "x": ' + b"9" * 3990 + b"}": "longer than", b'{"text": "a", "text": "b"}': "given twice", b'["text"]': "not a JSON object", b"null": "not a JSON object",
    b'{"other": "a"}': "no field 'text'", b'{"text": 3}': "is not text", b'{"text": null}': "is not text", b"text": "not JSON", b"{'text': 'a'}": "not JSON",
    b'{"text": "a",}': "not JSON", b'{"text": "a"} {"text": "b"}': "not JSON", b'{"text": "tab\there"}': "not JSON", b"\x00": "not JSON", b"\xff\xfe{\x00": "not UTF-8",
    b'{"text": "a", "x": ' + b"[" * 60 + b"]" * 60 + b"}": "nested deeper", b'{"text": "a", "x": [' + b"[]," * 900 + b"[]]}": "bytes in memory",
    b'{"text": "' + b"a" * 5000 + b'"}': "longer than", b"\x1f\x8b\x08\x00": "not UTF-8", b'{"text": "half \\u12"}': "not JSON",
}
GOOD = [
    "plain", "", "中文 and 𝄞", "tabs\tand\nnewlines\r\n", '{"text": "nested"}', "\u2028 \x85 \x0b", "brackets [[[[" + "[" * 300, "commas " + "," * 1500, "\\\\\\", "\x00 nul", "ﬀ",
]


def source(**fields):
    return TextFiles.parse({"kind": "text_files", **fields})


def read(place, policy, most_bad=0.001, caps=None, listing=None):
    """The texts of a file's rows, and the account, which is filled while they are read."""
    read_from = source(path=str(place), on_bad=policy, most_bad=most_bad, quarantine=listing)
    file, account = read_from.files()[0], Account()

    def texts():
        with place.open("rb") as stream:
            yield from (document.text for document in read_from.entry(Entry(file.name, stream), Wanted(caps=caps or Caps()), account))
        account.check(most_bad)

    return texts(), account


def corpus(seed: int, bad: int) -> tuple[bytes, list[str], list[tuple[int, bytes]]]:
    """A file's bytes, the texts of its good rows, and where which bad rows start."""
    draws = random.Random(seed)
    texts = [draws.choice(GOOD) + str(i) for i in range(400)]
    rows = [(json.dumps({"id": i, "text": text, "more": {"a": [1.5, None, True]}}, ensure_ascii=i % 2 == 0).encode(), False) for i, text in enumerate(texts)]
    for _ in range(bad):
        rows.insert(draws.randrange(len(rows)), (draws.choice(list(BAD)), True))
    data, places = bytearray(), []
    for row, is_bad in rows:
        if is_bad:
            places.append((len(data), row))
        data += row + draws.choice([b"\n", b"\r\n", b"\n\n", b"\n   \n"])
    return bytes(data), texts, places


@pytest.mark.parametrize("seed", range(5))
def test_good_rows_in_are_good_rows_out_and_every_bad_one_is_counted(seed, tmp_path):
    data, texts, bad = corpus(seed, 60)
    place = tmp_path / "rows.jsonl"
    place.write_bytes(data)
    reader, account = read(place, "quarantine", 0.5, SMALL)
    assert list(reader) == texts
    assert account.good == len(texts) and account.bad.total() == len(bad)
    assert account.rows == data.count(b"\n")
    with commit(tmp_path / "read") as attempt:
        attempt.write("bad.jsonl", *account.lines())
    loaded = Account.load(json.loads(json.dumps(account.dump())), tmp_path / "read" / "bad.jsonl")
    assert loaded.dump() == account.dump() and list(loaded.lines()) == list(account.lines())
    listed = [json.loads(line) for line in account.lines()]
    assert [entry["offset"] for entry in listed] == [offset for offset, _ in bad]
    for entry, (offset, row) in zip(listed, bad, strict=True):
        assert entry["file"] == place.name and BAD[row] in entry["reason"]
        assert entry["row"] == data[:offset].count(b"\n") + 1
        assert data[offset : offset + len(row)] == row and entry["bytes"] >= len(row)


@pytest.mark.parametrize("row", BAD, ids=[f"{reason} {i}" for i, reason in enumerate(BAD.values())])
def test_each_bad_row_is_named_with_file_line_and_byte(row, tmp_path):
    place = tmp_path / "rows.jsonl"
    place.write_bytes(b'{"text": "a"}\n' + row)                                           # the last line of a file has no end
    with pytest.raises(DataError, match=r"rows\.jsonl, line 2 \(byte 14\)") as caught:
        list(read(place, "error", caps=SMALL)[0])
    assert BAD[row] in str(caught.value) and "data.source.on_bad" in str(caught.value)


@pytest.mark.parametrize(("bad", "allowed", "stops"), [(1, 0.001, False), (2, 0.001, True), (2, 0.002, False), (1, 0.0, True), (0, 0.0, False)])
def test_too_many_bad_rows_stop_the_run(bad, allowed, stops, tmp_path):
    place = tmp_path / "rows.jsonl"
    place.write_bytes(b'{"text": "a"}\n' * (1000 - bad) + b"{\n" * bad)
    for policy in ("skip", "quarantine"):
        reader, _ = read(place, policy, allowed)
        if stops:
            with pytest.raises(DataError, match=rf"{bad} of 1,000 rows are bad .*most_bad.*line {1001 - bad:,}"):
                list(reader)
        else:
            assert len(list(reader)) == 1000 - bad


def test_a_file_of_nothing_but_bad_rows_stops_early(tmp_path):
    place = tmp_path / "rows.jsonl"
    place.write_bytes(b"x\n" * 300_000)
    reader, account = read(place, "skip")
    with pytest.raises(DataError):
        list(reader)
    assert account.bad.total() == 100_000


def test_long_lines_are_never_held(tmp_path):
    place = tmp_path / "rows.jsonl"
    with place.open("wb") as file:
        file.write(b'{"text": "before"}\n{"text": "')
        for _ in range(40):
            file.write(b"a" * (1 << 20))
        file.write(b'"}\n{"text": "after"}\n')
    tracemalloc.start()
    assert list(read(place, "skip", 0.5, Caps(line=1 << 20))[0]) == ["before", "after"]
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("row", [
    b'{"text": "' + b'\\"' * 2_000_000, b"[" * 4_000_000, b'{"a":' * 800_000, b'"' * 4_000_001, b"{" * 300 + b'"' + b'\\"' * 2_000_000, b"[" * 300 + b"\\" * 4_000_001,
    b"9" * 4_000_000, b'{"text": "a", "x": [' + b"[]," * 1_300_000 + b"1]}",
], ids=range(8))
def test_hostile_rows_end_within_a_deadline(row, tmp_path):
    place = tmp_path / "rows.jsonl"
    place.write_bytes(row + b'\n{"text": "after"}\n')
    start = time.process_time()
    assert list(read(place, "skip", 1.0)[0]) == ["after"]
    assert time.process_time() - start < 5


def test_lines_are_cut_only_at_newlines(tmp_path):
    place = tmp_path / "a.txt"
    place.write_bytes(b"\xef\xbb\xbfone\r\n\ntwo \xe2\x80\xa8 three\nfour")
    with place.open("rb") as file:
        assert [(line.number, line.offset, line.size) for line in lines(file, 100)] == [(1, 0, 8), (2, 8, 1), (3, 9, 14), (4, 23, 4)]
    by_line, account = source(path=str(place), format="lines"), Account()
    assert [document.text for document in by_line.read(by_line.files()[0], account)] == ["one", "two \u2028 three", "four"]
    assert (account.good, account.blank, account.rows) == (3, 1, 4)
    with place.open("rb") as file:
        assert [line.data is None for line in lines(file, 4)] == [True, False, True, False]


def test_nesting_counts_brackets_outside_strings():
    assert nesting(b'{"a": "[[[", "b": [{"c": "\\"]]"}]}') == 3
    assert nesting(b'"never closed [[[') == 0


def test_a_folder_a_file_and_a_pattern_name_the_same_documents(tmp_path):
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "a.jsonl").write_text('{"body": "one"}\n\n{"body": "two"}\n')
    (tmp_path / "data" / "sub" / "b.txt").write_text("three\nfour\n")

    def named(**fields):
        return {document.name: document.text for document in source(text="body", **fields).documents()}

    assert named(path=str(tmp_path / "data")) == {"a.jsonl:0": "one", "a.jsonl:17": "two", "sub/b.txt": "three\nfour\n"}
    assert named(path=f"{tmp_path}/data/**/*.txt", format="lines") == {"sub/b.txt:0": "three", "sub/b.txt:6": "four"}
    assert list(named(path=str(tmp_path / "data" / "a.jsonl"))) == ["a.jsonl:0", "a.jsonl:17"]
    both = [str(tmp_path / "data" / "sub"), str(tmp_path / "data" / "a.jsonl"), str(tmp_path / "data")]  # a file that is named twice is read once
    assert [name.removeprefix(f"{tmp_path}/".lstrip("/")) for name in named(path=both)] == ["data/sub/b.txt", "data/a.jsonl:0", "data/a.jsonl:17"]
    for missing in (tmp_path / "nothing", tmp_path / "*.jsonl", tmp_path / "data" / "c"):
        with pytest.raises(DataError, match=r"data\.source\.path"):
            list(source(path=str(missing)).documents())


def test_what_the_recipe_says_about_bad_rows(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"\n')
    with pytest.raises(DataError, match="line 2"):
        list(source(path=str(tmp_path)).documents())
    with pytest.raises(DataError, match="most_bad"):
        list(source(path=str(tmp_path), on_bad="skip").documents())
    assert len(list(source(path=str(tmp_path), on_bad="skip", most_bad=0.5).documents())) == 1
    listing = tmp_path / "out" / "bad.jsonl"                                             # not read as data the second time
    for _ in range(2):
        assert len(list(source(path=str(tmp_path), on_bad="quarantine", most_bad=0.5, quarantine=str(listing)).documents())) == 1
    assert json.loads(listing.read_text())["offset"] == 16
    listing.unlink()
    automatic = source(path=str(tmp_path), on_bad="quarantine", most_bad=0.5)
    list(automatic.documents())
    assert json.loads(automatic.listing().read_text())["row"] == 2


def test_the_source_that_is_gone_says_what_is_written_instead():
    with pytest.raises(ConfigError, match=r"text_lines' is no longer a source: write 'text_files'.*'field' is called 'text'"):
        load({**PYTHON, "data": {"source": {"kind": "text_lines", "path": "rows.jsonl"}}})
