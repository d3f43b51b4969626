"""Web pages and PDF files: made here, read back."""

import gzip
import io
import lzma
import time

import pypdf
import pytest
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from ftheta.data.read.bad import BadRow
from ftheta.data.read.lines import Caps
from ftheta.data.read.pages import page

from .reading import named, read, reasons

TEXT = "The quick brown fox jumps over the lazy dog, and then it goes home to sleep. " * 8
NAV = "".join(f'<li><a href="/{i}">menu {i}</a></li>' for i in range(30))


def a_page(text: str = TEXT, head: str = "") -> str:
    return (
        f"<!DOCTYPE html><html><head><title>A &amp; B</title>{head}<style>p {{color: red}}</style><script>if (1 < 2) document.write('<div>')</script></head>"
        f"<body><nav><ul>{NAV}</ul></nav><main><h1>Heading</h1><p>{text}</p><!-- <div> --></main><footer>Copyright</footer></body></html>"
    )


def test_the_main_text_of_a_page(tmp_path):
    (tmp_path / "a.html").write_text(a_page(head='<link rel="canonical" href="https://x.org/a">'))
    (tmp_path / "no_ending").write_text(a_page())
    documents, account = read(tmp_path)
    for document in documents:
        assert "quick brown fox" in document.text and "Heading" in document.text
        assert not any(word in document.text for word in ("menu", "color", "document.write", "Copyright", "<"))
        assert document.facts["title"] == "A & B"
    assert documents[0].facts["url"] == "https://x.org/a" and account.noticed == {"a file without ending that is HTML": 1}


@pytest.mark.parametrize(
    ("encoding", "text"), [("gb18030", "春眠不觉晓，处处闻啼鸟。" * 20), ("shift_jis", "吾輩は猫である。名前はまだ無い。" * 20), ("latin-1", "Où est la forêt? Là-bas. " * 20)],
)
@pytest.mark.parametrize("declared", [True, False])
def test_pages_in_other_encodings(encoding, text, declared, tmp_path):
    (tmp_path / "a.html").write_bytes(a_page(text, f'<meta charset="{encoding}">' if declared else "").encode(encoding))
    [document] = read(tmp_path)[0]
    assert text.strip() in document.text and "encoding" in document.facts


