"""Mixture of experts: a router sends every token to a few of many gated networks (Shazeer et al. 2017, arXiv:1701.06538; Mixtral,
arXiv:2401.04088). No token is dropped.

With p = softmax(W x) over E experts and the K largest of them chosen, y = Σ_chosen g_i expert_i(x), g = p or p / Σ_chosen p.

Two terms keep the router healthy. Both are sums over the tokens t that the loss is about, so they add up over micro-batches, packing and
processes as every loss here does:

- balance: Σ_t Σ_i f_i p_i(t), where f_i = E / (K T) · (how often expert i is chosen by the T such tokens of t's own document). That is T times the
  sequence-wise balance loss Σ_i f_i P_i of DeepSeek-V2 (arXiv:2405.04434, section 2.2.3), each document for itself. A loss that counts choices over
  the whole batch (Switch, arXiv:2101.03961) is another one for every way of dividing the batch, and one that counts them over a row depends on
  what a document was packed with.
- z-loss: Σ_t logsumexp(W x_t)², which keeps the router's logits small (Zoph et al. 2022, arXiv:2202.08906).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ftheta.blocks.context import Context, Informed
from ftheta.blocks.documents import document_runs
from ftheta.blocks.feedforward import Activation, Gated, Hidden
from ftheta.blocks.linear import Linear


class MoE(Informed):
    """A router, and experts that are gated networks; each computes its tokens of the whole batch in one go."""

    def __init__(
        self, dim: int, *,
        experts: Annotated[int, Field(gt=0, description="How many there are.")] = 8,
        active: Annotated[int, Field(gt=0, description="How many of them compute a token.")] = 2,
        hidden: Hidden = None, activation: Activation = "silu",
        normalise: Annotated[bool, Field(description="Whether the chosen experts' weights are made to sum to 1.")] = True,
        balance: Annotated[float, Field(ge=0, description="Weight of the balance loss, which makes experts be chosen equally often.")] = 0.01,
        z_loss: Annotated[float, Field(ge=0, description="Weight of the squared logsumexp of the router's logits.")] = 0.001,
    ):
        super().__init__()
        if active > experts:
            raise ValueError(f"active {active} must be at most experts {experts}")
        self.active = active
        self.normalise = normalise
        self.balance = balance
        self.z_loss = z_loss
        self.router = Linear(dim, experts, bias=False)
        self.experts = nn.ModuleList(Gated(dim, hidden=hidden, activation=activation) for _ in range(experts))

    @staticmethod
    def traits(arguments: Mapping[str, Any]) -> set[str]:
        return {"regroups", "auxiliary"} if arguments["balance"] or arguments["z_loss"] else {"regroups"}

    def forward(self, x: Tensor, context: Context) -> Tensor:
        tokens = x.reshape(-1, x.shape[-1])                                               # (N, D)
        logits = self.router(tokens)
        logits = logits.to(torch.promote_types(x.dtype, torch.float32))
        shares = logits.softmax(-1)                                                       # (N, E)
        weights, chosen = shares.topk(self.active, dim=-1)                                # (N, K)
        if self.normalise:
            weights = weights / weights.sum(-1, keepdim=True)
        if (self.balance or self.z_loss) and not torch.compiler.is_exporting():             # a matter of training
            documents = chosen.new_zeros(x.shape[:2]) if context.documents is None else context.documents
            counted = documents >= 0 if context.counted is None else context.counted
            context.auxiliary.append(self.auxiliary(logits, shares, chosen, documents, counted))
        return self.routed(tokens, weights.to(x.dtype), chosen).view(x.shape)

    def routed(self, tokens: Tensor, weights: Tensor, chosen: Tensor) -> Tensor:
        """Σ weights · expert(token) over the chosen experts: tokens sorted by expert, one product for each, and sorted back."""
        if torch.compiler.is_exporting():                                                 # how many tokens an expert gets is open: every expert looks at all
            shares = torch.zeros_like(chosen[:, :1].expand(-1, len(self.experts)), dtype=weights.dtype).scatter(1, chosen, weights)
            return torch.stack([expert(tokens) for expert in self.experts], dim=1).mul(shares[..., None]).sum(1)
        order = chosen.flatten().argsort(stable=True)
        counts = torch.bincount(chosen.flatten(), minlength=len(self.experts)).tolist()
        parts = tokens[order // self.active].split(counts)
        # an expert without tokens takes part in training all the same: its gradient is zero, not missing
        results = [expert(part) for expert, part in zip(self.experts, parts, strict=True) if len(part) or torch.is_grad_enabled()]
        back = torch.cat(results)[order.argsort()].view(*chosen.shape, -1)                # (N, K, D)
        return (back * weights[..., None]).sum(1)

    def auxiliary(self, logits: Tensor, shares: Tensor, chosen: Tensor, documents: Tensor, counted: Tensor) -> Tensor:
        """(B,) what every row adds to the loss, for documents (B, T) and their counted tokens."""
        runs, counts = document_runs(documents).flatten(), counted.flatten().to(shares.dtype)
        picked = torch.zeros_like(shares).scatter_(1, chosen, 1.0) * counts[:, None]
        loads = torch.zeros(int(runs[-1]) + 1, shares.shape[1], dtype=shares.dtype, device=shares.device).index_add_(0, runs, picked)
        often = loads * (shares.shape[1] / loads.sum(1, keepdim=True).clamp(min=1))       # f: 1 everywhere when balanced
        each = self.balance * (often[runs] * shares).sum(1) + self.z_loss * logits.logsumexp(-1).square()
        return (each * counts).view(documents.shape).sum(1)
