"""The text of PDF files, page after page, by pypdf."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

from ftheta.core.errors import MissingExtraError
from ftheta.data.documents import Fact
from ftheta.data.read.bad import BadFile
from ftheta.data.read.row import Row, Wanted, whole, writable
from ftheta.data.read.streams import Stream


def pdf(stream: Stream, wanted: Wanted) -> Iterator[Row]:
    """The text of all pages, an empty line between them. Raises BadFile for one that is encrypted, or holds nothing but pictures."""
    try:
        import pypdf
    except ImportError:
        raise MissingExtraError("pypdf", "data", "reading PDF files") from None
    data = whole(stream, wanted)
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)                                 # what matters of its complaints is in the account
    try:
        opened = pypdf.PdfReader(io.BytesIO(data))
        if opened.is_encrypted and not opened.decrypt(""):
            raise BadFile("an encrypted PDF")
        texts = [page.extract_text() for page in opened.pages]
        title = opened.metadata.title if opened.metadata else None
    except BadFile:
        raise
    except Exception as error:                                                            # a damaged file can fail anywhere in pypdf, with any exception
        raise BadFile(f"a damaged PDF ({type(error).__name__}: {str(error)[:80]})") from None
    text = writable("\n\n".join(texts))
    if not text.strip():
        raise BadFile("a PDF without text (pictures only)" if texts else "a PDF without pages")
    facts: dict[str, Fact] = {"pages": len(texts)}
    if title:
        facts["title"] = writable(str(title))
    yield Row("", text, facts, size=len(data))
