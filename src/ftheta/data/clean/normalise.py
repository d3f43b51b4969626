"""Characters made regular: line ends, composed forms, widths, the two scripts of Chinese, what cannot be seen."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import Any, Literal

from ftheta.core.errors import MissingExtraError
from ftheta.data.clean.rules import Rule, Verdict
from ftheta.data.documents import Document

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\x80-\x84\x86-\x9f]")
SURROGATE = re.compile("[\ud800-\udfff]")
SIGNS = {0xFF01 + i: 0x21 + i for i in range(0x5E)} | {0x3000: 0x20}
"""Full-width characters and the ASCII ones they stand for."""
WIDTHS = {
    "keep": {}, "half": SIGNS, "full": {narrow: wide for wide, narrow in SIGNS.items()},
    "letters": {wide: narrow for wide, narrow in SIGNS.items() if chr(narrow).isalnum()},
}


@functools.cache
def converter(script: str) -> Any:
    """OpenCC's conversion into a script (https://github.com/BYVoid/OpenCC), words before characters."""
    try:
        from opencc import OpenCC
    except ModuleNotFoundError:
        raise MissingExtraError("opencc-python-reimplemented", "data", f"normalise.script: {script}") from None
    return OpenCC({"simplified": "t2s", "traditional": "s2t"}[script])


class Normalise(Rule):
    """Line ends become \\n, characters their composed form (NFC), control characters other than tab and newline go, and halves of surrogate pairs
    (which no file can hold) become U+FFFD."""

    kind: Literal["normalise"] = "normalise"
    form: Literal["NFC", "NFKC"] = "NFC"
    """Unicode normal form; NFKC also folds full-width letters and ligatures."""
    width: Literal["keep", "letters", "half", "full"] = "keep"
    """Full-width forms of ASCII: `letters` makes letters and digits ordinary ones and leaves ，！（）, `half` makes signs and the wide space so too, `full`
    is the way back."""
    script: Literal["keep", "simplified", "traditional"] = "keep"
    """Chinese characters in one script (OpenCC; needs the extra `data`)."""
    invisible: bool = False
    """Whether what has no width goes too: soft hyphens, zero-width spaces and joiners, marks of direction and byte order, controls from U+0080."""

    def apply(self, document: Document) -> Verdict:
        text = document.text.replace("\r\n", "\n").replace("\r", "\n")
        text = CONTROL.sub("", unicodedata.normalize(self.form, text))
        if not text.isascii():
            text = SURROGATE.sub("\ufffd", text)
            text = INVISIBLE.sub("", text) if self.invisible else text
            text = converter(self.script).convert(text) if self.script != "keep" else text
        return Verdict(text.translate(WIDTHS[self.width]) if self.width != "keep" else text)
