"""A state-space mixer: Mamba-2, the scalar-decay state space (Dao & Gu 2024, arXiv:2405.21060), in time and memory linear in the length.

Per head, with a state h (P, N) that starts at zero in every document, a step Δ > 0, a rate A > 0, and B, C (N,) read from the token:

    h_t = exp(-Δ_t A) h_{t-1} + Δ_t x_t B_tᵀ,    y_t = h_t C_t + D x_t

Tokens are worked through in chunks: inside a chunk as an attention with decaying weights, from chunk to chunk by the state. x, B and C
pass a short causal convolution first; y is gated and normalised last. All of it is computed in float32 (float64 where the input is).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ftheta.blocks.context import Context
from ftheta.blocks.documents import document_runs
from ftheta.blocks.initialise import fill, uniform
from ftheta.blocks.linear import Linear
from ftheta.blocks.mixer import Mixer
from ftheta.blocks.norm import Eps
from ftheta.core.random import generator

CHUNK = 64
"""Tokens worked through together."""
LONG = 4096
"""Tokens in a row beyond which what stands between the two maps is worked out anew for the backward pass, in place of being kept for it."""
STEPS, RATES = (1e-3, 1e-1), (1.0, 16.0)
"""Between which Δ (log-uniform) and A (uniform) start."""


class SSM(Mixer):
    """Every token adds to a state that fades, and reads from it; all heads of a group share B and C."""

    def __init__(
        self, dim: int, *,
        heads: Annotated[int, Field(gt=0, description="States side by side, each with a rate of its own.")] = 8,
        head_dim: Annotated[int | None, Field(gt=0, description="Width P of what one head writes; none: twice the model's width shared out among the heads.")] = None,
        state: Annotated[int, Field(gt=0, description="Size N of a state for each of these.")] = 64,
        groups: Annotated[int, Field(gt=0, description="How many times B and C are read from a token; heads share them.")] = 1,
        kernel: Annotated[int, Field(gt=0, description="Tokens that the convolution looks at.")] = 4,
        kernel_bias: Annotated[bool, Field(description="Whether the convolution has a bias.")] = True,
        bias: Annotated[bool, Field(description="Whether the maps at the entry and at the exit have biases.")] = False,
        eps: Eps = 1e-5,
    ):
        super().__init__()
        if head_dim is None and 2 * dim % heads:
            raise ValueError(f"twice dim {dim} must be a multiple of heads {heads}, or head_dim must be given")
        if heads % groups:
            raise ValueError(f"heads {heads} must be a multiple of groups {groups}")
        self.scans, self.groups, self.state, self.kernel, self.eps = heads, groups, state, kernel, eps
        self.inner = heads * (head_dim or 2 * dim // heads)
        self.width = self.inner + 2 * groups * state                                     # x, B and C
        self.input = Linear(dim, self.inner + self.width + heads, bias=bias)             # the gate, these, and the step
        self.kernel_weight = nn.Parameter(torch.zeros(self.width, 1, kernel))
        self.kernel_bias = nn.Parameter(torch.zeros(self.width)) if kernel_bias else None
        self.step = nn.Parameter(torch.zeros(heads))
        self.rate = nn.Parameter(torch.zeros(heads))
        self.skip = nn.Parameter(torch.zeros(heads))
        self.norm_weight = nn.Parameter(torch.ones(self.inner))
        self.output = Linear(self.inner, dim, bias=bias)

    @staticmethod
    def traits(arguments: Mapping[str, Any]) -> set[str]:
        return {"causal"}

    def initialise(self, seed: int, place: str) -> None:
        """softplus(step) log-uniform in STEPS, exp(rate) uniform in RATES, skip 1, kernels U(±1/sqrt(kernel))."""
        uniform(self.kernel_weight, self.kernel**-0.5, seed, f"{place}.kernel_weight")
        first, last = map(math.log, STEPS)
        start = (first + (last - first) * torch.rand(self.scans, generator=generator(seed, f"{place}.step"))).exp()
        fill(self.step, start + torch.log(-torch.expm1(-start)))
        fill(self.rate, (RATES[0] + (RATES[1] - RATES[0]) * torch.rand(self.scans, generator=generator(seed, f"{place}.rate"))).log())
        fill(self.skip, torch.ones(self.scans))
        fill(self.norm_weight, torch.ones(self.inner))

    def prepare(self, length: int, dtype: torch.dtype, context: Context) -> None:
        context.mixed()

    def forward(self, x: Tensor, context: Context) -> Tensor:
        exact = torch.float64 if x.dtype == torch.float64 else torch.float32
        past, state = (None, None) if context.cache is None else context.cache.states.get(self, (None, None))
        gate, read, step = self.input(x).to(exact).split([self.inner, self.width, self.scans], -1)
        given = (gate, read, step, self.runs(x.shape[1], context), past, state)
        again = x.shape[1] > LONG and torch.is_grad_enabled()
        y, past, state = checkpoint(self.mix, *given, use_reentrant=False, preserve_rng_state=False) if again else self.mix(*given)
        if context.cache is not None:
            context.cache.states[self] = (past, state)
        return self.output(y.to(x.dtype))

    def mix(
        self, gate: Tensor, read: Tensor, step: Tensor, runs: Tensor | None, past: Tensor | None, state: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Everything between the two maps, (B, T, inner), and what the next tokens need: inputs of the convolution and the state."""
        exact, length = read.dtype, read.shape[1]
        read, past = self.convolve(read, past, runs)
        values, b, c = read.split([self.inner, self.groups * self.state, self.groups * self.state], -1)
        values = values.unflatten(-1, (self.scans, -1))
        b, c = (part.unflatten(-1, (self.groups, self.state)) for part in (b, c))
        step = F.softplus(step + self.step.to(exact))
        y, state = scan(values * step[..., None], -step * self.rate.to(exact).exp(), b, c, state, None if runs is None else runs[:, -length - 1 :])
        y = (y + self.skip.to(exact)[:, None] * values).flatten(2) * F.silu(gate)
        y = y.unflatten(-1, (self.groups, -1))
        y = (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)).flatten(2) * self.norm_weight.to(exact)
        return y, past, state

    def runs(self, length: int, context: Context) -> Tensor | None:
        """(B, before + T) the run of equal document numbers each token belongs to, from as many tokens before as matter; None: one a row."""
        if not context.mixed():
            return None
        before = max(1, self.kernel - 1)
        found = document_runs(context.numbers())[:, -(before + length) :]
        return F.pad(found, (before + length - found.shape[1], 0), value=-1)

    def convolve(self, read: Tensor, past: Tensor | None, runs: Tensor | None) -> tuple[Tensor, Tensor]:
        """silu of Σ kernel · the last tokens of the document, (B, T, W); and the inputs that the next tokens need, (B, kernel - 1, W)."""
        length, reach = read.shape[1], self.kernel - 1
        whole = F.pad(read, (0, 0, reach, 0)) if past is None else torch.cat([past, read], 1)
        weight = self.kernel_weight.to(read.dtype)
        y = read * weight[:, 0, reach]
        for back in range(1, self.kernel):
            earlier = whole[:, reach - back : reach - back + length] * weight[:, 0, reach - back]
            if runs is not None:
                start = runs.shape[1] - length
                earlier = earlier * (runs[:, start - back : runs.shape[1] - back] == runs[:, start:])[..., None]
            y = y + earlier
        if self.kernel_bias is not None:
            y = y + self.kernel_bias.to(read.dtype)
        return F.silu(y), whole[:, length:]


