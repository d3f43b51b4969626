"""Which page belongs to whom. A full page is known by a hash of its tokens and of all before them, so that sequences that begin alike share pages;
a page that nobody uses any more keeps what is in it until it is needed, the one used longest ago first.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence

WHOLE = 1 << 60
"""The size of a page that holds any sequence: a slot."""


class Pages:
    """`count` pages of `size` tokens each. With `reuse` off nothing is shared."""

    def __init__(self, count: int, size: int, reuse: bool = True):
        self.count, self.size, self.reuse = count, size, reuse
        self.users = [0] * count
        self.marks: list[bytes | None] = [None] * count
        """What is in each page, where it is known."""
        self.known: dict[bytes, int] = {}
        self.empty = list(range(count - 1, -1, -1))
        self.idle: OrderedDict[int, None] = OrderedDict()
        """Pages with known content that nobody uses, the one used longest ago first."""
        self.hits = self.asked = 0
        """Tokens found in shared pages, and tokens looked for."""

    @property
    def available(self) -> int:
        """Pages that nobody uses."""
        return len(self.empty) + len(self.idle)

    def needed(self, tokens: int) -> int:
        """Pages that so many tokens fill."""
        return -(-tokens // self.size)

    def take(self) -> int:
        """A page to write into; IndexError when all are in use."""
        if not self.empty:
            if not self.idle:
                raise IndexError("all pages are in use")
            page, _ = self.idle.popitem(last=False)
            self.forget(page)
        else:
            page = self.empty.pop()
        self.users[page] = 1
        return page

    def find(self, marks: Sequence[bytes]) -> list[int]:
        """The known pages that hold the beginning of what these marks stand for."""
        found = []
        for mark in marks if self.reuse else ():
            if mark not in self.known:
                break
            found.append(self.known[mark])
        return found

    def share(self, pages: Iterable[int]) -> None:
        """Use known pages."""
        for page in pages:
            self.idle.pop(page, None)
            self.users[page] += 1

    def release(self, pages: Sequence[int]) -> None:
        """Use these pages no more; the last tokens of a sequence are forgotten before its first, which more sequences may begin with."""
        for page in reversed(pages):
            self.users[page] -= 1
            if self.users[page] == 0:
                if self.marks[page] is None:
                    self.empty.append(page)
                else:
                    self.idle[page] = None

    def publish(self, page: int, mark: bytes) -> None:
        """Say what is in a full page; nothing where another page is known to hold the same."""
        if self.reuse and self.marks[page] is None and mark not in self.known:
            self.known[mark], self.marks[page] = page, mark

    def forget(self, page: int) -> None:
        mark = self.marks[page]
        if mark is not None:
            del self.known[mark]
            self.marks[page] = None

    def clear(self) -> None:
        """Know nothing any more of what is in the pages."""
        for page in list(self.known.values()):
            self.forget(page)
        self.empty += self.idle
        self.idle.clear()


def mark(before: bytes, tokens: Sequence[int]) -> bytes:
    """A hash of a full page's tokens and (by the mark of the page before) of all tokens before them."""
    return hashlib.blake2b(before + array("q", tokens).tobytes(), digest_size=16).digest()
