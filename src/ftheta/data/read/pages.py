"""Web pages: the main text of HTML, and the pages of WARC files, by Resiliparse and FastWARC (Bevendorff et al. 2018).

The extractor is the one that made DataComp-LM's pages (Li et al. 2024, arXiv:2406.11794): as good to train on as slower ones. Its time grows with
the depth of a page times its size, and that of an element with the square of its attributes, so pages that go to extremes are refused beforehand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, cast

from ftheta.core.errors import MissingExtraError
from ftheta.data.documents import Fact
from ftheta.data.read.bad import BadFile, BadRow
from ftheta.data.read.lines import Caps, decoded
from ftheta.data.read.row import Row, Wanted, whole, writable
from ftheta.data.read.streams import Stream

PURPOSE = "reading web pages"
LARGEST = 16 << 20
"""Bytes of a page."""
ATTRIBUTES = 1000
"""Of one element."""
TAG = re.compile(rb"<!--|-->|<(/?)([a-zA-Z][a-zA-Z0-9]*)")
QUOTED = re.compile(rb"\"[^\"]*\"|'[^']*'")
BETWEEN = re.compile(rb"[\s/]+")
CLOSES_ITSELF = frozenset(
    b"a p li dt dd tr td th thead tbody tfoot colgroup option optgroup rp rt html head body"
    b" area base br col embed hr img input link meta param source track wbr".split()
)
"""Elements that need no end, or are ended by the next of their kind."""
RAW = frozenset((b"script", b"style", b"textarea", b"title"))
"""Elements whose content is no HTML."""
TEXTS = ("text/html", "application/xhtml+xml", "text/plain")


def page(data: bytes, caps: Caps, charset: str | None = None) -> tuple[str, dict[str, Fact]]:
    """The main text of a page, its title and its address if it says it. Raises BadRow."""
    try:
        from resiliparse.extract.html2text import extract_plain_text
        from resiliparse.parse.html import HTMLTree
    except ImportError:
        raise MissingExtraError("resiliparse", "data", PURPOSE) from None
    refuse_extremes(data, caps)
    text, facts = page_text(data, charset)
    try:
        tree = HTMLTree.parse(text)
        found = extract_plain_text(tree, main_content=True, preserve_formatting=True, list_bullets=False)
        title = (tree.title or "").strip()
        link = tree.head.query_selector('link[rel="canonical"]') if tree.head else None
    except ValueError as error:
        raise BadRow(f"not HTML ({error})") from None
    if title:
        facts["title"] = writable(title)
    if link is not None and (address := link.getattr("href")):
        facts["url"] = writable(address)
    return writable(found), facts


def page_text(data: bytes, charset: str | None) -> tuple[str, dict[str, Fact]]:
    """UTF-8 if it is; else what the server said, the page says, or the bytes look like, as browsers do."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

    try:
        return decoded(data), {}
    except BadRow:
        encoding = (map_encoding_to_html5(charset) if charset else None) or detect_encoding(data, from_html_meta=True) or "cp1252"
        return bytes_to_str(data, encoding, fallback_encodings=("gb18030", "cp1252"), strip_bom=True), {"encoding": encoding}


def refuse_extremes(data: bytes, caps: Caps) -> None:
    """Raise BadRow for a page that would take too long."""
    if len(data) > LARGEST:
        raise BadRow(f"a page of more than {LARGEST:,} bytes")
    depth, inside, after = 0, b"", 0
    for tag in TAG.finditer(data):
        closing, name = tag[1], (tag[2] or b"").lower()
        if inside:                                                                        # of a comment or a script: nothing counts but its end
            if (tag[0] == b"-->" and inside == b"<!--") or (closing and name == inside):
                inside = b""
            continue
        refuse_attributes(data, after, tag.start())
        after = tag.end()
        if tag[0] == b"<!--" or (name in RAW and not closing):
            inside = tag[0] if tag[0] == b"<!--" else name
        elif name and name not in CLOSES_ITSELF:
            depth = max(0, depth - 1) if closing else depth + 1
            if depth > caps.nesting:
                raise BadRow(f"nested deeper than {caps.nesting}")
    refuse_attributes(data, after, len(data))


