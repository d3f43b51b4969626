"""R27: packed files and archives, bombs among them: read as they are, never written out, bounded whatever they claim."""

import bz2
import gzip
import io
import lzma
import tarfile
import time
import tracemalloc
import zipfile

import pyarrow as pa
import pytest

from ftheta.data.read import archives
from ftheta.data.read.lines import Caps
from ftheta.data.read.streams import Budget

from .reading import named, read, reasons


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


PACKINGS = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress, ".zst": zstd}


def tar(members: dict[str, bytes], packing: str = "") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return PACKINGS[packing](sink.getvalue()) if packing else sink.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return sink.getvalue()


@pytest.mark.parametrize("packing", PACKINGS)
def test_packed_files_give_what_they_hold(packing, tmp_path):
    rows = "".join(f'{{"text": "row {i} 中"}}\n' for i in range(30_000)).encode()
    (tmp_path / f"rows.jsonl{packing}").write_bytes(PACKINGS[packing](rows[:100_003]) + PACKINGS[packing](rows[100_003:]))  # two streams end to end
    (tmp_path / f"a.txt{packing}").write_bytes(PACKINGS[packing]("one\r\n中".encode()))
    found = named(tmp_path)
    assert found.pop(f"a.txt{packing}") == "one\r\n中"
    assert list(found.values()) == [f"row {i} 中" for i in range(30_000)]


@pytest.mark.parametrize("packing", ["", *PACKINGS])
def test_members_of_archives_are_files(packing, tmp_path):
    members = {"a.txt": b"one", "sub/b.md": b"two", "sub/rows.jsonl": b'{"text": "three"}\n', "empty.txt": b"", "c.txt.gz": gzip.compress(b"four")}
    (tmp_path / "all.tar").write_bytes(tar(members, packing))                             # the bytes say how it is packed, not the name
    (tmp_path / "all.zip").write_bytes(zipped(members))
    documents, account = read(tmp_path)
    want = {"a.txt": "one", "sub/b.md": "two", "sub/rows.jsonl:0": "three", "c.txt.gz": "four"}
    assert {d.name: d.text for d in documents} == {f"all.{sort}/{name}": text for sort in ("tar", "zip") for name, text in want.items()}
    assert (account.good, account.blank, account.rows) == (8, 2, 10)
    assert list(named(tmp_path, include=["**/*.md"])) == ["all.tar/sub/b.md", "all.zip/sub/b.md"]
    assert list(named(tmp_path, include=["**/*.txt"], exclude=["empty*", "*.zip"])) == ["all.tar/a.txt"]
    assert sorted(place.name for place in tmp_path.iterdir()) == ["all.tar", "all.zip"]


def test_an_archive_in_an_archive_and_no_deeper(tmp_path):
    for pack in (tar, zipped):
        inner = pack({"deep.txt": b"deep"})
        (tmp_path / "a").write_bytes(pack({"in.zip": zipped({"x.txt": b"x", "inner": inner}), "in.tar.gz": tar({"y.txt": b"y"}, ".gz")}))
        documents, account = read(tmp_path)
        assert [d.text for d in documents] == ["x", "y"]
        assert reasons(account) == {"a/in.zip/inner": "an archive in an archive in an archive"}


