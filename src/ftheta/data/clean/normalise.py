"""Characters made regular."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from ftheta.data.clean.rules import Rule, Verdict
from ftheta.data.documents import Document

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Normalise(Rule):
    """Line ends become \\n, characters their composed form (NFC), control characters other than tab and newline go."""

    kind: Literal["normalise"] = "normalise"
    form: Literal["NFC", "NFKC"] = "NFC"
    """Unicode normal form; NFKC also folds full-width letters and ligatures."""

    def apply(self, document: Document) -> Verdict:
        text = document.text.replace("\r\n", "\n").replace("\r", "\n")
        return Verdict(CONTROL.sub("", unicodedata.normalize(self.form, text)))
