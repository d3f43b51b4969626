"""y = after(skip(x) + inner(before(x))): one wiring for GPT (before = norm), BERT (after = norm), ResNet (skip, after = relu) and, with nothing
added, a plain stack of layers."""

from __future__ import annotations

from torch import Tensor, nn

from ftheta.blocks.context import Context, Informed


class Residual(nn.Module):
    """Wraps any inner part; the context goes to the parts that read it. Unless it `adds`, skip(x) is left out."""

    def __init__(
        self, inner: nn.Module, before: nn.Module | None = None, after: nn.Module | None = None, skip: nn.Module | None = None, dropout: float = 0.0,
        adds: bool = True,
    ):
        super().__init__()
        self.before = before
        self.inner = inner
        self.after = after
        self.skip = skip
        self.dropout = dropout
        self.adds = adds

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        y = x if self.before is None else self.before(x)
        y = self.inner(y, context) if isinstance(self.inner, Informed) else self.inner(y)
        if self.dropout:
            y = nn.functional.dropout(y, self.dropout, self.training)
        if self.adds:
            y = y + (x if self.skip is None else self.skip(x))
        return y if self.after is None else self.after(y)
