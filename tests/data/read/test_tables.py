"""Tables: every good row comes out as it went in, a bad one costs itself."""

import csv
import io
import json
import random
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftheta.data.read.account import Account

from .reading import named, read, reasons, source

CELLS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00\r"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=12), st.booleans())
def test_csv_is_read_as_pythons_own_writer_meant_it(tmp_path_factory, rows, header):
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("text", "other"), *rows] if header else rows)
    place = tmp_path_factory.mktemp("csv") / "a.csv"
    place.write_text(sink.getvalue(), encoding="utf-8", newline="")
    documents, account = read(place, header=header, text=["other", "text"] if header else [2, 1])
    assert [d.text for d in documents] == [f"{b}\n{a}" for a, b in rows] and not account.bad


def test_an_open_quotation_costs_the_line_that_opens_it(tmp_path):
    good = [f'{i},"text ""{i}""\nin two lines"' for i in range(50)]
    rows = [*good[:20], '20,"never closed', *good[20:40], "too,many,values", *good[40:], 'x,"a"b']
    (tmp_path / "a.csv").write_text("\n".join(["id,text", *rows]) + "\n")
    documents, account = read(tmp_path / "a.csv", facts=["id"])
    assert [d.text for d in documents] == [f'text "{i}"\nin two lines' for i in range(50)]
    assert [d.facts["id"] for d in documents] == [str(i) for i in range(50)]
    assert account.bad.total() == 3 and {bad.start for bad in account.records} == {'20,"never closed\n', "too,many,values\n", 'x,"a"b\n'}


def test_a_file_of_open_quotations_ends_in_time_and_memory(tmp_path):
    (tmp_path / "a.csv").write_text("text\n" + 'a "b\n' * 3001 + ('"c\n' + "d\n" * 1200) * 20)
    documents, account = read(tmp_path / "a.csv")
    assert [d.text for d in documents] == ['a "b'] * 3001 + ["d"] * 24_000                # a quotation begins where a value does, or is none
    assert account.bad == {"a quotation that is not closed": 20}


def test_tabs_know_no_quoting(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b'\xef\xbb\xbfid\ttext\n1\t"a\n\n2\tb"\r\n3\n4\tc\td\n5\t\xff\n')
    documents, account = read(tmp_path / "a.tsv", facts=["id"])
    assert [(d.text, d.facts["id"]) for d in documents] == [('"a', "1"), ('b"', "2")]
    assert account.blank == 1 and account.bad == {"1 values, expected 2": 1, "3 values, expected 2": 1, "not UTF-8 (byte 0xff)": 1}


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_column_that_is_not_there_is_said_once(name, tmp_path):
    (tmp_path / name).write_text("title\n" + "x\n" * 100)
    assert reasons(read(tmp_path / name)[1]) == {name: "no column 'text' (columns: title)"}


def table(count: int) -> pa.Table:
    urls = [None if i % 2 else f"http://x/{i}" for i in range(count)]
    return pa.table({"text": [f"row {i} 中" for i in range(count)], "id": list(range(count)), "url": urls, "more": [[i] for i in range(count)]})


@pytest.mark.parametrize("sort", ["parquet", "arrow", "feather", "stream.arrow", "parquet.gz"])
def test_parquet_and_arrow(sort, tmp_path):
    rows, place = table(1000), tmp_path / f"a.{sort}"
    if sort.startswith("parquet"):
        sink = io.BytesIO()
        pq.write_table(rows, sink, row_group_size=300)
        place.write_bytes(pa.compress(sink.getvalue(), "gzip", asbytes=True) if sort.endswith("gz") else sink.getvalue())
    else:
        with (pa.ipc.new_stream if sort == "stream.arrow" else pa.ipc.new_file)(str(place), rows.schema) as writer:
            writer.write_table(rows, max_chunksize=300)
    documents, account = read(place, facts=["id", "url", "more"])
    assert [d.text for d in documents] == [f"row {i} 中" for i in range(1000)] and account.rows == 1000
    assert documents[0].facts == {"id": 0, "url": "http://x/0", "more": "[0]"} and "url" not in documents[1].facts
    assert reasons(read(place, text="body")[1]) == {place.name: "no column 'body' (columns: text, id, url, more)"}
    assert read(place, text="id")[1].bad == {"field 'id' is not text": 1000}
    data = place.read_bytes()
    for seed in range(20):                                                                # whatever is broken in it: named, not a crash
        draws, broken = random.Random(seed), bytearray(data)
        for _ in range(3):
            broken[draws.randrange(len(broken))] ^= 1 << draws.randrange(8)
        place.write_bytes(broken[: draws.randrange(len(broken))] if seed % 4 == 0 else broken)
        _, account = read(place)
        assert account.rows >= 1


