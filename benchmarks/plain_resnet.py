"""A residual network and random changes as one writes them in plain PyTorch: no part of ftheta is used here.

The network has the shape of preset `resnet/cifar-fast`, its parameters in the same order. Changes are made to a whole pass at once, which costs least: pictures
are mirrored by halves, moved by up to 3 pixels with mirrored edges, one group of equal moves at a time, and a square of 8×8 pixels is blanked.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS, STEM = (64, 128, 256), 32
MOVE, BLANK = 3, 8


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """relu(skip(x) + inner(x)), at half the size."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first, self.second, self.skip = convolution(inputs, outputs, 3, 2), convolution(outputs, outputs, 3), convolution(inputs, outputs, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.skip(x) + self.second(F.relu(self.first(x), inplace=True)), inplace=True)


class PlainResNet(nn.Module):
    """image (B, 3, H, W) → logits (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(3, STEM, 3)
        self.blocks = nn.Sequential(*(Block(*sizes) for sizes in itertools.pairwise((STEM, *WIDTHS))))
        self.head = nn.Linear(WIDTHS[-1], 10)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.blocks(F.relu(self.stem(image), inplace=True)).mean((2, 3)))

    @torch.no_grad()
    def take(self, values: Sequence[Tensor]) -> None:
        """Take over parameters in the order of ours."""
        for mine, other in zip(self.parameters(), values, strict=True):
            mine.copy_(other)


def sgd(model: nn.Module, rate: float) -> torch.optim.SGD:
    """Nesterov's, as for residual networks on CIFAR; matrices decay, vectors do not; the fused kernel."""
    matrices, vectors = [p for p in model.parameters() if p.ndim >= 2], [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 5e-4}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True, fused=True)


def changed(images: Tensor) -> Tensor:
    """One pass of pictures (N, 3, H, W) in [0, 1], each changed anew."""
    count, _, height, width = images.shape
    images = torch.where((torch.rand(count) < 0.5)[:, None, None, None], images.flip(3), images)
    padded, moves, found = F.pad(images, (MOVE,) * 4, mode="reflect"), torch.randint(2 * MOVE + 1, (count, 2)), torch.empty_like(images)
    for down, right in itertools.product(range(2 * MOVE + 1), repeat=2):
        rows = ((moves[:, 0] == down) & (moves[:, 1] == right)).nonzero()[:, 0]
        found[rows] = padded[rows, :, down : down + height, right : right + width]
    corner = torch.randint(height - BLANK + 1, (count, 2))
    down, right = (torch.arange(side) - corner[:, axis, None] for axis, side in enumerate((height, width)))
    blank = ((down >= 0) & (down < BLANK))[:, :, None] & ((right >= 0) & (right < BLANK))[:, None]
    return found.masked_fill_(blank[:, None], 0.0)


def batches(images: Tensor, labels: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches without end of pictures (N, 3, H, W) uint8, in a new order and changed anew every pass."""
    while True:
        order = torch.randperm(len(images))
        epoch = changed(images[order].float() / 255).contiguous(memory_format=torch.channels_last)
        for start in range(0, len(order) - size + 1, size):
            yield epoch[start : start + size], labels[order[start : start + size]]