def scan(x: Tensor, decay: Tensor, b: Tensor, c: Tensor, state: Tensor | None, runs: Tensor | None) -> tuple[Tensor, Tensor]:
    """h_t = exp(decay_t) h_{t-1} + x_t b_tᵀ, y_t = h_t c_t: y (B, T, H, P) and the last h (B, H, P, N).

    x (B, T, H, P), decay (B, T, H) ≤ 0, b and c (B, T, G, N), state (B, H, P, N) or zero; runs (B, 1 + T), the token before first: where
    a token's run is not that of the token before, h starts at zero.
    """
    batch, length, heads, width = x.shape
    groups, size = b.shape[2:]
    chunk = min(CHUNK, length)
    rest = -length % chunk                                                               # filled up with tokens that change nothing
    x, b, c = (F.pad(part, (0, 0, 0, 0, 0, rest)).unflatten(1, (-1, chunk)).transpose(2, 3) for part in (x, b, c))
    x = x.unflatten(2, (groups, -1))                                                     # (B, chunks, G, heads of a group, Q, P)
    decay = F.pad(decay, (0, 0, 0, rest)).unflatten(1, (-1, chunk)).transpose(2, 3).unflatten(2, (groups, -1))
    later = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).tril(-1)
    between = decay[..., :, None].expand(*decay.shape, chunk).masked_fill(~later, 0).cumsum(-2)      # [i, j]: sum from after j to i, and of nothing else
    fade = between.masked_fill(later.t(), -math.inf).exp()
    leave, enter = between[..., -1, :].exp(), decay.cumsum(-1).exp()                     # from a token to the chunk's end, from the chunk's start to it
    if runs is not None:
        own = F.pad(runs, (0, rest), mode="replicate") if rest else runs
        before, own = own[:, :-1:chunk, None], own[:, 1:].unflatten(1, (-1, chunk))      # (B, chunks, 1), (B, chunks, Q)
        fade = fade * (own[..., :, None] == own[..., None, :])[:, :, None, None]
        leave, enter = leave * (own == own[..., -1:])[:, :, None, None], enter * (own == before)[:, :, None, None]
    y = ((c @ b.transpose(-1, -2))[:, :, :, None] * fade) @ x
    written = (x * leave[..., None]).transpose(-1, -2).flatten(3, 4) @ b                 # (B, chunks, G, heads of a group · P, N)
    kept = enter[..., -1:].expand(*enter.shape[:-1], width).flatten(3)[..., None]
    now = x.new_zeros(batch, groups, heads // groups * width, size) if state is None else state.reshape(batch, groups, -1, size)
    starts = []
    for i in range(written.shape[1]):
        starts.append(now)
        now = now * kept[:, i] + written[:, i]
    carried = (c @ torch.stack(starts, 1).transpose(-1, -2)).unflatten(-1, (-1, width)).transpose(3, 4)
    y = y + carried * enter[..., None]
    return y.transpose(3, 4).transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :length], now.reshape(batch, heads, width, size)
