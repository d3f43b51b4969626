"""Judging generated pictures by a classifier trained on real ones, which is itself judged on real pictures it has not seen.

A classifier that knows only real pictures is sure of noise too. This one has one more class, "none of these", for pictures made to be
wrong: blends of two classes, real pictures with their pixels in another order, noise. A generated picture is *clear* when one of the
real classes gets at least 90 %. The share of clear pictures says how many look like something, the classes found whether everything
is there, and the variety whether there is more than one picture of each: the variance within the classes over that of real pictures,
about 1 for good samples and 0 when each class is a single picture. The same share over real pictures is the most to be hoped for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.core.errors import DataError
from ftheta.data.split import stratified

CLEAR = 0.9
"""Probability of the likeliest class from which a picture counts as clear."""
MOST = 6000
"""Real pictures looked at: more would cost time and change little."""
STEPS, BATCH, RATE = 600, 128, 3e-3


def judge(images: Tensor, reference_images: Tensor, reference_labels: Tensor, seed: int) -> dict[str, Any]:
    """How real pictures (B, C, H, W) in [0, 1] look, given real ones (N, C, H, W) and their labels (N,). Deterministic.

    Returns per picture `confidence` (B,) and `predicted` class (B,); over all `clear` (share), `classes` (found among the clear ones, in order),
    `variety`; and of the classifier, on held-out real pictures, `reference_accuracy` and `reference_clear`.
    """
    if images.shape[1:] != reference_images.shape[1:]:
        raise DataError(f"generated pictures are {tuple(images.shape[1:])}, real ones {tuple(reference_images.shape[1:])}")
    share = min(1.0, MOST / len(reference_labels))
    parts = stratified(reference_labels, {"train": 0.8 * share, "test": 0.2 * share}, seed)
    classes = int(reference_labels.max()) + 1
    with torch.enable_grad():
        classifier = train(reference_images[parts["train"]].float(), reference_labels[parts["train"]], classes, seed)
    confidence, predicted = probabilities(classifier, images.float()).max(1)
    real, found = probabilities(classifier, reference_images[parts["test"]].float()).max(1)                       # of the real classes
    clear = confidence >= CLEAR
    return {
        "confidence": confidence, "predicted": predicted, "clear": float(clear.float().mean()), "classes": predicted[clear].unique().tolist(),
        "variety": variety(images.float(), predicted, reference_images[parts["train"]].float(), reference_labels[parts["train"]]),
        "reference_accuracy": float((found == reference_labels[parts["test"]]).float().mean()), "reference_clear": float((real >= CLEAR).float().mean()),
    }


def train(images: Tensor, labels: Tensor, classes: int, seed: int) -> nn.Module:
    """A small convolutional classifier of `classes` real classes and, last, none of these."""
    channels, height, width = images.shape[1:]
    stride = 2 if min(height, width) >= 16 else 1
    small = -(-height // (2 * stride)) * -(-width // (2 * stride))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(channels, 24, 5, stride, 2), nn.ReLU(), nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3),
            nn.Linear(48 * small, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, classes + 1),
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 - step / STEPS)
            rows = torch.randint(len(labels), (BATCH,))
            wrong = spoiled(images[rows], labels[rows])
            target = torch.cat([labels[rows], torch.full((len(wrong),), classes)])
            optimizer.zero_grad()
            F.cross_entropy(model(torch.cat([images[rows], wrong])), target).backward()
            optimizer.step()
    return model.eval()


def spoiled(images: Tensor, labels: Tensor) -> Tensor:
    """A quarter as many pictures that are nothing: blends of two classes, shuffled pixels, noise, a third each."""
    number = len(images) // 4
    a, b = images[:number], images[number : 2 * number]
    kind = torch.randint(3, (number,))
    shuffled = a.flatten(1)[:, torch.randperm(a[0].numel())].view_as(a)
    made = torch.stack([(a + b) / 2, shuffled, torch.rand_like(a)])[kind, torch.arange(number)]
    return made[(kind > 0) | (labels[:number] != labels[number : 2 * number])]


@torch.no_grad()
def probabilities(model: nn.Module, images: Tensor) -> Tensor:
    """(B, K) of the real classes; they add up to 1 less the probability of none of these."""
    return torch.cat([model(part).softmax(1)[:, :-1] for part in images.split(512)])


def variety(images: Tensor, classes: Tensor, reference: Tensor, labels: Tensor) -> float:
    """Within-class variance of pictures over that of real ones, averaged over the classes that both have."""
    ratios = []
    for value in labels.unique():
        made, real = images[classes == value], reference[labels == value]
        if len(made) > 1 and len(real) > 1:
            ratios.append(made.var(0).sum() / real.var(0).sum())
    return float(torch.stack(ratios).mean()) if ratios else 0.0
