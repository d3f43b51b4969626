"""Scaled dot-product attention, softmax(q kᵀ / sqrt(d)) v (Vaswani et al. 2017, arXiv:1706.03762), with grouped key/value heads
(Ainslie et al. 2023, arXiv:2305.13245), optional query/key norm (Henry et al. 2020, arXiv:2010.04245) and sliding windows (Beltagy et al. 2020,
arXiv:2004.05150; Mistral 7B, arXiv:2310.06825); among the tokens of a sequence, or across to those of a source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ftheta.blocks import NORMS
from ftheta.blocks.attend import attend, attend_to_many, reach
from ftheta.blocks.context import Context, Informed
from ftheta.blocks.linear import Linear
from ftheta.blocks.mixer import Mixer
from ftheta.blocks.paged import PagedCache
from ftheta.blocks.position import rotate
from ftheta.core.config import Part, Slot

WHOLE = 4096 * 4096
"""Scores of one head up to which what may not be seen is written down for all of them at once."""

Heads = Annotated[int, Field(gt=0, description="Attentions side by side, each over its share of the width.")]
KeyHeads = Annotated[int | None, Field(gt=0, description="Keys and values, shared by groups of heads; none: as many as heads.")]
HeadDim = Annotated[int | None, Field(gt=0, description="Width of one head; none: the width shared out among the heads.")]
Scale = Annotated[float | None, Field(gt=0, description="What q·k is multiplied by (T5: 1); none: 1 / sqrt(width of one head).")]
Bias = Annotated[bool, Field(description="Whether the maps to queries, keys and values have biases.")]
OutputBias = Annotated[bool | None, Field(description="Whether the output map has a bias; none: as the other maps.")]
QKNorm = Annotated[Annotated[Part, Slot(NORMS)] | None, Field(description="A norm of every head's queries and keys.")]


class MultiHead(Informed):
    """The maps of attention with several heads: to queries, to keys and values, and back to the width of the model."""

    def __init__(
        self, dim: int, heads: int, kv_heads: int | None, head_dim: int | None, scale: float | None, bias: bool, output_bias: bool | None, qk_norm: Part | None,
    ):
        super().__init__()
        if head_dim is None and dim % heads:
            raise ValueError(f"dim {dim} must be a multiple of heads {heads}, or head_dim must be given")
        self.heads = heads
        self.kv_heads = kv_heads or heads
        if heads % self.kv_heads:
            raise ValueError(f"heads {heads} must be a multiple of kv_heads {self.kv_heads}")
        self.head_dim = head_dim or dim // heads
        self.value_dim = self.kv_heads * self.head_dim
        self.scale = scale
        self.query = Linear(dim, heads * self.head_dim, bias=bias)
        self.key = Linear(dim, self.value_dim, bias=bias)
        self.value = Linear(dim, self.value_dim, bias=bias)
        self.output = Linear(heads * self.head_dim, dim, bias=bias if output_bias is None else output_bias)
        self.query_norm = qk_norm.build(dim=self.head_dim) if qk_norm else None
        self.key_norm = qk_norm.build(dim=self.head_dim) if qk_norm else None

    def queries(self, x: Tensor) -> Tensor:
        """(B, T, D) → (B, H, T, head_dim)."""
        q = self.query(x).view(*x.shape[:2], self.heads, self.head_dim)
        return (q if self.query_norm is None else self.query_norm(q)).transpose(1, 2)

    def keys(self, x: Tensor, more: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, S, D) → keys and values (B, kv_heads, S, head_dim); `more` (B, S, value_dim) goes to the values."""
        k = self.key(x).view(*x.shape[:2], self.kv_heads, self.head_dim)
        v = self.value(x) if more is None else self.value(x) + more
        k = k if self.key_norm is None else self.key_norm(k)
        return k.transpose(1, 2), v.view(*x.shape[:2], self.kv_heads, self.head_dim).transpose(1, 2)

    def shared(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values as often as groups of heads share them: (B, H, S, head_dim)."""
        if self.kv_heads == self.heads:
            return k, v
        return k.repeat_interleave(self.heads // self.kv_heads, dim=1), v.repeat_interleave(self.heads // self.kv_heads, dim=1)

    def merged(self, y: Tensor) -> Tensor:
        """(B, H, T, head_dim) → (B, T, D)."""
        return self.output(y.transpose(1, 2).reshape(y.shape[0], y.shape[2], -1))

    def weights(self, x: Tensor, context: Context, bias: Tensor | None = None) -> Tensor:
        """softmax(scale · q kᵀ + bias) (B, H, T, T): how much each token looks at each, for who wants to see that."""
        q, k = self.queries(x), self.shared(*self.keys(x))[0]
        if context.rotary is not None:
            q, k = rotate(q, context.rotary), rotate(k, context.rotary)
        scores = q @ k.transpose(-2, -1) * (self.head_dim**-0.5 if self.scale is None else self.scale)
        return (scores if bias is None else scores + bias).softmax(-1)


class Attention(MultiHead, Mixer):
    """Every token gathers from the tokens it may see: all earlier ones when causal, all of its document otherwise, none beyond the window."""

    heads: int
    head_dim: int

    def __init__(
        self, dim: int, *, heads: Heads = 8, kv_heads: KeyHeads = None, head_dim: HeadDim = None,
        causal: Annotated[bool, Field(description="Whether a token sees only itself and earlier ones.")] = True,
        window: Annotated[int | None, Field(gt=0, description="A token sees only tokens fewer than this many places away; none: however far away.")] = None,
        scale: Scale = None, bias: Bias = False, output_bias: OutputBias = None, qk_norm: QKNorm = None,
    ):
        super().__init__(dim, heads, kv_heads, head_dim, scale, bias, output_bias, qk_norm)
        self.causal = causal
        self.window = window

    @staticmethod
    def traits(arguments: Mapping[str, Any]) -> set[str]:
        return {"causal", "prefix"} if arguments["causal"] else set()

    def prepare(self, length: int, dtype: torch.dtype, context: Context) -> None:
        if isinstance(context.cache, PagedCache):                                         # knows what its tokens may look at
            return
        if length * (context.remembered(self.window) + length) <= WHOLE:
            context.bias(length, self.causal, dtype, self.window)
        else:
            context.mixed()

    def forget(self, state: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...] | None:
        return tuple(part[:, :, :-count] for part in state) if self.window is None else None      # beyond a window nothing is kept

    def forward(self, x: Tensor, context: Context) -> Tensor:
        length = x.shape[1]
        q = self.queries(x)
        k, v = self.keys(x, context.values)
        if context.rotary is not None:
            q, k = rotate(q, context.rotary), rotate(k, context.rotary)
        if isinstance(context.cache, PagedCache):
            return self.merged(self.over_pages(q[0], k[0], v[0], context.cache, context))
        if context.cache is not None:
            if self in context.cache.states:
                past_k, past_v = context.cache.states[self]
                k, v = torch.cat([past_k, k], dim=2), torch.cat([past_v, v], dim=2)
            kept = k.shape[2] if self.window is None else min(k.shape[2], self.window - 1)
            context.cache.states[self] = (k[:, :, k.shape[2] - kept :], v[:, :, k.shape[2] - kept :])
        learned = 0
        if context.memory is not None:                                                    # as it was learned: neither turned nor normed, seen from everywhere
            learned = context.memory[0].shape[1]
            k, v = (torch.cat([part.to(x.dtype).expand(len(x), -1, -1, -1), t], dim=2) for part, t in zip(context.memory, (k, v), strict=True))
        k, v = self.shared(k, v)
        if length * k.shape[2] <= WHOLE:
            bias = context.bias(length, self.causal, q.dtype, self.window)
            if bias is not None and learned:
                y = attend(q, k, v, F.pad(bias, (learned, 0)), self.scale)
            else:
                y = attend(q, k, v, bias, self.scale, reach(self.causal, self.window, context))
        else:
            y = attend_to_many(q, k, v, context, self.causal, self.window, self.scale, learned)
        return self.merged(y)

    def weights(self, x: Tensor, context: Context, bias: Tensor | None = None) -> Tensor:
        return super().weights(x, context, context.bias(x.shape[1], self.causal, x.dtype, self.window))

    def over_pages(self, q: Tensor, k: Tensor, v: Tensor, cache: PagedCache, context: Context) -> Tensor:
        """What the new tokens of many sequences in one row gather, each from the pages of its own: q (H, N, d), k and v (kv_heads, N, d) → (1, H, N, d).

        Heads that share keys and values are queries of the same keys: (kv_heads, B, H / kv_heads · T, d).
        """
        cache.write(self, k, v)
        found = []
        for number, group in enumerate(cache.groups):
            if group.runs is not None and context.memory is None and context.relative is None:
                found.append(self.over_runs(q[:, group.start : group.start + len(group.runs)], group.runs, cache))
                continue
            keys, values = cache.read(self, group)                                        # (kv_heads, B, S, d)
            bias = cache.bias(number, self.window, q.dtype, context.relative)
            if context.memory is not None:
                parts = (part.to(q.dtype)[:, None].expand(-1, keys.shape[1], -1, -1) for part in context.memory)
                keys, values = (torch.cat([part, t], dim=2) for part, t in zip(parts, (keys, values), strict=True))
                bias = F.pad(bias, (context.memory[0].shape[1], 0))
            queries = self.by_keys(group.rows(q))
            if bias.shape[0] > 1:
                bias = self.by_keys(bias)
            elif bias.shape[2] > 1:
                bias = bias.repeat(1, 1, self.heads // self.kv_heads, 1)
            y = attend(queries, keys, values, bias, self.scale)
            y = y.unflatten(2, (self.heads // self.kv_heads, -1)).transpose(1, 2).flatten(0, 1)          # (H, B, T, d)
            found.append(group.tokens(y))
        return torch.cat(found, dim=1)[None]

    def over_runs(self, q: Tensor, runs: Sequence[tuple[int, int]], cache: PagedCache) -> Tensor:
        """As `over_pages`, for tokens q (H, B, d), each of which looks at the keys between two places."""
        keys, values, found = cache.keys[self][None], cache.values[self][None], []
        for query, (first, stop) in zip(q.unflatten(0, (self.kv_heads, -1)).unbind(2), runs, strict=True):
            seen = slice(first if self.window is None else max(first, stop - self.window), stop)
            found.append(F.scaled_dot_product_attention(query[None], keys[:, :, seen], values[:, :, seen], scale=self.scale)[0])
        return torch.stack(found, dim=2).flatten(0, 1)

    def by_keys(self, x: Tensor) -> Tensor:
        """(H, B, T, n) → (kv_heads, B, H / kv_heads · T, n)."""
        return x.unflatten(0, (self.kv_heads, -1)).transpose(1, 2).flatten(2, 3)


class CrossAttention(MultiHead):
    """Every token gathers from the tokens of the source of its own document; a token without a source gathers nothing."""

    def __init__(
        self, dim: int, *, heads: Heads = 8, kv_heads: KeyHeads = None, head_dim: HeadDim = None, scale: Scale = None, bias: Bias = False,
        output_bias: OutputBias = None, qk_norm: QKNorm = None,
    ):
        super().__init__(dim, heads, kv_heads, head_dim, scale, bias, output_bias, qk_norm)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        source = context.source
        assert source is not None
        if context.cache is None:
            k, v = self.keys(source.hidden)
        else:
            if self not in source.keys:
                source.keys[self] = self.keys(source.hidden)
            k, v = source.keys[self]
        bias, blind = context.across(x.dtype)
        y = attend(self.queries(x), *self.shared(k, v), bias, self.scale)
        return self.merged(y if blind is None else y.masked_fill(blind, 0.0))
