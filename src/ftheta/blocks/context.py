"""What a layer may know beyond its input, passed explicitly: positions, documents, recurrent state and attention caches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from ftheta.blocks.virtual import KeysAndValues, Layout

if TYPE_CHECKING:
    from ftheta.blocks.mixer import Mixer


class Span(NamedTuple):
    """Some tokens one after another, as a `range`; its ends may be sizes that are not known yet (torch.export)."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass
class Source:
    """What a decoder looks at beside its own past: an encoder's output."""

    hidden: Tensor
    """(B, S, D)."""
    documents: Tensor | None = None
    """(B, S) which document of the decoder's row may look at each token (padding is document -1). None: all of them."""
    keys: dict[nn.Module, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Keys and values per mixer, worked out once when there is a cache."""

    def select(self, rows: Tensor) -> None:
        """Keep only some rows of the batch."""
        self.hidden = self.hidden[rows]
        self.documents = None if self.documents is None else self.documents[rows]
        self.keys = {mixer: (k[rows], v[rows]) for mixer, (k, v) in self.keys.items()}


@dataclass
class Cache:
    """What a model remembers of the tokens it has seen, per mixer: keys and values, or recurrent state."""

    states: dict[Mixer, Any] = field(default_factory=dict)
    documents: Tensor | None = None
    """(B, S) document of every remembered token, when documents are used (padding is document -1)."""
    length: int = 0
    source: Source | None = None
    """What was encoded for the remembered tokens, in models that encode a source."""

    def copy(self) -> Cache:
        """One that further tokens do not change; what mixers remember is replaced, never written into."""
        return Cache(dict(self.states), self.documents, self.length, self.source)

    def select(self, rows: Tensor) -> None:
        """Keep only some rows of the batch."""
        self.states = {mixer: tuple(part[rows] for part in state) for mixer, state in self.states.items()}
        if self.documents is not None:
            self.documents = self.documents[rows]
        if self.source is not None:
            self.source.select(rows)


@dataclass
class Context:
    """Side information of one forward pass over (B, T) tokens."""

    positions: Tensor
    """(B, T) or (1, T) position of each token within its document."""
    documents: Tensor | None = None
    """(B, T) which document a token belongs to; tokens see only their own document. None: one document a row."""
    cache: Cache | None = None
    rotary: tuple[Tensor, Tensor] | None = None
    """cosine and sine (B or 1, 1, T, head_dim) when positions are rotary."""
    grid: tuple[int, int] | None = None
    """Rows and columns of the last tokens, when they are patches of a picture, row by row."""
    relative: Callable[[Tensor], Tensor] | None = None
    """Distances (N,) from query to key → what is added to the scores of every head (H, N), when positions are relative."""
    source: Source | None = None
    """An encoder's output, for layers that look at one."""
    values: Tensor | None = None
    """(B, T, width of the values) added to the values of the layer about to run."""
    memory: KeysAndValues | None = None
    """Keys and values (H, P, head_dim) that every token may look at in the layer about to run."""
    layout: Layout | None = None
    """Where tokens and learned vectors stand, when vectors were put before documents; all of the above is about these longer rows."""
    counted: Tensor | None = None
    """(B, T) which tokens the loss is about; None: all."""
    prefix: Tensor | None = None
    """(B, T) tokens that all of their document may look at, also from before them; None: none."""
    auxiliary: list[Tensor] = field(default_factory=list)
    """(B,) each: what parts add to the loss of every row."""
    biases: dict[tuple[bool, int | None], Tensor | None] = field(default_factory=dict)
    """What `bias` has worked out, by what it depends on."""
    sight: tuple[Tensor | None, Tensor | None] | None = None
    """What `across` has worked out."""
    borders: bool | None = None
    """What `mixed` has found."""

    def bias(self, length: int, causal: bool, dtype: torch.dtype, window: int | None = None) -> Tensor | None:
        """What is added to attention scores: 0, or a number for the distance, where a query may look, -inf elsewhere; computed once a pass.

        (T, S) when all rows are alike, (B, 1, T, S) when documents differ, (1 or B, H, T, S) when positions are relative, None when nothing
        is added. S counts the remembered tokens within the window and the T new ones.
        """
        key = (causal, window)
        if key not in self.biases:
            past = self.remembered(window)
            self.biases[key] = self.added(length, causal, dtype, window, Span(past, past + length), Span(0, past + length))
        return self.biases[key]

    def added(self, length: int, causal: bool, dtype: torch.dtype, window: int | None, queries: Span, keys: Span) -> Tensor | None:
        """As `bias`, for some queries and keys, counted from the first remembered token."""
        allowed = self.allowed(length, causal, window, queries, keys)
        if self.relative is None:
            return None if allowed is None else hidden_from(allowed, dtype)
        first = keys.start - queries.stop + 1
        table = self.relative(torch.arange(first, first + queries.size + keys.size - 1, device=self.positions.device)).to(dtype)
        if torch.compiler.is_exporting():                                                 # where sizes are open there are no overlapping views
            place = torch.arange(keys.size, device=table.device) - torch.arange(queries.size, device=table.device)[:, None] + queries.size - 1
            scores = table[:, place][None]
        else:
            scores = table.unfold(1, keys.size, 1).flip(1)[None]                          # row q: the distances from q to every key
        return scores if allowed is None else scores.masked_fill(~allowed, float("-inf"))

    def across(self, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
        """What is added to the scores of the source's tokens, (B, 1, T or 1, S) or None, and which queries see none of them, (B, 1, T or 1, 1)
        or None; computed once a pass. A token sees the source of its own document.
        """
        if self.sight is None:
            self.sight = self.seen(dtype)
        return self.sight

    def seen(self, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
        source = None if self.source is None else self.source.documents
        if source is None:
            return None, None
        allowed = (source >= 0)[:, None, None, :]
        if self.documents is not None:
            allowed = allowed & (self.documents[:, None, :, None] == source[:, None, None, :])
        blind = ~allowed.any(-1, keepdim=True)
        if torch.compiler.is_exporting():                                                 # a program decides nothing by its data
            return hidden_from(allowed | blind, dtype), blind
        if bool(allowed.all()):
            return None, None
        return (hidden_from(allowed | blind, dtype), blind) if bool(blind.any()) else (hidden_from(allowed, dtype), None)

    def remembered(self, window: int | None) -> int:
        """How many earlier tokens a mixer with this window still has."""
        past = self.cache.length if self.cache else 0
        return past if window is None else min(past, window - 1)

    def allowed(self, length: int, causal: bool, window: int | None = None, queries: Span | None = None, keys: Span | None = None) -> Tensor | None:
        """Whether each query may look at each key: (T, S) or (B, 1, T, S); None when all may. `queries` and `keys`, counted from the first
        remembered token, say which of them are meant when it is not all.
        """
        past = self.remembered(window)
        queries, keys = queries or Span(past, past + length), keys or Span(0, past + length)
        device, shift = self.positions.device, queries.start - keys.start
        behind, ahead = queries.stop - 1 - keys.start, keys.stop - 1 - queries.start
        farthest = behind if causal else max(behind, ahead)
        reach = window or farthest + 1
        allowed: Tensor | None = None
        if (causal and ahead > 0) or farthest >= reach:
            allowed = torch.ones(queries.size, keys.size, dtype=torch.bool, device=device).tril(shift if causal else shift + reach - 1)
            if behind >= reach:
                allowed = allowed.triu(shift - reach + 1)
        if allowed is not None and self.prefix is not None and causal:
            if past:
                raise ValueError("prefix: it is for tokens that are all there, and some are remembered in a cache")
            seen = self.prefix[:, None, None, keys.start : keys.stop]
            if window is not None:                                                        # as far as the window reaches, to both sides
                there, here = torch.arange(keys.start, keys.stop, device=device), torch.arange(queries.start, queries.stop, device=device)
                seen = seen & ((there[None, :] - here[:, None]).abs() < window)
            allowed = allowed | seen
        if not self.mixed():                                                             # one document a row: nothing more to hide
            return allowed
        numbers = self.numbers()[:, -(past + length) :]
        same = numbers[:, None, queries.start : queries.stop, None] == numbers[:, None, None, keys.start : keys.stop]
        return same if allowed is None else allowed & same

    def numbers(self) -> Tensor:
        """(B, S) documents of the remembered tokens and the new ones."""
        assert self.documents is not None
        earlier = None if self.cache is None else self.cache.documents
        return self.documents if earlier is None else torch.cat([earlier, self.documents], dim=1)

    def mixed(self) -> bool:
        """Whether some row holds more than one document; looked up once a pass."""
        if self.borders is None and torch.compiler.is_exporting():
            self.borders = self.documents is not None
        if self.borders is None:
            self.borders = self.documents is not None and bool(((numbers := self.numbers()) != numbers[:, :1]).any())
        return self.borders


def hidden_from(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: 0 where a query may look, -inf elsewhere."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, float("-inf"))


class Informed(nn.Module, ABC):
    """A part that is told the context: (B, T, D) → (B, T, D)."""

    @abstractmethod
    def forward(self, x: Tensor, context: Context) -> Tensor: ...
