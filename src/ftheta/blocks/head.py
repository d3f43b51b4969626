"""From hidden states to vocabulary logits, and cross-entropy with the head in chunks, so that the logits of a batch are never
whole in memory.

For row h with target t: loss = logsumexp(z) - (1-ε) z_t - ε mean(z) with z = cap(W h + b) and label smoothing ε (Szegedy et al. 2015,
arXiv:1512.00567). The gradient of every chunk is computed in the forward pass, while its logits are at hand, and scaled in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.utils.checkpoint import checkpoint

from ftheta.blocks.activation import ActivationName, activate
from ftheta.blocks.linear import Linear, affine
from ftheta.blocks.norm import Eps, LayerNorm
from ftheta.blocks.quantised import QuantisedTable


class Head(nn.Module):
    """logits = h Wᵀ + b (B, T, V); `softcap` bounds them: c·tanh(z/c) (Gemma 2). A tied head is given the embedding's weight."""

    resizes: ClassVar[bool] = False
    """Whether it brings hidden states to the width of a tied table that is another."""

    def __init__(
        self, dim: int, vocab: int, weight: Tensor | None = None, softcap: float | None = None, *,
        bias: Annotated[bool, Field(description="Whether every token has a learned number of its own added to its logit.")] = False,
        shrink: Annotated[bool, Field(description="Whether hidden states are divided by sqrt(width) first (T5, whose table is that much larger).")] = False,
    ):
        super().__init__()
        self.factor = dim**-0.5 if shrink else 1.0
        self.tied = weight is not None
        self.weight: Tensor = nn.Parameter(torch.empty(vocab, dim)) if weight is None else weight
        self.kept: QuantisedTable | None = None
        """The table in 8 bits, from when it is kept so; then there is no other."""
        self.bias = nn.Parameter(torch.zeros(vocab)) if bias else None
        self.softcap = softcap

    def keep(self, table: QuantisedTable) -> None:
        """Make logits with this table, which nothing can be learned of, from now on."""
        del self.weight
        self.kept = table

    def table(self, dtype: torch.dtype) -> Tensor:
        """What hidden states are multiplied with (V, D)."""
        return (self.weight if self.kept is None else self.kept.weight).to(dtype)

    def affine(self, hidden: Tensor) -> Tensor:
        """h Wᵀ + b: (..., D) → (..., V)"""
        if self.kept is None:
            return affine(hidden, self.weight, self.bias)
        products = self.kept.product(hidden)
        return products if self.bias is None else products + self.bias.to(hidden.dtype)

    def change(self, hidden: Tensor) -> Tensor:
        """What is done to hidden states (..., D) before they meet the table: nothing, or they are made smaller."""
        return hidden if self.factor == 1.0 else hidden * self.factor

    def forward(self, hidden: Tensor) -> Tensor:
        logits = self.affine(self.change(hidden))
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)

    def loss(self, hidden: Tensor, targets: Tensor, weights: Tensor | None = None, chunk: int = 1024, smoothing: float = 0.0) -> Tensor:
        """Sum over rows of the cross-entropy of targets (N,) given hidden (N, D), each row times its weight (N,); nats.

        `smoothing` is the probability mass that targets leave to all tokens alike.
        """
        if weights is None:
            weights = torch.ones(len(targets), device=targets.device)
        hidden = self.change(hidden)
        weight, bias = self.table(hidden.dtype), None if self.bias is None else self.bias.to(hidden.dtype)
        result = LinearCrossEntropy.apply(hidden, weight, bias, targets, weights, self.softcap, chunk, smoothing)
        assert isinstance(result, Tensor)
        return result

    def log_probabilities(self, hidden: Tensor, targets: Tensor, chunk: int = 1024) -> Tensor:
        """log p of each of targets (N,) given hidden (N, D): (N,). Logits are made chunk by chunk, and again in the backward pass."""
        return self.chunked(self.chosen, chunk, hidden, targets)

    def chosen(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return self(hidden).log_softmax(-1).gather(-1, targets[:, None])[:, 0]

    def policy(self, hidden: Tensor, targets: Tensor, temperature: Tensor, chunk: int = 1024) -> Tensor:
        """Of softmax(z / τ), τ being temperature (N,): log p of each of targets (N,), and the entropy; (N, 2), chunk by chunk as above."""
        return self.chunked(self.chosen_and_entropy, chunk, hidden, targets, temperature)

    def chosen_and_entropy(self, hidden: Tensor, targets: Tensor, temperature: Tensor) -> Tensor:
        logs = (self(hidden) / temperature[:, None]).log_softmax(-1)
        return torch.stack([logs.gather(-1, targets[:, None])[:, 0], -(logs.exp() * logs).sum(-1)], -1)

    def chunked(self, function: Callable[..., Tensor], chunk: int, *rows: Tensor) -> Tensor:
        """function(*rows), a chunk of rows at a time; what is large in it is made again in the backward pass."""
        parts = [checkpoint(function, *(each[start : start + chunk] for each in rows), use_reentrant=False) for start in range(0, max(1, len(rows[0])), chunk)]
        return torch.cat(parts)                                                               # type: ignore[arg-type]


class TransformedHead(Head):
    """As `linear`, of norm(activation(A h + a)) instead of h: the masked-language-model head of BERT (Devlin et al. 2018, arXiv:1810.04805). The
    layer also brings hidden states to the width of a tied table.
    """

    resizes = True

    def __init__(
        self, dim: int, vocab: int, weight: Tensor | None = None, softcap: float | None = None, *,
        activation: Annotated[ActivationName, Field(description="What follows the dense layer.")] = "gelu",
        eps: Eps = 1e-12,
        bias: Annotated[bool, Field(description="Whether every token has a learned number of its own added to its logit.")] = True,
    ):
        super().__init__(dim, vocab, weight, softcap, bias=bias)
        self.activation: ActivationName = activation
        width = self.weight.shape[1]
        self.dense = Linear(dim, width)
        self.norm = LayerNorm(width, eps=eps)

    def change(self, hidden: Tensor) -> Tensor:
        return self.norm(activate(self.activation, self.dense(hidden)))


class LinearCrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of softmax(cap(h Wᵀ + b)), chunk of rows by chunk of rows."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, weights: Tensor, softcap: float | None, chunk: int,
        smoothing: float,
    ) -> Tensor:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        total = torch.zeros((), dtype=exact, device=hidden.device)
        need = hidden.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
        uniform = bool((weights == 1).all())
        grad_hidden = torch.empty_like(hidden) if need else None
        grad_weight = torch.zeros(weight.shape, dtype=exact, device=weight.device) if need else None
        grad_bias = torch.zeros(bias.shape, dtype=exact, device=bias.device) if need and bias is not None else None
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            h, target, scale = hidden[rows], targets[rows, None], weights[rows, None].to(exact)
            logits = h @ weight.t() if bias is None else torch.addmm(bias, h, weight.t())
            if softcap is None and not smoothing and hidden.dtype == torch.bfloat16:
                # one fused kernel gives the probabilities, which are the gradient but for the target's; the loss is read from them
                grad = logits.softmax(-1)
                chosen = grad.gather(1, target)
                total -= (chosen.to(exact).clamp_min(1e-30).log() * scale).sum()
                if grad_hidden is not None and grad_weight is not None:
                    grad.view(torch.int16).scatter_(1, target, (chosen - 1).view(torch.int16))      # scatter_ of bfloat16 would convert all of it twice
                    if not uniform:
                        grad *= scale.to(grad.dtype)
                    torch.mm(grad, weight, out=grad_hidden[rows])
                    grad_weight += grad.t() @ h
                    if grad_bias is not None:
                        grad_bias += grad.sum(0, dtype=exact)
                continue
            logits = logits.to(exact)
            slope = None
            if softcap is not None:
                logits = torch.tanh(logits / softcap)
                slope = 1 - logits.square() if need else None
                logits = logits * softcap
            norm = logits.logsumexp(-1, keepdim=True)
            wanted = logits.gather(1, target)
            if smoothing:
                wanted = torch.lerp(wanted, logits.mean(-1, keepdim=True), smoothing)
            total += ((norm - wanted) * scale).sum()
            if grad_hidden is not None and grad_weight is not None:
                grad = logits.sub_(norm).exp_()
                grad.scatter_add_(1, target, torch.full_like(norm, smoothing - 1.0))
                if smoothing:
                    grad -= smoothing / grad.shape[1]
                grad *= scale
                if slope is not None:
                    grad *= slope
                grad = grad.to(hidden.dtype)
                torch.mm(grad, weight, out=grad_hidden[rows])
                grad_weight += grad.t() @ h
                if grad_bias is not None:
                    grad_bias += grad.sum(0, dtype=exact)
        if need:
            assert grad_hidden is not None and grad_weight is not None
            kept = [grad_hidden, grad_weight.to(weight.dtype), *([] if grad_bias is None else [grad_bias.to(weight.dtype)])]
            ctx.save_for_backward(*kept)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = grads
        kept = [grad * scale.to(grad.dtype) for grad in ctx.saved_tensors]                # type: ignore[attr-defined]
        return *kept, *[None] * (8 - len(kept))
