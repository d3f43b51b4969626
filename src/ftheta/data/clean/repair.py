"""Text that was decoded wrongly on its way, put right."""

from __future__ import annotations

import re
from typing import Literal

from ftheta.core.errors import MissingExtraError
from ftheta.data.clean.rules import Rule, Verdict
from ftheta.data.documents import Document

SUSPICIOUS = re.compile(r"[&\x00-\x08\x0b-\x1f\x7f]")
"""All that may be wrong with a text in ASCII: entities, control characters, escapes of terminals."""


class Repair(Rule):
    """Wrongly decoded text becomes what it was (â€™ → ’, å¥½ → 好), entities and escapes of terminals go (ftfy; needs the extra `data`).

    Widths, ligatures and quotes stay as they are, unless asked for: ftfy alone would turn ， into a comma.
    """

    kind: Literal["repair"] = "repair"
    entities: Literal["auto", "always", "never"] = "auto"
    """Whether &amp;amp; becomes &amp;: `auto` leaves it in text that has a < and so may be HTML."""
    quotes: bool = False
    """Whether curly quotes become straight."""
    ligatures: bool = False
    """Whether ﬁ becomes fi."""

    def apply(self, document: Document) -> Verdict:
        if document.text.isascii() and not SUSPICIOUS.search(document.text):
            return Verdict(document.text)
        try:
            from ftfy import TextFixerConfig, fix_text
        except ModuleNotFoundError:
            raise MissingExtraError("ftfy", "data", "cleaning with 'repair'") from None
        entities = {"auto": "auto", "always": True, "never": False}[self.entities]
        config = TextFixerConfig(
            unescape_html=entities, uncurl_quotes=self.quotes, fix_latin_ligatures=self.ligatures, fix_character_width=False, normalization=None, explain=False,
        )
        text = fix_text(document.text, config)
        return Verdict(text, counts={"repaired documents": 1} if text != document.text else {})
