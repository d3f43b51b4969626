"""Scaled dot-product attention, softmax(q kᵀ / sqrt(d)) v (Vaswani et al. 2017, arXiv:1706.03762), with grouped key/value heads
(Ainslie et al. 2023, arXiv:2305.13245) and optional query/key norm (Henry et al. 2020, arXiv:2010.04245).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ftheta.blocks import NORMS
from ftheta.blocks.context import Context
from ftheta.blocks.linear import Linear
from ftheta.blocks.mixer import Mixer
from ftheta.blocks.position import rotate
from ftheta.core.config import Part, Slot


class Attention(Mixer):
    """Every token gathers from the tokens it may see: all earlier ones when causal, all of its document otherwise."""

    def __init__(
        self, dim: int, *,
        heads: Annotated[int, Field(gt=0, description="Attentions side by side, each over its share of the width.")] = 8,
        kv_heads: Annotated[int | None, Field(gt=0, description="Keys and values, shared by groups of heads; none: as many as heads.")] = None,
        causal: Annotated[bool, Field(description="Whether a token sees only itself and earlier ones.")] = True,
        bias: Annotated[bool, Field(description="Whether the four maps have biases.")] = False,
        qk_norm: Annotated[Annotated[Part, Slot(NORMS)] | None, Field(description="A norm of every head's queries and keys.")] = None,
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} must be a multiple of heads {heads}")
        self.heads = heads
        self.kv_heads = kv_heads or heads
        if heads % self.kv_heads:
            raise ValueError(f"heads {heads} must be a multiple of kv_heads {self.kv_heads}")
        self.head_dim = dim // heads
        self.value_dim = self.kv_heads * self.head_dim
        self.causal = causal
        self.query = Linear(dim, dim, bias=bias)
        self.key = Linear(dim, self.kv_heads * self.head_dim, bias=bias)
        self.value = Linear(dim, self.kv_heads * self.head_dim, bias=bias)
        self.output = Linear(dim, dim, bias=bias)
        self.query_norm = qk_norm.build(dim=self.head_dim) if qk_norm else None
        self.key_norm = qk_norm.build(dim=self.head_dim) if qk_norm else None

    @staticmethod
    def traits(arguments: Mapping[str, Any]) -> set[str]:
        return {"causal"} if arguments["causal"] else set()

    def prepare(self, length: int, dtype: torch.dtype, context: Context) -> None:
        context.bias(length, self.causal, dtype)

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
            context.cache.states[self] = (k, v)
        if self.kv_heads != self.heads:
            k, v = (t.repeat_interleave(self.heads // self.kv_heads, dim=1) for t in (k, v))
        y = attend(q, k, v, context.bias(length, self.causal, q.dtype))
        return self.output(y.transpose(1, 2).reshape(batch, length, -1))


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(q kᵀ / sqrt(d) + bias) v; q (B, H, T, d), k and v (B, H, S, d).

    On a CPU plain products are faster than the fused kernel at training lengths, forward and backward; elsewhere the fused one is.
    """
    if q.device.type != "cpu" or q.shape[2] * k.shape[2] > 1024 * 1024:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    scores = (q * (1.0 / math.sqrt(q.shape[-1]))) @ k.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(-1) @ v
