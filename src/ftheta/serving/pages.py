"""Which page belongs to whom. A full page is known by a hash of its tokens and of all before them, so that sequences that begin alike share pages;
a page that nobody uses any more keeps what is in it until it is needed, the one used longest ago first.

The pages of a sequence lie one after another where that can be, since what lies together is looked at without being copied.
"""

from __future__ import annotations

import hashlib
import itertools
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence

LOOKED = 4096
"""Pages of a sort that are looked at for a place to begin."""
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
        self.empty = dict.fromkeys(range(count))
        self.idle: OrderedDict[int, None] = OrderedDict()
        """Pages with known content that nobody uses, the one used longest ago first."""
        self.wishes: dict[int, int] = {}
        """The last page of a sequence that grows → how many pages behind it are wanted for that; nobody else begins in them while there are others."""
        self.wanted: set[int] = set()
        self.hits = self.asked = 0
        """Tokens found in shared pages, and tokens looked for."""

    @property
    def available(self) -> int:
        """Pages that nobody uses."""
        return len(self.empty) + len(self.idle)

    def needed(self, tokens: int) -> int:
        """Pages that so many tokens fill."""
        return -(-tokens // self.size)

    def take(self, after: int | None = None, room: int = 1) -> int:
        """A page to write into; IndexError when all are in use. It is the one after another where that is to be had, and else one behind which there is `room`."""
        if not self.empty and not self.idle:
            raise IndexError("all pages are in use")
        page, more = -1 if after is None else after + 1, 0 if after is None else self.wishes.pop(after, 0)
        if more and (page in self.empty or page in self.idle):
            more -= 1
        else:
            self.wanted.difference_update(range(page, page + more))
            if page in self.empty and page not in self.wanted:
                more = 0
            else:
                page, more = self.beginning(room)
                self.wanted.update(range(page + 1, page + 1 + more))
        self.wanted.discard(page)
        if more:
            self.wishes[page] = more
        if page in self.idle:
            del self.idle[page]
            self.forget(page)
        else:
            del self.empty[page]
        self.users[page] = 1
        return page

    def beginning(self, room: int) -> tuple[int, int]:
        """A page that nobody wants, and how many such pages there are behind it, of those that are needed: empty ones or, if these do not suffice, those used
        longest ago, or some of the older half."""
        empty = list(itertools.islice(self.empty, LOOKED))
        runs, likely = self.runs(empty), -1
        if not runs or runs[-1][0] < room:
            older = list(itertools.islice(self.idle, min(len(self.idle) // 2 + 1, LOOKED)))
            likely = self.beginning_of(older)
            runs = self.runs([*empty, *older], likely)
        if not runs:
            return next(iter(self.empty or self.idle)), 0
        enough = [run for run in runs if run[0] >= room]
        length, page = next((run for run in enough if run[1] == likely), enough[0] if enough else runs[-1])
        return page, min(length, room) - 1

    def beginning_of(self, older: Sequence[int]) -> int:
        """Of the page used longest ago, and those before it that were used hardly later, the first; -1 where there is none."""
        page = older[0] if older else -1
        for other in older[1:]:
            if other != page - 1:
                break
            page = other
        return page

    def runs(self, pages: Iterable[int], border: int = -1) -> list[tuple[int, int]]:
        """How many of these pages that nobody wants lie one after another, and the first of them; the fewest first. At a border one begins anyhow."""
        found: list[tuple[int, int]] = []
        length = last = 0
        for page in sorted(page for page in pages if page not in self.wanted):
            if length and (page != last + 1 or page == border):
                found.append((length, last + 1 - length))
                length = 0
            length, last = length + 1, page
        return sorted([*found, (length, last + 1 - length)] if length else found)

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
        if pages:
            self.wanted.difference_update(range(pages[-1] + 1, pages[-1] + 1 + self.wishes.pop(pages[-1], 0)))
        for page in reversed(pages):
            self.users[page] -= 1
            if self.users[page] == 0:
                if self.marks[page] is None:
                    self.empty[page] = None
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
        self.empty |= dict.fromkeys(self.idle)
        self.idle.clear()


def mark(before: bytes, tokens: Sequence[int]) -> bytes:
    """A hash of a full page's tokens and (by the mark of the page before) of all tokens before them."""
    return hashlib.blake2b(before + array("q", tokens).tobytes(), digest_size=16).digest()
