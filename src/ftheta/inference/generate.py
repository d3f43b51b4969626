"""Continuing sequences of tokens with a causal model that remembers (attention caches, recurrent state), many at once.

Rows of a batch are padded on the left; padding is a document of its own (-1), so a row sees only itself, its positions start at 0 and its
draws are keyed by its own seed: what is written does not depend on what else is written beside it. A source is encoded once, in the first
pass, padded on the right.

A sequence by itself may be guessed ahead (`lookup`): when its last tokens came before, what followed them then is tried in one pass, and kept
as far as it is what would have been chosen anyway (Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ftheta.architectures.architecture import Architecture
from ftheta.blocks.context import Cache
from ftheta.core.contract import PADDING
from ftheta.inference.sampling import NEVER, Sampling, adjusted, choose, without

LONGEST_MATCH = 3
"""Tokens at the end that are looked for earlier; fewer where these are not found."""


@dataclass
class Request:
    """One sequence to continue, and what has come of it."""

    prompt: list[int]
    sampling: Sampling
    most: int
    sample: int = 0
    """Which of several samples of one prompt; part of what keys its draws."""
    lookup: int = 0
    """At most this many tokens are guessed ahead."""
    scored: bool = False
    """Whether `scores` are wanted."""
    allowed: Callable[[Sequence[int]], Sequence[int]] | None = None
    """New tokens → those that may come next, the end among them where it may; None: all."""
    end: int | None = None
    """The token that ends this sequence; None: the one that ends all."""
    source: list[int] | None = None
    """What an encoder-decoder answers to."""
    new: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    """log p of every new token by the model itself, before temperature and everything else."""
    finish: str | None = None
    """Why it ended: `stop` or `length`."""
    window: list[int] = field(default_factory=list)
    """The tokens the model looks at, the newest included."""


class Generation:
    """Several requests, a token each at a time.

    `longest` is how many tokens the model can look at (None: any number); when a sequence has used them up, it goes on from the last half
    of them. `end` ends a sequence, `banned` tokens never come. A request may be ended from outside by setting its `finish`.
    """

    def __init__(self, model: Architecture, requests: Sequence[Request], *, longest: int | None, end: int | None, banned: Sequence[int] = ()):
        self.model = model.eval()
        self.device = next(model.parameters()).device
        self.live = list(requests)
        self.longest, self.end, self.banned = longest, end, list(banned)
        self.cache: Cache | None = None
        for request in self.live:
            request.window = request.prompt[-longest:] if longest is not None else list(request.prompt)

    @torch.no_grad()
    def step(self) -> list[Request]:
        """Give every unfinished request its next token, or several that were guessed; those that were asked, none at the end."""
        kept = [i for i, request in enumerate(self.live) if request.finish is None]
        if len(kept) < len(self.live):
            self.live = [self.live[i] for i in kept]
            if self.cache is not None and kept:
                self.cache.select(torch.tensor(kept, device=self.device))
        if not self.live:
            return []
        self.make_room()
        rows = [request.window[-1:] if self.cache is not None else list(request.window) for request in self.live]
        guessed = self.guess()
        rows[0] += guessed
        remembered = self.cache.copy() if self.cache is not None and guessed else None
        logits = self.logits(rows, 1 + len(guessed))
        for request, known in zip(self.live, logits, strict=True):
            before = len(request.new)
            for at, guess in enumerate([*guessed, None]):
                extend(request, known[at], self.end, self.banned)
                if request.finish is not None or request.new[-1] != guess:
                    break
            if guessed:
                self.forget(rows[0], 1 + len(guessed) - max(1, len(request.new) - before), remembered)
        return self.live

    def finish(self) -> None:
        """Go on until every request is finished."""
        while self.step():
            pass

    def make_room(self) -> None:
        """Start over from the last half of a sequence that is longer than the model can look at; the others from what they were looking at."""
        if self.longest is None:
            return
        for request in self.live:
            if len(request.window) > self.longest:
                request.window = request.window[-max(1, self.longest // 2) :]
                self.cache = None

    def logits(self, rows: Sequence[Sequence[int]], last: int) -> Tensor:
        """(B, last, V) for the last tokens of every row, the rows padded on the left; what was seen is remembered."""
        longest = max(map(len, rows))
        cache = self.cache = self.cache or Cache()
        documents = None
        if cache.documents is not None or any(len(row) < longest for row in rows):
            documents = torch.tensor([[PADDING] * (longest - len(row)) + [0] * len(row) for row in rows], device=self.device)
        tokens = torch.tensor([[0] * (longest - len(row)) + list(row) for row in rows], device=self.device)
        inputs = {"tokens": tokens} if documents is None else {"tokens": tokens, "documents": documents}
        if cache.source is None:
            inputs |= self.sources()
        hidden = self.model(**inputs, cache=cache)["hidden"]
        found = self.model.head(hidden[:, -1])[:, None] if last == 1 else self.model.head(hidden[:, -last:])  # type: ignore[operator]
        return found.float()

    def sources(self) -> dict[str, Tensor]:
        """What is to be encoded: source and source_documents (B, S), padded on the right; nothing for models without a source."""
        rows = [request.source for request in self.live if request.source is not None]
        longest = max(map(len, rows), default=0)
        if not rows:
            return {}
        source = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=self.device)
        documents = torch.tensor([[0] * len(row) + [PADDING] * (longest - len(row)) for row in rows], device=self.device)
        return {"source": source, "source_documents": documents}

    def guess(self) -> list[int]:
        """What may come next of a sequence by itself: what came after its last tokens when they came before."""
        request = self.live[0]
        if len(self.live) > 1 or not request.lookup:
            return []
        seen = [*request.prompt, *request.new]
        most = min(request.lookup, request.most - len(request.new) - 1)
        if self.longest is not None:
            most = min(most, self.longest - len(request.window))
        for length in range(LONGEST_MATCH, 0, -1) if most > 0 else ():
            tail, found = seen[-length:], list[int]()
            for i in range(len(seen) - length - 1, -1, -1):                               # the latest place that more than a few tokens follow
                if len(found) < most and seen[i : i + length] == tail:
                    found = max(found, seen[i + length : i + length + most], key=len)
            if found:
                return found
        return []

    def forget(self, row: Sequence[int], count: int, remembered: Cache | None) -> None:
        """Forget the last tokens of a row just read, which were guessed wrong: taken out of memory, or the others read anew after what was before."""
        if not count or self.cache is None:
            return
        states = {mixer: mixer.forget(state, count) for mixer, state in self.cache.states.items()}
        if any(state is None for state in states.values()):
            self.cache = remembered
            self.logits([row[:-count]], 1)
            return
        self.cache.states = states
        self.cache.length -= count
        if self.cache.documents is not None:
            self.cache.documents = self.cache.documents[:, :-count]


def extend(request: Request, logits: Tensor, end: int | None, banned: Sequence[int] = ()) -> None:
    """Choose the next token of a request from logits (V,). `end` ends it unless it has an end of its own, `banned` tokens never come."""
    end = end if request.end is None else request.end
    chosen = without(logits, banned) if banned else logits
    if request.allowed is not None:
        allowed = torch.tensor(list(request.allowed(request.new)), dtype=torch.long, device=logits.device)
        chosen = torch.full_like(chosen, NEVER).index_copy(0, allowed, chosen[allowed])
    chosen = adjusted(chosen, request.sampling, request.prompt, request.new, end)
    if (request.allowed is not None or request.sampling.no_repeat is not None) and float(chosen.max()) == NEVER:
        request.finish = "stop"                                                           # nothing may come any more
        return
    token = choose(chosen, request.sampling, len(request.new), request.sample)
    if token == end:
        request.finish = "stop"
        return
    request.new.append(token)
    request.window.append(token)
    if request.scored:
        request.scores.append(float(logits.log_softmax(-1)[token]))
    if len(request.new) == request.most:
        request.finish = "length"
