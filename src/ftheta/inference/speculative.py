"""Guessing tokens ahead, so that one pass of a model says for several whether it would have chosen them. A guess is kept as far as it is what would
have been chosen anyway, draws included, so what is written does not change; it is only written sooner.

`lookup`: what followed the last tokens when they came before (Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding). `Draft`: what a
smaller model of the same vocabulary would write (Leviathan et al. 2023, arXiv:2211.17192; here with the same keyed draws in place of rejection).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ftheta.architectures.architecture import Architecture
from ftheta.inference.memory import Memory
from ftheta.inference.request import Request
from ftheta.inference.sampling import adjusted, choose, without

LONGEST_MATCH = 3
"""Tokens at the end that are looked for earlier; fewer where these are not found."""


def lookup(seen: Sequence[int], most: int) -> list[int]:
    """At most so many tokens that followed the last ones of `seen` at the latest place that enough tokens follow."""
    seen = list(seen)
    for length in range(LONGEST_MATCH, 0, -1) if most > 0 else ():
        tail, found = seen[-length:], list[int]()
        for i in range(len(seen) - length - 1, -1, -1):
            if len(found) < most and seen[i : i + length] == tail:
                found = max(found, seen[i + length : i + length + most], key=len)
        if found:
            return found
    return []


def propose(request: Request, logits: Tensor, found: Sequence[int], end: int | None, banned: Sequence[int]) -> int:
    """The token after those found so far that a request would choose from a draft's logits (V,)."""
    logits = adjusted(without(logits, banned) if banned else logits, request.sampling, request.prompt, [*request.new, *found], end)
    return choose(logits, request.sampling, len(request.new) + len(found), request.sample)


def room_ahead(request: Request, longest: int | None) -> int:
    """How many tokens it is of use to guess: one more is chosen with them, and a model looks at `longest`."""
    most = request.most - len(request.new) - 1
    return most if longest is None else min(most, longest - len(request.window))


class Draft:
    """A smaller model that writes ahead of a larger one; `longest` is how many tokens it can look at (None: any number)."""

    def __init__(self, model: Architecture, ahead: int, longest: int | None):
        self.model, self.ahead, self.longest = model, ahead, longest
        self.start()

    def start(self) -> None:
        """Forget everything: another text begins."""
        self.memory = Memory(self.model)
        self.known: list[int] = []
        """The tokens that are remembered."""

    def guess(self, request: Request, most: int, end: int | None, banned: Sequence[int]) -> list[int]:
        """At most so many tokens, chosen as the request's would be."""
        most = min(most, self.ahead, room_ahead(request, self.longest))
        if most < 1:
            return []
        row = self.catch_up(request.window)
        found: list[int] = []
        sources = [] if request.source is None else [request.source]
        while True:
            logits = self.memory.read([row], 1, sources)[0, 0]
            self.known += row
            if (token := propose(request, logits, found, end, banned)) == end:
                return found
            found.append(token)
            if len(found) == most:
                return found
            row = [token]

    def catch_up(self, window: Sequence[int]) -> list[int]:
        """Forget what was guessed wrong; the tokens still to be read, the last one always among them."""
        same = 0
        for known, token in zip(self.known, window[:-1], strict=False):
            if known != token:
                break
            same += 1
        if not self.memory.forget(len(self.known) - same):
            self.memory.cache, same = None, 0
        del self.known[same:]
        return list(window[same:])