def test_names_links_and_devices_that_lead_out_are_refused(tmp_path):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as file:
        for name in ("../up.txt", "/etc/passwd", "a/../../b.txt", "fine.txt"):
            info = tarfile.TarInfo(name)
            info.size = 1
            file.addfile(info, io.BytesIO(b"x"))
        for name, sort in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("device", tarfile.CHRTYPE), ("pipe", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = sort, "/etc/passwd"
            file.addfile(info)
    (tmp_path / "a.tar").write_bytes(sink.getvalue())
    (tmp_path / "b.zip").write_bytes(zipped({"../up.txt": b"x", "C:\\x.txt": b"x", "..\\up.txt": b"x", "fine.txt": b"x"}))
    documents, account = read(tmp_path)
    assert [d.name for d in documents] == ["a.tar/fine.txt", "b.zip/fine.txt"]
    assert account.bad == {"an absolute name in an archive": 2, "a name that leads out of the archive": 4, "a link or a device in an archive": 4}


def bombs() -> dict[str, bytes]:
    zeros = bytes(80 << 20)
    packed = gzip.compress(zeros)
    return {
        "a.txt.gz": packed, "rows.jsonl.gz": packed, "a.tar.gz": gzip.compress(tar({"zeros.txt": zeros})), "b.zip": zipped({"zeros.txt": zeros}), "x.xz": lzma.compress(zeros),
        "twice.gz": gzip.compress(packed), "many.zip": zipped({f"{i}.txt": zeros[: 20 << 20] for i in range(4)}),
        "z.zst": zstd(zeros), "inner.tar": tar({"x.zip": zipped({"zeros.txt": zeros})}),
    }


def test_bombs_are_named_before_memory_is_used(tmp_path):
    for name, data in bombs().items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "good.txt").write_text("good")
    tracemalloc.start()
    start = time.process_time()
    documents, account = read(tmp_path, largest=100 << 20, exclude=["many.zip"])
    assert tracemalloc.get_traced_memory()[1] < 200 << 20
    tracemalloc.stop()
    assert [d.text for d in documents] == ["good"]
    found = reasons(account)
    assert found.pop("twice.gz") == "packed more than once"
    assert set(found) == {"a.txt.gz", "rows.jsonl.gz", "a.tar.gz/zeros.txt", "a.tar.gz", "b.zip/zeros.txt", "x.xz", "z.zst", "inner.tar/x.zip/zeros.txt"}
    assert set(found.values()) == {"unpacks to more than 200 times its size: a decompression bomb"}
    assert time.process_time() - start < 20
    _, account = read(tmp_path / "many.zip")                                              # every member is small enough
    assert "unpacks to more than 200 times its size: a decompression bomb" in account.bad


def test_the_budget_is_of_bytes_and_of_a_ratio():
    budget = Budget(Caps(unpacked=100))
    budget.give(100)
    with pytest.raises(archives.BadFile, match="more than 100 bytes"):
        budget.give(1)


@pytest.mark.parametrize("packing", [*PACKINGS, ".tar", ".zip"])
def test_damage_costs_what_comes_after_it(packing, tmp_path):
    rows = b"".join(b'{"text": "%d"}\n' % i for i in range(30_000))
    if packing in (".tar", ".zip"):
        members = {f"{i}.txt": rows[i * 1000 : i * 1000 + 1000] for i in range(50)}
        data, place = (tar if packing == ".tar" else zipped)(members), tmp_path / f"a{packing}"
    else:
        data, place = PACKINGS[packing](rows), tmp_path / f"rows.jsonl{packing}"
    place.write_bytes(data)
    good, _ = read(place, format="lines")
    place.write_bytes(data[: len(data) * 2 // 3])                                         # cut off
    cut, account = read(place, format="lines")
    assert [d.text for d in cut] == [d.text for d in good[: len(cut)]] and len(cut) < len(good)
    assert packing in (".zst", ".bz2", ".xz", ".zip") or len(cut) > len(good) * 0.6               # what came before is not lost
    assert account.bad.total() >= 1 and any("damaged" in reason or "data" in reason for reason in account.bad), account.bad
    if packing == ".tar":
        assert len(cut) > len(good) // 2
        place.write_bytes(data[:20_000] + bytes([data[20_000] ^ 1]) + data[20_001:])
    assert read(place, format="lines")[1].bad


def test_encrypted_members_are_named_and_the_others_read(tmp_path):
    data = bytearray(zipped({"a.txt": b"x" * 50, "b.txt": b"y"}))
    at = data.index(b"PK\x01\x02")                                                         # the first entry of the table of contents
    data[at + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    documents, account = read(tmp_path)
    assert [d.name for d in documents] == ["a.zip/b.txt"] and reasons(account) == {"a.zip/a.txt": "encrypted"}


def test_a_name_of_gigabytes_is_not_read(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 5 << 30
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"x" * 4096)
    _, account = read(tmp_path)
    assert reasons(account) == {"a.tar": "damaged .tar (a name of a million bytes)"}
