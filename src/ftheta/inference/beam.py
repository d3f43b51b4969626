"""Beam search: the likeliest whole continuations, by keeping several at every step.

score = Σ log p / length^penalty over a finished continuation; length counts the end. It stops when no running one can become better than
the worst of the finished ones at its present length, as transformers does by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from ftheta.architectures.architecture import Architecture
from ftheta.core.errors import UsageError
from ftheta.inference.memory import Memory
from ftheta.inference.request import Request
from ftheta.inference.sampling import NEVER, adjusted, without


class Beam(NamedTuple):
    """A continuation without its end, its score and why it ended."""

    score: float
    tokens: list[int]
    finish: str


@torch.no_grad()
def beam_search(
    model: Architecture, request: Request, beams: int, penalty: float, *, longest: int | None, end: int | None, banned: Sequence[int] = (),
) -> list[Beam]:
    """The best continuations of a request, at most `beams`, the best first. Temperature and what only concerns sampling has no part in it.

    Raises UsageError when prompt and continuation are more than the model can look at.
    """
    if longest is not None and len(request.prompt) + request.most - 1 > longest:
        raise UsageError(f"beams: the prompt's {len(request.prompt)} tokens and most ({request.most}) are more than the {longest} tokens the model looks at")
    memory, sources = Memory(model), [] if request.source is None else [request.source]
    running: list[tuple[float, list[int]]] = [(0.0, [])]
    rows: list[list[int]] = [request.prompt]
    finished: list[Beam] = []
    for length in range(1, request.most + 1):
        scores = memory.read(rows, 1, sources)[:, 0].log_softmax(-1)
        totals = torch.stack([
            adjusted(without(row, banned), request.sampling, request.prompt, tokens, end) + score for row, (score, tokens) in zip(scores, running, strict=True)
        ])
        best = totals.flatten().topk(min(2 * beams, totals.numel()))                      # so many that enough go on even if half of them end
        ongoing: list[tuple[float, int, list[int]]] = []
        for rank, (score, place) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
            row, token = divmod(place, totals.shape[1])
            tokens, ends = [*running[row][1], token], token == end
            if score == NEVER:
                continue
            if ends or length == request.most:
                if rank < beams:
                    finished.append(Beam(score / length**penalty, tokens[:-1] if ends else tokens, "stop" if ends else "length"))
            elif len(ongoing) < beams:
                ongoing.append((score, row, tokens))
        finished = sorted(finished, key=lambda beam: -beam.score)[:beams]
        if not ongoing or (len(finished) == beams and ongoing[0][0] / length**penalty <= finished[-1].score):
            break
        memory.select([row for _, row, _ in ongoing])
        running = [(score, tokens) for score, _, tokens in ongoing]
        rows = [tokens[-1:] for _, tokens in running]
    return finished
