"""How an engine is set up."""

from __future__ import annotations

from pydantic import Field

from ftheta.core.config import Config


class Settings(Config):
    """Sizes and bounds of an engine."""

    memory: int | None = Field(default=None, gt=0)
    """Bytes for keys and values and what a step takes beside them; none: what the sequences written at a time can hold, at most half of the memory."""
    page: int = Field(default=16, gt=0)
    """Tokens of a page."""
    together: int = Field(default=32, gt=0)
    """Sequences written at a time."""
    chunk: int = Field(default=512, gt=0)
    """Tokens read in a step: a longer prompt is read in pieces, between which the others go on."""
    queue: int = Field(default=256, ge=0)
    """Sequences that wait at most; further ones are refused."""
    queue_tokens: int = Field(default=1_000_000, gt=0)
    """Tokens of their prompts at most."""
    reuse: bool = True
    """Whether sequences that begin alike share what the model remembers of the beginning."""