def refuse_attributes(data: bytes, start: int, end: int) -> None:
    """Raise BadRow when the element whose name ends at `start` has too many attributes; the next begins at `end`."""
    if end - start > 2 * ATTRIBUTES and len(BETWEEN.split(QUOTED.sub(b"= ", data[start:end]).partition(b">")[0])) > ATTRIBUTES:
        raise BadRow(f"an element with more than {ATTRIBUTES:,} attributes")


def html(stream: Stream, wanted: Wanted) -> Iterator[Row]:
    """The main text of a page."""
    data = whole(stream, wanted)
    text, facts = page(data, wanted.caps)
    yield Row("", text or None, facts, size=len(data))


class Pieces:
    """A stream that gives what it has: `read` of a buffered one would lose what came before damage. It knows where it is, which unpacked ones do not."""

    def __init__(self, stream: Stream):
        self.stream = stream
        self.place = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self.stream.read1(size)
        self.place += len(data)
        return data

    def tell(self) -> int:
        return self.place


def warc(stream: Stream, wanted: Wanted) -> Iterator[Row]:
    """Pages and texts that servers answered with; `conversion` records are texts already. Other records are no rows."""
    try:
        from fastwarc.warc import ArchiveIterator, WarcRecordType
    except ImportError:
        raise MissingExtraError("fastwarc", "data", "reading WARC files") from None
    kinds = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion
    number = 0
    try:
        for record in ArchiveIterator(cast(BinaryIO, Pieces(stream)), record_types=kinds, parse_http=True, auto_decode="all", fsspec_args=False):
            number += 1
            place = (number, record.stream_pos)
            kind = (record.http_content_type or record.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
            status = record.http_headers.status_code if record.is_http and record.http_headers else 200
            if status != 200:
                yield Row(str(number), None, {}, *place, passed=f"an answer with status {status}")
            elif kind not in TEXTS:
                yield Row(str(number), None, {}, *place, passed=f"{kind or 'something'}, no text")
            else:
                yield answer(record, kind, place, wanted)
    except OSError as error:
        raise BadFile(f"damaged WARC after record {number:,} ({error})") from None


def decoded_on_the_way(record: object) -> bool:
    """Whether what is read of a record has another length than what is stored: it was packed, or sent in pieces."""
    headers = record.http_headers                                                         # type: ignore[attr-defined]
    return headers is not None and any(name in headers for name in ("Content-Encoding", "Transfer-Encoding"))


def answer(record: object, kind: str, place: tuple[int, int], wanted: Wanted) -> Row:
    """One record as a row."""
    data = b""
    try:
        claimed = record.content_length                                                   # type: ignore[attr-defined]
        data = record.reader.read(wanted.caps.file + 1)                                   # type: ignore[attr-defined]
        if len(data) > wanted.caps.file:
            raise BadRow(f"more than data.source.largest ({wanted.caps.file:,} bytes)")
        if len(data) < claimed and not decoded_on_the_way(record):
            raise BadRow("cut off before its end")
        charset = record.http_charset                                                     # type: ignore[attr-defined]
        text, facts = page_text(data, charset) if kind == "text/plain" else page(data, wanted.caps, charset)
        headers = record.headers                                                          # type: ignore[attr-defined]
        facts |= {fact: writable(headers[name]) for fact, name in (("url", "WARC-Target-URI"), ("date", "WARC-Date")) if name in headers}
        return Row(str(place[0]), text or None, facts, *place, len(data))
    except (BadRow, OSError) as reason:
        return Row(str(place[0]), None, {}, *place, len(data), str(reason), data[:60])
