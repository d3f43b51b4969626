"""One sequence that is being continued: what was asked, its pages, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ftheta.inference.request import Request
from ftheta.inference.streaming import TextStream
from ftheta.serving.pages import mark


@dataclass(eq=False)
class Sequence:
    """A request, the pages that hold what the model remembers of it, and its text."""

    number: int
    """In order of arrival."""
    request: Request
    text: TextStream
    listen: Callable[[str], None] | None = None
    """Told every new piece of text."""
    client: str = ""
    """Who asks; clients take turns."""
    adapter: str | None = None
    """Which of the model's adapters answers."""
    deadline: float | None = None
    """When it is given up, by the engine's clock."""
    arrived: float = 0.0
    first: float | None = None
    """When its first token came."""
    ended: float | None = None
    pages: list[int] = field(default_factory=list)
    seen: int = 0
    """Tokens of the window that the model has seen: their keys and values are in the pages."""
    drafted: int = 0
    """Tokens of the window that a draft has seen."""
    marks: list[bytes] = field(default_factory=list)
    """Of the window's full pages."""
    error: Exception | None = None
    """Why it failed, where `finish` is `error`."""

    @property
    def unseen(self) -> int:
        return len(self.request.window) - self.seen

    def marked(self, size: int) -> list[bytes]:
        """The marks of the window's full pages."""
        window = self.request.window
        for start in range(len(self.marks) * size, len(window) - size + 1, size):
            self.marks.append(mark(self.marks[-1] if self.marks else (self.adapter or "").encode(), window[start : start + size]))
        return self.marks


@dataclass(eq=False)
class Piece:
    """What is read of a sequence in a step."""

    sequence: Sequence
    tokens: list[int]
    """Of its window, and behind them what is guessed to come next."""
    seen: int
    """Tokens before them."""
    pages: list[int]
    """The sequence's at the time: it may be given up while it is read."""
    last: int = 0
    """After so many of the last tokens it is asked what comes next."""
    ahead: int = 0
    """So many more tokens may be guessed."""

    def guess(self, tokens: list[int]) -> None:
        """Read these too."""
        self.tokens, self.last, self.ahead = [*self.tokens, *tokens], self.last + len(tokens), self.ahead - len(tokens)
