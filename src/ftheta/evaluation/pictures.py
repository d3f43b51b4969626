"""Pictures with what is in them drawn over, for reports."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ftheta.core.contract import PADDED

COLOURS = np.array([
    (0.12, 0.47, 0.71), (1.0, 0.5, 0.05), (0.17, 0.63, 0.17), (0.84, 0.15, 0.16), (0.58, 0.4, 0.74), (0.55, 0.34, 0.29), (0.89, 0.47, 0.76), (0.74, 0.74, 0.13),
])
"""One class after the other; begins anew where there are more."""
COVER = 0.45
"""How much of a picture the colour of a class hides."""


def shown(image: Tensor) -> np.ndarray:
    """(H, W, 3) in [0, 1] of a picture (C, H, W) of any range."""
    values = image.float()
    low, high = values.amin(), values.amax()
    grey = ((values - low) / (high - low).clamp_min(1e-12)).clamp(max=1).permute(1, 2, 0).numpy()
    return grey[:, :, :3] if grey.shape[2] >= 3 else grey[:, :, :1].repeat(3, 2)


def coloured(image: Tensor, mask: Tensor) -> np.ndarray:
    """(H, W, 3): the picture (C, H, W) under the colours of its classes (H, W); where there is none it stays as it is."""
    base, classes = shown(image), mask.numpy()
    over = base * (1 - COVER) + COLOURS[classes % len(COLOURS)] * COVER
    return np.where((classes == PADDED)[:, :, None], base, over).clip(0, 1)               # 1 + 1e-8 may come of it


def masks_over(pictures: Sequence[tuple[Tensor, Tensor, Tensor]], names: Sequence[str]) -> bytes:
    """A PNG: for each (picture, what is there, what the model takes it for) a row of the three, with a legend."""
    pyplot = plain_pyplot()
    from matplotlib.patches import Patch

    figure, axes = pyplot.subplots(len(pictures), 3, figsize=(9.6, 3.2 * len(pictures) + 0.5), squeeze=False, layout="constrained")
    for row, (image, mask, taken) in zip(axes, pictures, strict=True):
        for axis, drawn in zip(row, (shown(image), coloured(image, mask), coloured(image, taken)), strict=True):
            axis.imshow(drawn)
            axis.axis("off")
    for axis, title in zip(axes[0], ("picture", "as labelled", "as the model sees it"), strict=True):
        axis.set_title(title)
    legend = [Patch(color=COLOURS[i % len(COLOURS)], label=name) for i, name in enumerate(names)]
    figure.legend(handles=legend, loc="outside lower center", ncols=min(6, len(names)))
    return png(figure)


def plain_pyplot() -> Any:
    """matplotlib's pyplot, drawing without a display."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def png(figure: Any) -> bytes:
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=110, bbox_inches="tight")
    plain_pyplot().close(figure)
    return sink.getvalue()


def boxes_over(pictures: Sequence[tuple[Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]], names: Sequence[str]) -> bytes:
    """A PNG of pictures with (boxes, labels) that are there, thin and white, and those that the model found, in the colours of their classes; with a legend."""
    pyplot = plain_pyplot()
    from matplotlib.patches import Patch, Rectangle

    columns = min(3, len(pictures))
    figure, axes = pyplot.subplots(-(-len(pictures) // columns), columns, figsize=(4.2 * columns, 3.2 * -(-len(pictures) // columns) + 0.5), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, (image, there, found) in zip(axes.flat, pictures, strict=False):
        axis.imshow(shown(image), extent=(0, image.shape[-1], image.shape[-2], 0))        # edges of pixels at whole numbers, as boxes have them
        for (boxes, labels), real in ((there, True), (found, False)):
            for (left, top, right, bottom), label in zip(boxes.tolist(), labels.tolist(), strict=True):
                how = {"edgecolor": "white", "linewidth": 2.4} if real else {"edgecolor": COLOURS[label % len(COLOURS)], "linewidth": 1.2}
                axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, **how))
    legend = [Patch(color=COLOURS[i % len(COLOURS)], label=name) for i, name in enumerate(names)]
    figure.legend(handles=[*legend, Patch(facecolor="lightgrey", edgecolor="white", label="as labelled (white)")], loc="outside lower center", ncols=min(6, len(legend) + 1))
    return png(figure)
