"""Scaled dot-product attention, softmax(q kᵀ / sqrt(d)) v (Vaswani et al. 2017, arXiv:1706.03762), with grouped key/value heads
(Ainslie et al. 2023, arXiv:2305.13245), optional query/key norm (Henry et al. 2020, arXiv:2010.04245) and sliding windows (Beltagy et al. 2020,
arXiv:2004.05150; Mistral 7B, arXiv:2310.06825).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ftheta.blocks import NORMS
from ftheta.blocks.context import Context
from ftheta.blocks.linear import Linear
from ftheta.blocks.mixer import Mixer
from ftheta.blocks.position import rotate
from ftheta.core.config import Part, Slot

PLAIN = 1024 * 1024
"""Scores of one head up to which plain products are used on a CPU."""
WHOLE = 4096 * 4096
"""Scores of one head up to which what may not be seen is written down for all of them at once."""
BLOCK = 512
"""Queries looked at together beyond that."""


class Attention(Mixer):
    """Every token gathers from the tokens it may see: all earlier ones when causal, all of its document otherwise, none beyond the window."""

    def __init__(
        self, dim: int, *,
        heads: Annotated[int, Field(gt=0, description="Attentions side by side, each over its share of the width.")] = 8,
        kv_heads: Annotated[int | None, Field(gt=0, description="Keys and values, shared by groups of heads; none: as many as heads.")] = None,
        head_dim: Annotated[int | None, Field(gt=0, description="Width of one head; none: the width shared out among the heads.")] = None,
        causal: Annotated[bool, Field(description="Whether a token sees only itself and earlier ones.")] = True,
        window: Annotated[int | None, Field(gt=0, description="A token sees only tokens fewer than this many places away; none: however far away.")] = None,
        bias: Annotated[bool, Field(description="Whether the maps to queries, keys and values have biases.")] = False,
        output_bias: Annotated[bool | None, Field(description="Whether the output map has a bias; none: as the other maps.")] = None,
        qk_norm: Annotated[Annotated[Part, Slot(NORMS)] | None, Field(description="A norm of every head's queries and keys.")] = None,
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
        self.causal = causal
        self.window = window
        self.query = Linear(dim, heads * self.head_dim, bias=bias)
        self.key = Linear(dim, self.value_dim, bias=bias)
        self.value = Linear(dim, self.value_dim, bias=bias)
        self.output = Linear(heads * self.head_dim, dim, bias=bias if output_bias is None else output_bias)
        self.query_norm = qk_norm.build(dim=self.head_dim) if qk_norm else None
        self.key_norm = qk_norm.build(dim=self.head_dim) if qk_norm else None

    @staticmethod
    def traits(arguments: Mapping[str, Any]) -> set[str]:
        return {"causal"} if arguments["causal"] else set()

    def prepare(self, length: int, dtype: torch.dtype, context: Context) -> None:
        if length * (context.remembered(self.window) + length) <= WHOLE:
            context.bias(length, self.causal, dtype, self.window)
        else:
            context.mixed()

    def forward(self, x: Tensor, context: Context) -> Tensor:
        batch, length, _ = x.shape
        q = self.query(x).view(batch, length, self.heads, self.head_dim)
        k = self.key(x).view(batch, length, self.kv_heads, self.head_dim)
        v = self.value(x) if context.values is None else self.value(x) + context.values
        v = v.view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        q, k = q.transpose(1, 2), k.transpose(1, 2)                                      # (B, H, T, head_dim)
        if context.rotary is not None:
            q, k = rotate(q, context.rotary), rotate(k, context.rotary)
        if context.cache is not None:
            if self in context.cache.states:
                past_k, past_v = context.cache.states[self]
                k, v = torch.cat([past_k, k], dim=2), torch.cat([past_v, v], dim=2)
            kept = k.shape[2] if self.window is None else min(k.shape[2], self.window - 1)
            context.cache.states[self] = (k[:, :, k.shape[2] - kept :], v[:, :, k.shape[2] - kept :])
        prefix = 0
        if context.prefix is not None:                                                    # as it was learned: neither turned nor normed, seen from everywhere
            prefix = context.prefix[0].shape[1]
            k, v = (torch.cat([part.to(x.dtype).expand(batch, -1, -1, -1), t], dim=2) for part, t in zip(context.prefix, (k, v), strict=True))
        if self.kv_heads != self.heads:
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, dim=1) for t in (k, v))
        if length * k.shape[2] <= WHOLE:
            bias = context.bias(length, self.causal, q.dtype, self.window)
            y = attend(q, k, v, bias if bias is None or not prefix else F.pad(bias, (prefix, 0)))
        else:
            y = attend_in_blocks(q, k, v, context, self.causal, self.window, prefix)
        return self.output(y.transpose(1, 2).reshape(batch, length, -1))


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q kᵀ / sqrt(d) + bias) v; q (B, H, T, d), k and v (B, H, S, d).

    On a CPU plain products are faster than the fused kernel at training lengths, forward and backward; elsewhere the fused one is.
    """
    if q.device.type != "cpu" or q.shape[2] * k.shape[2] > PLAIN:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    scores = (q * (1.0 / math.sqrt(q.shape[-1]))) @ k.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(-1) @ v


def attend_in_blocks(q: Tensor, k: Tensor, v: Tensor, context: Context, causal: bool, window: int | None, prefix: int = 0) -> Tensor:
    """As `attend`, for sequences so long that nothing of T · S numbers may be made: queries (B, H, T, d) in blocks, each with the keys it can reach
    and the first `prefix` keys, which all can.

    Where all keys before a query count, the fused kernel leaves out the others by itself. What a block may see is worked out anew for the
    backward pass.
    """
    (always_k, k), (always_v, v) = k.tensor_split([prefix], dim=2), v.tensor_split([prefix], dim=2)
    length, total = q.shape[2], k.shape[2]
    if causal and length == total and window is None and not prefix and not context.mixed():
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    past = total - length

    def block(part: Tensor, keys: Tensor, values: Tensor, start: int, first: int) -> Tensor:
        queries = range(past + start, past + start + part.shape[2])
        mask = context.allowed(length, causal, window, queries, range(first, first + keys.shape[2]))
        if prefix:
            keys, values = torch.cat([always_k, keys], dim=2), torch.cat([always_v, values], dim=2)
            mask = None if mask is None else F.pad(mask, (prefix, 0), value=True)
        return F.scaled_dot_product_attention(part, keys, values, attn_mask=mask)

    parts = []
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        first = 0 if window is None else max(0, past + start - window + 1)
        last = past + stop if causal else total if window is None else min(total, past + stop + window - 1)
        given = (q[:, :, start:stop], k[:, :, first:last], v[:, :, first:last], start, first)
        parts.append(checkpoint(block, *given, use_reentrant=False, preserve_rng_state=False) if torch.is_grad_enabled() else block(*given))
    return torch.cat(parts, dim=2)