def test_large_parquet_files_are_read_in_bounded_memory(tmp_path):
    with pq.ParquetWriter(tmp_path / "a.parquet", pa.schema([("text", pa.string())]), compression="none") as writer:
        for _ in range(30):
            writer.write_table(pa.table({"text": [random.Random(i).randbytes(500).hex() for i in range(2000)]}))
    before, most, read_rows = pa.total_allocated_bytes(), 0, 0
    read_from = source(tmp_path)
    tracemalloc.start()
    for _ in read_from.read(read_from.files()[0], Account()):
        read_rows += 1
        most = max(most, pa.total_allocated_bytes() - before) if read_rows % 500 == 0 else most
    assert read_rows == 60_000 and most + tracemalloc.get_traced_memory()[1] < 16 << 20 < (tmp_path / "a.parquet").stat().st_size
    tracemalloc.stop()


def test_json_arrays_and_objects_are_read_whatever_they_are_called(tmp_path):
    rows = [{"text": "a", "n": 1}, {"text": "b", "n": None}, {"no": 1}, 3]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    for name, data in {"a.json": json.dumps(rows, indent=1), "b.jsonl": json.dumps(rows, indent=1), "c.json": lines, "d.jsonl": lines, "e.json": json.dumps(rows[0])}.items():
        (tmp_path / name).write_text(data)
        documents, account = read(tmp_path / name, facts=["n"])
        assert [d.text for d in documents] == (["a"] if name == "e.json" else ["a", "b"]) and documents[0].facts == {"n": 1}
        assert account.bad == ({} if name == "e.json" else {"no field 'text'": 1, "not a JSON object": 1})
        assert account.noticed == {"b.jsonl": {".jsonl that holds a JSON array": 1}, "c.json": {".json that holds JSON lines": 1}}.get(name, {})
    (tmp_path / "blank.json").write_text("  \n")
    assert read(tmp_path / "blank.json")[1].blank == 1
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert reasons(read(tmp_path / "deep.json")[1]) == {"deep.json": "nested deeper than 200"}


def test_rows_inside_other_objects_are_found_with_what_holds_them(tmp_path):
    squad = {"version": 2, "data": [
        {"title": "水", "paragraphs": [{"context": "a", "qas": [1]}, {"context": "b", "title": "inner"}, {"nothing": 1}]},
        {"title": "empty", "paragraphs": []}, {"title": "no paragraphs"}, 7,
    ]}
    (tmp_path / "asked.json").write_text(json.dumps(squad))
    documents, account = read(tmp_path, inside="data.paragraphs", text="context", facts=["title", "version"])
    assert [(d.text, dict(d.facts)) for d in documents] == [("a", {"title": "水", "version": 2}), ("b", {"title": "inner", "version": 2})]
    assert sorted(account.bad) == [
        "no field 'context'", "no field 'paragraphs' of data.source.inside: it is no object", "no field 'paragraphs' of data.source.inside: its fields are title",
    ]
    assert list(named(tmp_path, inside="data.paragraphs", text="context")) == ["asked.json:1", "asked.json:2"]
    (tmp_path / "lines.jsonl").write_text('{"context": "c"}\n{"context": "d"}\n')
    assert "lines.jsonl" in reasons(read(tmp_path, inside="data.paragraphs", text="context")[1])
