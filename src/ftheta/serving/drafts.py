"""A smaller model guesses ahead for many sequences at once (Leviathan et al. 2023, arXiv:2211.17192), as `inference/speculative.py` does for one.

It reads what the model reads, into pages of its own that go by the numbers of the sequences' pages; so beginnings that are shared are shared here too,
and what was guessed wrong is written over.
"""

from __future__ import annotations

from collections.abc import Sequence as Several

from ftheta.architectures.decoder import Decoder
from ftheta.inference.speculative import Draft, propose, room_ahead
from ftheta.models.adapters import Adapters
from ftheta.models.tasks.text import Limits
from ftheta.serving.adapted import Adapted
from ftheta.serving.capacity import cache_of
from ftheta.serving.runner import Runner
from ftheta.serving.sequence import Piece, Sequence


class Drafts:
    """A draft and its pages; `limits` are those of the model it guesses for."""

    def __init__(self, draft: Draft, pages: int, size: int, limits: Limits):
        assert isinstance(draft.model, Decoder)
        self.draft, self.limits = draft, limits
        self.runner = Runner(draft.model, cache_of(draft.model, pages, size), Adapted(draft.model, Adapters(draft.model)))

    def room(self, sequence: Sequence) -> int:
        """How many tokens it would guess."""
        return max(0, min(self.draft.ahead, room_ahead(sequence.request, self.draft.longest)))

    def guess(self, pieces: Several[Piece]) -> None:
        """Read what is about to be read, and guess as many tokens as the pieces have room for."""
        reading, guessing = list[Piece](), list[tuple[Piece, list[int]]]()
        for piece in pieces:
            sequence = piece.sequence
            start, end = sequence.drafted, min(piece.seen + len(piece.tokens), len(sequence.request.window))
            if start < end and (self.draft.longest is None or end <= self.draft.longest):
                reading.append(Piece(sequence, sequence.request.window[start:end], start, piece.pages, last=int(piece.ahead > 0)))
                if piece.ahead:
                    guessing.append((piece, []))
        while reading:
            logits = self.runner.run(reading)
            for each in reading:
                each.sequence.drafted = each.seen + len(each.tokens)
            reading, left = [], guessing
            guessing = []
            for piece, found in left:
                sequence = piece.sequence
                end = self.limits["end"] if sequence.request.end is None else sequence.request.end
                token = propose(sequence.request, logits[sequence][0], found, end, self.limits["banned"])
                if token != end:
                    found.append(token)
                if token == end or len(found) == piece.ahead:
                    piece.guess(found)
                    piece.ahead = 0
                    continue
                guessing.append((piece, found))
                reading.append(Piece(sequence, [token], sequence.drafted, piece.pages, last=1))
