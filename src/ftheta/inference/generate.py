"""Continuing sequences of tokens with a causal model that remembers (attention caches, recurrent state), many at once.

Rows of a batch are padded on the left; padding is a document of its own (-1), so a row sees only itself, its positions start at 0 and its
draws are keyed by its own seed: what is written does not depend on what else is written beside it. A source is encoded once, in the first
pass, padded on the right.

A sequence by itself may be guessed ahead, by `lookup` or by a draft (`speculative.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ftheta.architectures.architecture import Architecture
from ftheta.inference.memory import Memory
from ftheta.inference.request import Request
from ftheta.inference.sampling import NEVER, adjusted, choose, without
from ftheta.inference.speculative import Draft, lookup, room_ahead


class Generation:
    """Several requests, a token each at a time.

    `longest` is how many tokens the model can look at (None: any number); when a sequence has used them up, it goes on from the last half
    of them. `end` ends a sequence, `banned` tokens never come. A request may be ended from outside by setting its `finish`.
    """

    def __init__(
        self, model: Architecture, requests: Sequence[Request], *, longest: int | None, end: int | None, banned: Sequence[int] = (), draft: Draft | None = None,
    ):
        self.memory = Memory(model)
        self.live = list(requests)
        self.longest, self.end, self.banned, self.draft = longest, end, list(banned), draft
        for request in self.live:
            request.window = request.prompt[-longest:] if longest is not None else list(request.prompt)
        if draft is not None:
            draft.start()

    @torch.no_grad()
    def step(self) -> list[Request]:
        """Give every unfinished request its next token, or several that were guessed; those that were asked, none at the end."""
        kept = [i for i, request in enumerate(self.live) if request.finish is None]
        if 0 < len(kept) < len(self.live):
            self.memory.select(kept)
        self.live = [self.live[i] for i in kept]
        if not self.live:
            return []
        self.make_room()
        fresh = self.memory.cache is None
        rows = [list(request.window) if fresh else request.window[-1:] for request in self.live]
        guessed = self.guess()
        rows[0] += guessed
        before = None if fresh or not guessed else self.memory.cache.copy()                # type: ignore[union-attr]
        logits = self.memory.read(rows, 1 + len(guessed), self.sources())
        for request, known in zip(self.live, logits, strict=True):
            already = len(request.new)
            for at, guess in enumerate([*guessed, None]):
                extend(request, known[at], self.end, self.banned)
                if request.finish is not None or request.new[-1] != guess:
                    break
            wrong = 1 + len(guessed) - max(1, len(request.new) - already)
            if guessed and not self.memory.forget(wrong):
                self.memory.cache = before
                self.memory.read([rows[0][:-wrong]], 1, self.sources())
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
                self.memory.cache = None

    def sources(self) -> list[list[int]]:
        """What is answered to; nothing for models without a source."""
        return [request.source for request in self.live if request.source is not None]

    def guess(self) -> list[int]:
        """What may come next of a sequence by itself."""
        request = self.live[0]
        most = room_ahead(request, self.longest)
        if len(self.live) > 1 or most < 1:
            return []
        if request.lookup and (found := lookup([*request.prompt, *request.new], min(request.lookup, most))):
            return found
        return [] if self.draft is None else self.draft.guess(request, most, self.end if request.end is None else request.end, self.banned)


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
        known = logits.log_softmax(-1)
        request.scores.append(float(known[token]))
        if request.alternatives:
            best = known.topk(min(request.alternatives, len(known)))
            request.likeliest.append(list(zip(best.indices.tolist(), best.values.tolist(), strict=True)))
    if len(request.new) == request.most:
        request.finish = "length"