HOSTILE = {
    "deep": "<div>" * 100_000 + "x", "deep and closed": ("<div>" * 150 + "x" + "</div>" * 150) * 2000, "formatting": "<b><i>" * 10_000 + "<div>" * 10_000,
    "tables": "<table><tr><td>" * 100_000,
    "laughs": "<!DOCTYPE lolz [<!ENTITY lol 'lol'>" + "".join(f"<!ENTITY lol{i} '{f'&lol{i - 1};' * 10}'>" for i in range(1, 10)) + "]><p>&lol9;</p>" + "&amp;" * 1_000_000,
    "attributes": "<p " + " ".join(f"a{i}=1" for i in range(100_000)) + ">x", "attributes in quotes": "<p " + "".join(f'a{i}="1>"' for i in range(100_000)) + ">x",
    "attributes by strokes": "<p " + "/".join(f"a{i}" for i in range(100_000)) + ">x",
    "open quotes": "<p a='" * 200_000, "comments": "<!--" * 400_000, "scripts": "<script>" * 200_000, "less": "<" * 2_000_000, "zeros": "\0" * 1_000_000, "svg": "<svg>" * 100_000,
    "surrogate": "<p>" + "&#xD800;" * 1000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pages_end_within_a_deadline(name):
    start = time.process_time()
    try:
        text, facts = page(HOSTILE[name].encode(), Caps())
        assert len(text.encode()) < 10_000_000 and not facts
    except BadRow as reason:
        assert str(reason) in ("nested deeper than 200", "an element with more than 1,000 attributes")
    assert time.process_time() - start < 5
    assert (time.process_time() - start < 1) or name in ("deep and closed",)


def test_ordinary_pages_are_not_taken_for_hostile_ones():
    picture = '<img src="data:image/png;base64,' + "iVBORw0KGgo/AAAA " * 20_000 + '">'
    text = a_page(TEXT + picture + "<p>don't do it, won't" * 2000 + "<br>" * 5000 + "<script>" + "'<div>';" * 5000 + "</script>" + "<li>one" * 3000)
    assert "quick brown fox" in page(text.encode(), Caps())[0]


def warc(*records: tuple[str, str, bytes], packed: bool = True) -> bytes:
    sink = io.BytesIO()
    writer = WARCWriter(sink, gzip=packed)
    writer.write_record(writer.create_warcinfo_record("a.warc", {"software": "test"}))
    for i, (status, kind, data) in enumerate(records):
        headers = StatusAndHeaders(status, [("Content-Type", kind), *([("Content-Encoding", "gzip")] if data[:2] == b"\x1f\x8b" else [])], protocol="HTTP/1.1")
        writer.write_record(writer.create_warc_record(f"http://x.org/{i}", "response", payload=io.BytesIO(data), http_headers=headers))
        request = StatusAndHeaders("GET / HTTP/1.1", [("Host", "x.org")], is_http_request=True)
        writer.write_record(writer.create_warc_record(f"http://x.org/{i}", "request", http_headers=request))
    writer.write_record(writer.create_warc_record("http://x.org/text", "conversion", payload=io.BytesIO(b"ein Text"), warc_content_type="text/plain"))
    return sink.getvalue()


ANSWERS = [
    ("200 OK", "text/html; charset=utf-8", a_page().encode()), ("200 OK", "text/html; charset=gbk", a_page("春眠不觉晓，处处闻啼鸟。" * 20).encode("gbk")),
    ("404 Not Found", "text/html", b"gone"),
    ("200 OK", "image/png", b"\x89PNG"), ("200 OK", "text/plain", b"plain text"), ("200 OK", "text/html", b""), ("200 OK", "text/html", gzip.compress(a_page().encode())),
    ("200 OK", "text/html", b"<div>" * 100_000),
]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz", "called.bin", "a.warc.xz"])
def test_pages_of_a_warc_file(name, tmp_path):
    (tmp_path / name).write_bytes(lzma.compress(warc(*ANSWERS, packed=False)) if name.endswith("xz") else warc(*ANSWERS, packed=name.endswith("gz")))
    documents, account = read(tmp_path)
    assert [d.facts["url"] for d in documents] == [f"http://x.org/{i}" for i in (0, 1, 4, 6, "text")]
    assert all("date" in d.facts for d in documents) and documents[2].text == "plain text" and documents[4].text == "ein Text"
    assert "quick brown fox" in documents[0].text == documents[3].text and "处处闻啼鸟" in documents[1].text
    assert account.passed == {"an answer with status 404": 1, "image/png, no text": 1} and account.blank == 1
    assert list(account.bad) == ["nested deeper than 200"] and account.rows == 9
    assert bool(account.noticed) == (name == "called.bin")


def test_damaged_and_hostile_warc_files(tmp_path):
    data = warc(*ANSWERS[:2] * 20)
    (tmp_path / "cut.warc.gz").write_bytes(data[: len(data) // 2])
    documents, account = read(tmp_path)
    assert 10 <= len(documents) < 40 and account.bad.total() >= 1
    (tmp_path / "cut.warc.gz").unlink()
    bomb = gzip.compress(b"<p>" + bytes(100 << 20))
    (tmp_path / "bomb.warc").write_bytes(warc(("200 OK", "text/html", bomb), packed=False))
    documents, account = read(tmp_path)
    assert [d.text for d in documents] == ["ein Text"] and account.bad == {"more than data.source.largest (67,108,864 bytes)": 1}
    plain = warc(*ANSWERS[:2], packed=False)
    for at in range(0, len(plain), len(plain) // 40):                                     # whatever is broken: named, or less text, no crash
        (tmp_path / "bomb.warc").write_bytes(plain[:at] + b"\xff" + plain[at + 1 :])
        read(tmp_path)


def a_pdf(*texts: str, password: str = "") -> bytes:
    writer = pypdf.PdfWriter()
    font = DictionaryObject({NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"), NameObject("/BaseFont"): NameObject("/Helvetica")})
    for text in texts:
        sheet = writer.add_blank_page(300, 300)
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
        sheet[NameObject("/Contents")] = writer._add_object(content)
        sheet[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F1"): writer._add_object(font)})})
    writer.add_metadata({"/Title": "A title"})
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    sink = io.BytesIO()
    writer.write(sink)
    return sink.getvalue()


@pytest.mark.parametrize("encoding", [b"", b"Content-Encoding: gzip\r\n"])
def test_a_page_that_ends_before_its_record_does_is_bad(encoding, tmp_path):
    body = b"<html><body><p>" + b"A page with some words in it. " * 20
    sent = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + encoding + b"\r\n" + (gzip.compress(body) if encoding else body)
    record = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://x/\r\nContent-Type: application/http; msgtype=response\r\nContent-Length: %d\r\n\r\n%s\r\n\r\n"
    whole = record % (len(sent), sent)
    (tmp_path / "whole.warc").write_bytes(whole)
    documents, account = read(tmp_path)
    assert len(documents) == 1 and not account.bad
    if not encoding:
        (tmp_path / "cut.warc").write_bytes(whole + whole[:-200])                         # as a download that broke off
        documents, account = read(tmp_path)
        assert len(documents) == 2 and reasons(account) == {"cut.warc:2": "cut off before its end"}


def test_pdf_files(tmp_path):
    (tmp_path / "a.pdf").write_bytes(a_pdf("First page.", "Second page."))
    (tmp_path / "b.bin").write_bytes(a_pdf("Wrong ending."))
    (tmp_path / "locked.pdf").write_bytes(a_pdf("secret", password="x"))
    (tmp_path / "pictures.pdf").write_bytes(a_pdf(""))
    (tmp_path / "text.pdf").write_text("no PDF")
    (tmp_path / "cut.pdf").write_bytes(a_pdf("cut")[:300])
    documents, account = read(tmp_path)
    assert {d.name: d.text for d in documents} == {"a.pdf": "First page.\n\nSecond page.", "b.bin": "Wrong ending."}
    assert documents[0].facts == {"pages": 2, "title": "A title"} and account.noticed == {".bin that is PDF": 1}
    found = reasons(account)
    assert found.pop("cut.pdf").startswith(("a damaged PDF", "a PDF without pages"))
    assert found == {"locked.pdf": "an encrypted PDF", "pictures.pdf": "a PDF without text (pictures only)", "text.pdf": "called .pdf, but is none"}


def test_what_is_no_text_is_named(tmp_path):
    files = {"a.png": b"\x89PNG\r\n\x1a\n\0\0\xff", "b.txt": b"\xff\xd8\xff\xe0", "c.docx": b"PK\x03\x04\xff\xfe\xfd", "d.parquet": b"{}", "e.txt": b"GIF8 is how it begins"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert named(tmp_path) == {"e.txt": "GIF8 is how it begins"}
    assert reasons(read(tmp_path)[1]) == {
        "a.png": "a PNG picture, no text", "b.txt": "a JPEG picture, no text", "c.docx": "an Office document or the like, no text", "d.parquet": "called .parquet, but is none",
    }
