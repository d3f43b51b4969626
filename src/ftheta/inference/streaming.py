"""New tokens as text that can be shown already: never half a character, never what may turn out to be a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from ftheta.data.processors.text import CONTEXT, TextProcessor

BROKEN = "\ufffd"
"""Where bytes are no character, or not yet."""
SETTLED = 64
"""New tokens after which their text is kept, so that what a token costs does not grow with the text."""


class TextStream:
    """The text of one continuation while its tokens come."""

    def __init__(self, processor: TextProcessor, prompt: Sequence[int], stop: Sequence[str]):
        self.processor = processor
        self.prompt = prompt
        self.stop = [text for text in stop if text]
        self.held = max((len(text) for text in self.stop), default=0)
        self.shown = ""
        self.text, self.read = "", 0
        """Text that no further token changes, and how many new tokens it is of."""
        self.stopped = False
        """Whether a stop string has come."""

    def add(self, new: Sequence[int], last: bool) -> str:
        """What can be shown in addition, given all new tokens; everything when these are the last."""
        fresh = new[self.read :]
        before = new[self.read - CONTEXT : self.read] if self.read else self.prompt
        text = self.text + self.processor.decode_after(before, fresh)
        if len(fresh) >= SETTLED and BROKEN not in self.processor.decode(new[-CONTEXT:]):  # what follows is shown the same after these alone
            self.text, self.read = text, len(new)
        found = min((at for stop in self.stop if (at := text.find(stop, len(self.shown))) >= 0), default=None)
        self.stopped = found is not None
        if found is not None:
            safe = text[:found]
        elif last:
            safe = text
        else:
            whole = text if not text.endswith(BROKEN) else self.shown                     # a character may still be incomplete
            safe = whole[: len(whole) - self.held] if self.held else whole
        if len(safe) <= len(self.shown):
            return ""
        more = safe[len(self.shown) :]
        self.shown = safe
        return more
