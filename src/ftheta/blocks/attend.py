"""softmax(scale · q kᵀ + bias) v (Vaswani et al. 2017, arXiv:1706.03762), in blocks of queries that stay near the processor.

On a CPU the scores of a batch do not fit into a core's cache, and writing and reading them takes longer than the products. So a few rows and queries are
looked at together, with only the keys that one of them can reach: when a token sees only earlier ones that is half of the work. What is computed is the
same, and the gradient is too. torch's fused kernel takes over where probabilities kept for the gradient would be too many, for float32 where all keys are
looked at, which it is as fast at, and for bfloat16 without a gradient where the processor multiplies in tiles, which takes it half as long (`python -m benchmarks.attention`);
not for few scores, since what it gives for a text depends on how many keys stand beside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ftheta.blocks.context import Context, Span
from ftheta.core.device import tiles

NEAR = 2 << 20
"""Bytes of scores that stay near a processor."""
ALL = 6
"""Times as many may be written at once where all keys are looked at, so that blocks leave nothing out."""
BLOCK = 128
"""Queries looked at together, where there are twice as many or more."""
KEPT = 1024 * 1024
"""Scores of one head up to which probabilities are kept for the gradient."""
LONG = 512
"""Queries looked at together where there are so many that nothing is written down for all of them."""


class Reach(NamedTuple):
    """How many keys before and after its own place a query may look at; none: all of them. The queries' places are the last of the keys'."""

    behind: int | None = None
    ahead: int | None = None

    def keys(self, queries: slice, count: int, total: int) -> slice:
        """Of `total` keys those that some of these queries can reach, of which there are `count`."""
        past = total - count
        first = 0 if self.behind is None else max(0, past + queries.start - self.behind)
        return slice(first, total if self.ahead is None else min(total, past + queries.stop + self.ahead))


def reach(causal: bool, window: int | None, context: Context) -> Reach:
    """What tokens may look at; tokens of a prefix are seen from before them too."""
    wide = None if window is None else window - 1
    return Reach(wide, 0 if causal and context.prefix is None else wide)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None = None, reach: Reach | None = None) -> Tensor:
    """softmax(scale · q kᵀ + bias) v, the scale being 1 / sqrt(d) unless given; q (B, H, T, d), k and v (B, H, S, d), bias of a shape that (B, H, T, S)
    extends. `reach` says which keys need not be looked at, the bias being -inf there.
    """
    if q.device.type != "cpu" or torch.compiler.is_exporting():
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
        return y.contiguous() if torch.compiler.is_exporting() else y                      # how numbers lie in memory is the kernel's own affair
    scale = 1.0 / math.sqrt(q.shape[-1]) if scale is None else scale
    size, reach = q.shape[:3].numel() * k.shape[2] * q.element_size(), reach or Reach()
    everything, narrow = reach == Reach(), q.element_size() < 4
    if size <= NEAR * (ALL if everything and narrow else 1) or torch.compiler.is_compiling():
        return products(q, k, v, bias, scale)
    learns = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in (q, k, v, bias))
    far = q.shape[2] * k.shape[2] > KEPT
    if (far if learns else narrow and tiles()) or (everything and not narrow):
        if reach == Reach(None, 0) and q.shape[2] == k.shape[2] and bias is not None and bias.ndim == 2:      # nothing but what is later is hidden
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    y = InBlocks.apply(q.contiguous(), k.contiguous(), v.contiguous(), bias, scale, reach, learns)
    assert isinstance(y, Tensor)
    return y


def products(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """As it is written."""
    scores = (q * scale) @ k.transpose(-2, -1)
    return (scores if bias is None else scores + bias).softmax(-1) @ v


class Part(NamedTuple):
    """Some queries of some rows, and the keys they look at."""

    rows: slice
    queries: slice
    keys: slice

    def of_queries(self, x: Tensor) -> Tensor:
        """(B, H, T, d) → (rows, H, queries, d)."""
        return x[self.rows, :, self.queries]

    def of_keys(self, x: Tensor) -> Tensor:
        """(B, H, S, d) → (rows, H, keys, d)."""
        return x[self.rows, :, self.keys]

    def of_bias(self, bias: Tensor) -> Tensor:
        """What of a bias is about these scores."""
        if bias.ndim == 4 and bias.shape[0] > 1:
            bias = bias[self.rows]
        if bias.ndim > 1 and bias.shape[-2] > 1:
            bias = bias[..., self.queries, :]
        return bias if bias.shape[-1] == 1 else bias[..., self.keys]


def parts(q: Tensor, k: Tensor, reach: Reach) -> Iterator[Part]:
    """All queries of all rows, in parts whose scores take about NEAR bytes."""
    rows, heads, count = q.shape[:3]
    total = k.shape[2]
    queries, line = count if count < 2 * BLOCK else BLOCK, heads * total * q.element_size()
    while queries > 32 and queries * line > 2 * NEAR:
        queries //= 2
    together = max(1, NEAR // (queries * line))
    for row in range(0, rows, together):
        for start in range(0, count, queries):
            some = slice(start, min(start + queries, count))
            yield Part(slice(row, row + together), some, reach.keys(some, count, total))


class InBlocks(torch.autograd.Function):
    """`products` in parts; for the gradient the probabilities of what can be reached are kept."""

    @staticmethod
    def forward(ctx: FunctionCtx, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, reach: Reach, learns: bool) -> Tensor:
        y, kept = torch.empty_like(q), []
        for part in parts(q, k, reach):
            scores = (part.of_queries(q) * scale) @ part.of_keys(k).transpose(-2, -1)
            shares = (scores if bias is None else scores.add_(part.of_bias(bias))).softmax(-1)
            part.of_queries(y).copy_(shares @ part.of_keys(v))
            kept += [shares] if learns else []
        ctx.save_for_backward(q, k, v, bias, *kept)                                       # type: ignore[arg-type]
        ctx.given = (scale, reach)                                                        # type: ignore[attr-defined]
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, bias, *kept = ctx.saved_tensors                                          # type: ignore[attr-defined]
        scale, reach = ctx.given                                                          # type: ignore[attr-defined]
        grad, asked = grads[0], ctx.needs_input_grad[:4]                                  # type: ignore[attr-defined]
        if torch.is_grad_enabled():                                                       # a gradient of the gradient is asked for
            inputs = [part for part, wanted in zip((q, k, v, bias), asked, strict=True) if wanted]
            found = iter(torch.autograd.grad(products(q, k, v, bias, scale), inputs, grad, create_graph=True))
            return (*(next(found) if wanted else None for wanted in asked), None, None, None)
        dq, dk, dv, db = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v), torch.zeros_like(bias) if asked[3] else None
        for part, shares in zip(parts(q, k, reach), kept, strict=True):
            given = part.of_queries(grad)
            part.of_keys(dv).add_(shares.transpose(-2, -1) @ given)
            slope = given @ part.of_keys(v).transpose(-2, -1)
            slope = torch._softmax_backward_data(slope, shares, -1, shares.dtype)
            if db is not None:
                about = part.of_bias(db)
                about.add_(slope.sum_to_size(about.shape))
            slope.mul_(scale)
            part.of_queries(dq).copy_(slope @ part.of_keys(k))
            part.of_keys(dk).add_(slope.transpose(-2, -1) @ part.of_queries(q))
        return dq, dk, dv, db, None, None, None


def attend_to_many(
    q: Tensor, k: Tensor, v: Tensor, context: Context, causal: bool, window: int | None, scale: float | None = None, learned: int = 0,
) -> Tensor:
    """As `attend`, for sequences so long that nothing of T · S numbers may be made: queries (B, H, T, d) in blocks, each with the keys it can reach
    and the first `learned` keys, which all can.

    Where all keys before a query count, the fused kernel leaves out the others by itself. What a block may see is worked out anew for the
    backward pass.
    """
    (always_k, k), (always_v, v) = k.tensor_split([learned], dim=2), v.tensor_split([learned], dim=2)
    length, total, far = q.shape[2], k.shape[2], reach(causal, window, context)
    if causal and length == total and window is None and not learned and context.relative is None and context.prefix is None and not context.mixed():
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    past = total - length

    def block(part: Tensor, keys: Tensor, values: Tensor, start: int, first: int) -> Tensor:
        queries = Span(past + start, past + start + part.shape[2])
        reached = Span(first, first + keys.shape[2])
        if context.relative is None:
            mask = context.allowed(length, causal, window, queries, reached)
        else:
            mask = context.added(length, causal, q.dtype, window, queries, reached)
        if learned:
            keys, values = torch.cat([always_k, keys], dim=2), torch.cat([always_v, values], dim=2)
            seen = True if mask is not None and mask.dtype == torch.bool else 0.0
            mask = None if mask is None else F.pad(mask, (learned, 0), value=seen)
        return F.scaled_dot_product_attention(part, keys, values, attn_mask=mask, scale=scale)

    found = []
    for start in range(0, length, LONG):
        some = slice(start, min(start + LONG, length))
        keys = far.keys(some, length, total)
        given = (q[:, :, some], k[:, :, keys], v[:, :, keys], start, keys.start)
        found.append(checkpoint(block, *given, use_reentrant=False, preserve_rng_state=False) if torch.is_grad_enabled() else block(*given))
    return torch.cat(found, dim=2)
