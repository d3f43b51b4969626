"""Attention over pages is attention over each sequence by itself, whatever the pages, however many tokens are new."""

import math
import random

import pytest
import torch

from ftheta.blocks.attention import Attention
from ftheta.blocks.context import Context
from ftheta.blocks.paged import Group, paged

SIZE = 4


def naive(mixer: Attention, x: torch.Tensor, relative) -> torch.Tensor:
    """softmax(q kᵀ / sqrt(d) + bias) v token by token, over x (T, D)."""
    heads, wide = mixer.heads, mixer.head_dim
    q, k, v = (part(x).view(len(x), -1, wide) for part in (mixer.query, mixer.key, mixer.value))
    rows = []
    for t in range(len(x)):
        first = 0 if mixer.window is None else max(0, t - mixer.window + 1)
        out = []
        for head in range(heads):
            shared = head // (heads // mixer.kv_heads)
            scores = k[first : t + 1, shared] @ q[t, head] / math.sqrt(wide)
            if relative is not None:
                scores = scores + torch.stack([relative(torch.tensor([s - t]))[head, 0] for s in range(first, t + 1)])
            out.append(scores.softmax(0) @ v[first : t + 1, shared])
        rows.append(torch.cat(out))
    return mixer.output(torch.stack(rows))


@pytest.mark.parametrize("fields", [
    {"heads": 4}, {"heads": 4, "kv_heads": 2}, {"heads": 4, "kv_heads": 1, "window": 5}, {"heads": 4, "kv_heads": 2, "relative": True}, {"heads": 2, "window": 1},
], ids=str)
@torch.no_grad()
def test_over_pages(fields):
    torch.manual_seed(0)
    draws, (relative,) = random.Random(0), [fields.pop("relative", None)]
    mixer = Attention(16, **fields).double()
    added = (lambda distances: torch.stack([distances.double() * (head + 1) / 7 for head in range(4)])) if relative else None
    inputs = [torch.randn(length, 16, dtype=torch.float64) for length in (1, 3, 9, 14, 4)]
    wanted = [naive(mixer, x, added) for x in inputs]
    free = draws.sample(range(20), 20)                                                    # pages of a sequence lie anywhere
    tables = [[free.pop() for _ in range(math.ceil(len(x) / SIZE))] for x in inputs]
    cache = paged({mixer: (mixer.kv_heads, mixer.head_dim)}, 20, SIZE, torch.float64, torch.device("cpu"))
    seen, found = [0] * 5, [[] for _ in inputs]
    while any(at < len(x) for at, x in zip(seen, inputs, strict=True)):
        going = [i for i, x in enumerate(inputs) if seen[i] < len(x)]
        counts = {i: draws.randint(1, min(6, len(inputs[i]) - seen[i])) for i in going}
        cut = draws.randint(0, len(going))
        groups, start = [], 0
        for part in filter(None, (going[:cut], going[cut:])):
            most = max(len(tables[i]) for i in part)
            wide = max(counts[i] for i in part)
            pages = torch.tensor([tables[i] + [0] * (most - len(tables[i])) for i in part])
            places = torch.tensor([[seen[i] + t if t < counts[i] else 0 for t in range(wide)] for i in part])
            groups.append(Group(start, [counts[i] for i in part], pages, places))
            start += sum(counts[i] for i in part)
        places = [(i, seen[i] + t) for i in going for t in range(counts[i])]
        slots = torch.tensor([tables[i][place // SIZE] * SIZE + place % SIZE for i, place in places])
        positions = torch.tensor([[place for _, place in places]])
        cache.expect(positions, slots, groups)
        y = mixer(torch.stack([inputs[i][place] for i, place in places])[None], Context(positions, cache=cache, relative=added))
        for (i, _), row in zip(places, y[0], strict=True):
            found[i].append(row)
        for i in going:
            seen[i] += counts[i]
    for rows, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(torch.stack(rows), expected)
