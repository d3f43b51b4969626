"""`queries` (DETR, Carion et al. 2020, arXiv:2005.12872): a fixed number of learned queries look at the coarsest map through a transformer, and each says one box, or
that it has none; nobody suppresses anything afterwards. What is said is learned as a set (objective `set_prediction`).

Pixels know where they lie by sines of row and column, added to what asks and to what is looked for in attention, not to what is passed on; queries likewise by
a learned vector each. The encoder's pixels look at each other, the decoder's queries at each other and then at the pixels; norms stand after every part.
Every layer of the decoder is asked what it would say, which helps training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.blocks.activation import ActivationName
from ftheta.blocks.attend import attend
from ftheta.blocks.attention import Heads, MultiHead
from ftheta.blocks.detection_head import DetectionHead, alone
from ftheta.blocks.feedforward import MLP
from ftheta.blocks.initialise import glorot, normal
from ftheta.blocks.linear import Linear
from ftheta.blocks.norm import LayerNorm
from ftheta.core.config import Part

Share = Annotated[float, Field(ge=0, lt=1, description="Share of what the parts give that is dropped in training.")]


class PlacedAttention(MultiHead):
    """What asks (B, T, D) and what is looked at (B, S, D), each with vectors that say where it lies → (B, T, D)."""

    def __init__(self, dim: int, heads: int):
        super().__init__(dim, heads, None, None, None, True, None, None)

    def forward(self, x: Tensor, at: Tensor, seen: Tensor, seen_at: Tensor) -> Tensor:  # type: ignore[override]
        k = self.key(seen + seen_at).view(*seen.shape[:2], self.heads, self.head_dim).transpose(1, 2)
        v = self.value(seen).view(*seen.shape[:2], self.heads, self.head_dim).transpose(1, 2)
        return self.merged(attend(self.queries(x + at), k, v, None))


class SetLayer(nn.Module):
    """A layer of the encoder, or, where it looks `across` to the pixels, of the decoder."""

    def __init__(self, dim: int, heads: int, hidden: int, activation: ActivationName, dropout: float, across: bool):
        super().__init__()
        self.dropout = dropout
        self.mix, self.mix_norm = PlacedAttention(dim, heads), LayerNorm(dim)
        self.across, self.across_norm = (PlacedAttention(dim, heads), LayerNorm(dim)) if across else (None, None)
        self.feed, self.feed_norm = MLP(dim, hidden=hidden, activation=activation, bias=True), LayerNorm(dim)

    def forward(self, x: Tensor, at: Tensor, seen: Tensor | None = None, seen_at: Tensor | None = None) -> Tensor:
        x = self.mix_norm(x + self.dropped(self.mix(x, at, x, at)))
        if self.across is not None and self.across_norm is not None:
            x = self.across_norm(x + self.dropped(self.across(x, at, seen, seen_at)))
        return self.feed_norm(x + self.dropped(self.feed(x)))

    def dropped(self, y: Tensor) -> Tensor:
        return F.dropout(y, self.dropout, self.training)


class Queries(DetectionHead):
    """Besides boxes and logits, of all layers of the decoder, the last one last, their boxes (B, S, L, 4) and `set_logits` (B, S, L, K + 1), of which the last
    says that there is nothing: p = softmax of these, and `logits` are those of one class against everything else, log p / (1 - p).
    """

    def __init__(
        self, width: int, strides: Sequence[int], classes: int, depth: int, norm: Part, activation: ActivationName, *,
        queries: Annotated[int, Field(gt=0, description="How many there are; more than a picture has things.")] = 100,
        heads: Heads = 8,
        hidden: Annotated[int | None, Field(gt=0, description="Width between the layers of the mlps; none: four times as wide.")] = None,
        encoder: Annotated[int | None, Field(ge=0, description="Layers of the encoder; none: as many as the decoder has (depth).")] = None,
        encoder_heads: Annotated[int | None, Field(gt=0, description="Heads of the encoder; none: as many as the decoder has.")] = None,
        encoder_hidden: Annotated[int | None, Field(gt=0, description="Width between the layers of the encoder's mlps; none: as the decoder's.")] = None,
        dropout: Share = 0.0,
    ):
        super().__init__(width, strides, classes, depth, norm, activation)
        if width % 4:
            raise ValueError(f"queries: the sines and cosines of rows and columns need a width that is a multiple of 4, got {width}")
        if not depth:
            raise ValueError("queries: without layers (depth 0) they look at nothing: give it a depth of 1 or more")
        hidden = hidden or 4 * width
        self.dropout = dropout
        self.places = nn.Parameter(torch.zeros(queries, width))
        self.encoder = nn.ModuleList(
            SetLayer(width, encoder_heads or heads, encoder_hidden or hidden, activation, dropout, False) for _ in range(depth if encoder is None else encoder)
        )
        self.decoder = nn.ModuleList(SetLayer(width, heads, hidden, activation, dropout, True) for _ in range(depth))
        self.norm = LayerNorm(width)
        self.answer = Linear(width, classes + 1)
        self.box = nn.ModuleList(Linear(width, width if i < 2 else 4) for i in range(3))

    @staticmethod
    def gives(arguments: Mapping[str, Any]) -> dict[str, str]:
        return {"set_boxes": "boxes B S L 4", "set_logits": "logits B S L M"}

    @staticmethod
    def traits(arguments: Mapping[str, Any]) -> set[str]:
        return {"dropout"} if arguments["dropout"] else set()

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int], given: Tensor | None = None) -> dict[str, Tensor]:
        coarsest = maps[-1]
        at = sines(coarsest)
        seen = F.dropout(coarsest.flatten(2).transpose(1, 2), self.dropout, self.training)
        for layer in self.encoder:
            seen = layer(seen, at)
        places = self.places.to(seen.dtype).expand(seen.shape[0], -1, -1)
        x, said = torch.zeros_like(places), []
        for layer in self.decoder:
            x = layer(x, places, seen, at)
            said.append(self.norm(x))
        hidden = torch.stack(said, 1)                                                     # (B, S, L, D)
        logits = self.answer(hidden)
        boxes = hidden
        for layer in self.box[:-1]:
            boxes = F.relu(layer(boxes))
        boxes = corners(self.box[-1](boxes).to(torch.promote_types(hidden.dtype, torch.float32)).sigmoid(), size)
        return {"boxes": boxes[:, -1], "logits": alone(logits[:, -1]), "set_boxes": boxes, "set_logits": logits}

    def initialise(self, seed: int, place: str) -> None:
        """Queries N(0, 1), maps as Glorot and Bengio have them."""
        normal(self.places, 1.0, seed, f"{place}.places")
        for name, part in self.named_modules():
            if isinstance(part, Linear):
                glorot(part.weight, seed, f"{place}.{name}.weight")


def corners(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) as middle and extent, shares of an image of this height and width → corners in its pixels."""
    across = torch.tensor([size[1], size[0]], dtype=boxes.dtype, device=boxes.device)
    middle, extent = boxes[..., :2] * across, boxes[..., 2:] * across
    return torch.cat([middle - extent / 2, middle + extent / 2], -1)


def sines(x: Tensor, temperature: float = 10_000.0) -> Tensor:
    """(1, h · w, C) of a map (B, C, h, w): where its pixels lie. Of row r of h, 2π (r + 1) / h over the powers 10000^(4i / C), sine and cosine in turn; of columns likewise."""
    _, channels, height, width = x.shape
    half = channels // 2
    powers = temperature ** (2 * (torch.arange(half, device=x.device) // 2) / half)
    found = []
    for count in (height, width):
        angles = torch.arange(1, count + 1, device=x.device, dtype=torch.float32)[:, None] / (count + 1e-6) * 2 * math.pi / powers
        found.append(torch.stack([angles[:, 0::2].sin(), angles[:, 1::2].cos()], -1).flatten(1))
    down, right = found[0][:, None].expand(-1, width, -1), found[1][None].expand(height, -1, -1)
    return torch.cat([down, right], -1).flatten(0, 1)[None].to(x.dtype)
