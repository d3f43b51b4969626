"""Pictures for the report, drawn by matplotlib without a display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from torch import Tensor

from ftheta.evaluation.pictures import png


def beside(images: Tensor) -> bytes:
    """Pictures (N, C, H, W), channels 1 or 3, next to each other, each stretched to its own range."""
    figure, axes = plt.subplots(1, len(images), figsize=(1.8 * len(images), 1.8), squeeze=False)
    for axis, image in zip(axes[0], images.float(), strict=True):
        low, high = image.amin(), image.amax()
        axis.imshow(((image - low) / (high - low).clamp_min(1e-12)).permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray")
        axis.axis("off")
    return png(figure)


def curves(lines: Sequence[dict[str, Any]], title: str) -> bytes:
    """Losses and other reported quantities against steps, and, where there is one, the validation loss."""
    losses = sorted({key for line in lines for key in line if key.endswith("loss") and key != "validation_loss"})
    others = [key for key in ("accuracy", "mean_return", "episode_return", "reward") if any(key in line for line in lines)]
    figure, axes = plt.subplots(1, 1 + bool(others), figsize=(6.4 * (1 + bool(others)), 3.8), squeeze=False)
    left = axes[0][0]
    for key in losses:
        draw(left, lines, key, key.replace("_", " "))
    draw(left, lines, "validation_loss", "validation loss", marker="o", markersize=3)
    left.set(xlabel="step", ylabel="loss", title=title)
    values = sorted(line[key] for line in lines for key in [*losses, "validation_loss"] if line.get(key) is not None)
    if values and values[0] > 0 and values[-1] / values[0] > 8:
        left.set_yscale("log")
    left.legend()
    left.grid(alpha=0.3)
    if others:
        for key in others:
            draw(axes[0][1], lines, key, key.replace("_", " "))
        axes[0][1].set(xlabel="step")
        axes[0][1].legend()
        axes[0][1].grid(alpha=0.3)
    return png(figure)


def draw(axes: Any, lines: Sequence[dict[str, Any]], key: str, label: str, marker: str = "", markersize: float = 0) -> None:
    points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), label=label, marker=marker, markersize=markersize, linewidth=1.3)
