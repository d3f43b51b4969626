"""Tasks that answer a text with a text: translate it, sum it up, or whatever an encoder-decoder was trained to do with it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ftheta.core.errors import UsageError
from ftheta.core.log import logger
from ftheta.inference.request import Request
from ftheta.models.tasks.text import Beginning, Wanted, Writing


class Original(Wanted):
    """The text to answer to, and how."""

    text: str
    """The text; what is longer than the model reads loses its end."""
    temperature: float = Field(default=0.0, ge=0)
    """Divides the logits; 0 takes the likeliest token."""


class TextToText(Writing[Original]):
    """Answer a text with a text, which is no longer than what the model can look at."""

    name = "text2text-generation"
    input = Original

    def read(self, text: str) -> dict[str, Any]:
        return super().read(text) if text.lstrip().startswith("{") else {"text": text}

    def beginning(self, prompt: Original) -> Beginning:
        processor = self.processor
        if not (start := processor.answer_start):
            raise UsageError("no token of this model's tokenizer begins an answer: name one, as in special: {decoder_start: '<pad>'}")
        if not prompt.text:
            raise UsageError("text: there is nothing to answer to: give at least one character")
        return Beginning(start, None, processor.source(prompt.text, self.readable))

    @property
    def readable(self) -> int:
        """Tokens of a text that are read."""
        return self.processor.longest or self.architecture.config.ports().sizes["S"]

    def request(self, prompt: Original, sample: int) -> Request:
        found, longest = super().request(prompt, sample), self.limits()["longest"]
        if not sample and (whole := len(self.processor.sources([prompt.text])[0])) > self.readable:
            logger.warning("the text has %s tokens and the model reads %s: what comes after them is not answered to; shorten it, or give its parts",
                           f"{whole:,}", f"{self.readable:,}")
        if longest is not None:
            found.most = max(1, min(found.most, longest + 1 - len(found.prompt)))
        return found


class Translation(TextToText):
    """Translate a text."""

    name = "translation"


class Summarization(TextToText):
    """Sum up a text."""

    name = "summarization"
