"""Keys and values of many sequences in pages: fixed tensors, of which every sequence has as many pages as its tokens fill (PagedAttention, Kwon et al.
2023, arXiv:2309.06180).

The new tokens of all sequences stand one after another in one row, so nothing but attention is told that there are several. Attention gathers the
pages of a sequence and looks at them: softmax(q kᵀ / sqrt(d)) v over the first places, as many as are filled; or it looks at them where they are, if they
lie together and copying them would take longer (`python -m benchmarks.serving`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ftheta.blocks.context import Cache, hidden_from

if TYPE_CHECKING:
    from ftheta.blocks.mixer import Mixer


@dataclass
class Group:
    """Sequences whose new tokens are looked at together: B sequences of at most T new tokens each, filling at most P pages."""

    start: int
    """Where their first new token stands in the row."""
    counts: Sequence[int]
    """New tokens of each."""
    pages: Tensor
    """(B, P) the pages of each; where it has fewer, any."""
    places: Tensor
    """(B, T) how many tokens of its sequence come before each new one; padding: 0."""
    runs: Sequence[tuple[int, int]] | None = None
    """Where the tokens of each begin and end, if each has one new token and its pages lie one after another: such are looked at where they are, one by one."""

    def __post_init__(self) -> None:
        width, padded = max(self.counts), torch.tensor(self.counts)
        self.even = min(self.counts) == width
        self.real = (torch.arange(width) < padded[:, None]).flatten().nonzero()[:, 0].to(self.pages.device)
        """(M,) which of the B · T places hold a token."""

    def rows(self, x: Tensor) -> Tensor:
        """(H, N, d) of the whole row → (H, B, T, d) of these sequences, padded on the right."""
        rows, width = self.places.shape
        mine = x[:, self.start : self.start + len(self.real)]
        if not self.even:
            mine = mine.new_zeros(x.shape[0], rows * width, x.shape[2]).index_copy_(1, self.real, mine)
        return mine.unflatten(1, (rows, width))

    def tokens(self, x: Tensor) -> Tensor:
        """(H, B, T, d) → (H, M, d): padding left out."""
        flat = x.flatten(1, 2)
        return flat if self.even else flat[:, self.real]


@dataclass(eq=False)
class PagedCache(Cache):
    """What a model remembers of many sequences: for every mixer keys and values (kv_heads, pages · size, head_dim).

    Before a pass it is told where the row's tokens belong: `positions` (1, N), `slots` (N,) and `groups`.
    """

    keys: dict[Mixer, Tensor] = field(default_factory=dict)
    values: dict[Mixer, Tensor] = field(default_factory=dict)
    size: int = 16
    """Tokens of a page."""
    positions: Tensor = field(default_factory=lambda: torch.zeros(1, 0, dtype=torch.long))
    slots: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    """Where the keys and values of each new token go: page · size + place in the page."""
    groups: list[Group] = field(default_factory=list)
    biases: dict[tuple[int, int | None], Tensor] = field(default_factory=dict)

    def expect(self, positions: Tensor, slots: Tensor, groups: list[Group]) -> None:
        """What the next pass is about."""
        self.positions, self.slots, self.groups = positions, slots, groups
        self.biases = {}

    def write(self, mixer: Mixer, k: Tensor, v: Tensor) -> None:
        """Keep keys and values (kv_heads, N, head_dim) of the new tokens."""
        self.keys[mixer].index_copy_(1, self.slots, k)
        self.values[mixer].index_copy_(1, self.slots, v)

    def read(self, mixer: Mixer, group: Group) -> tuple[Tensor, Tensor]:
        """Keys and values (kv_heads, B, S, head_dim) of a group's sequences, S being P · size."""
        found = [pool[mixer].unflatten(1, (-1, self.size)).index_select(1, group.pages.flatten()) for pool in (self.keys, self.values)]
        k, v = (part.view(part.shape[0], *group.pages.shape, *part.shape[2:]).flatten(2, 3) for part in found)
        return k, v

    def bias(self, number: int, window: int | None, dtype: torch.dtype, relative: Callable[[Tensor], Tensor] | None) -> Tensor:
        """What is added to a group's scores, (1 or H, B, T, S): 0, or a number for the distance, where a token may look, -inf elsewhere; worked out
        once a pass."""
        if (number, window) not in self.biases:
            group = self.groups[number]
            distance = torch.arange(group.pages.shape[1] * self.size, device=group.places.device) - group.places[:, :, None]
            allowed = distance <= 0 if window is None else (distance <= 0) & (distance > -window)
            bias = hidden_from(allowed, dtype)[None]
            if relative is not None:
                bias = bias + relative(distance.flatten()).to(dtype).unflatten(1, distance.shape)
            self.biases[number, window] = bias
        return self.biases[number, window]


def paged(sizes: Mapping[Mixer, tuple[int, int]], pages: int, size: int, dtype: torch.dtype, device: torch.device) -> PagedCache:
    """Empty pages for mixers of these (kv_heads, head_dim); written once, so that the memory is taken now and not when it is first used."""
    def pool(kv_heads: int, head_dim: int) -> Tensor:
        return torch.empty(kv_heads, pages * size, head_dim, dtype=dtype, device=device).fill_(0.0)

    return PagedCache(keys={mixer: pool(*each) for mixer, each in sizes.items()}, values={mixer: pool(*each) for mixer, each in sizes.items()}, size=size)
