"""New tokens as text that can be shown already: never half a character, never what may turn out to be a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from ftheta.data.processors.text import TextProcessor


class TextStream:
    """The text of one continuation while its tokens come."""

    def __init__(self, processor: TextProcessor, prompt: Sequence[int], stop: Sequence[str]):
        self.processor = processor
        self.prompt = prompt
        self.stop = [text for text in stop if text]
        self.held = max((len(text) for text in self.stop), default=0)
        self.shown = ""
        self.stopped = False
        """Whether a stop string has come."""

    def add(self, new: Sequence[int], last: bool) -> str:
        """What can be shown in addition, given all new tokens; everything when these are the last."""
        text = self.processor.decode_after(self.prompt, new)
        found = min((at for at in map(text.find, self.stop) if at >= 0), default=None)
        self.stopped = found is not None
        if found is not None:
            safe = text[:found]
        elif last:
            safe = text
        else:
            whole = text if not text.endswith("\ufffd") else self.shown                   # a character may still be incomplete
            safe = whole[: len(whole) - self.held] if self.held else whole
        if len(safe) <= len(self.shown):
            return ""
        more = safe[len(self.shown) :]
        self.shown = safe
        return more
