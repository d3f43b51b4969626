"""Metrics of masks against scikit-learn on all pixels at once, with pixels of no known class and a class that is nowhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, jaccard_score
from torch import Tensor

from ftheta.architectures.architecture import Outputs
from ftheta.core.errors import UsageError
from ftheta.data.images import MaskDataset
from ftheta.data.processors.image import ImageProcessor
from ftheta.evaluation.metrics.masks import Dice, MeanIoU, PixelAccuracy, PixelMetric
from ftheta.evaluation.metrics.metric import Subject
from ftheta.models.model import Model
from observe import subjects

IMAGES = torch.randint(256, (9, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
MASKS = torch.randint(3, (9, 8, 8), generator=torch.Generator().manual_seed(1)).byte()
MASKS[0, :3] = 255
MASKS[2] = 1


def subject(masks: Tensor = MASKS) -> Subject:
    """A model that sees classes 0 to 2 in the brightness of pixels, and four names, of which the last is of nothing."""
    model = subjects("masks").model.architecture

    def forward(image: Tensor) -> Outputs:
        return Outputs({"logits": torch.nn.functional.one_hot((image[:, 0] * 2.999).long(), 4).movedim(-1, 1).float()})

    model.forward = forward                                                               # type: ignore[method-assign]
    pictures = MaskDataset(IMAGES, masks, ("a", "b", "c", "d"), ImageProcessor((8, 8), 1))
    return Subject(Model(model, ImageProcessor((8, 8), 1), "image-segmentation"), {"test": pictures}, {}, 0)


@pytest.mark.parametrize(("metric", "reference"), [
    (PixelAccuracy(), accuracy_score), (MeanIoU(), lambda a, b: jaccard_score(a, b, average="macro")), (Dice(), lambda a, b: f1_score(a, b, average="macro")),
])
def test_equals_scikit_learn(metric: PixelMetric, reference) -> None:                     # type: ignore[no-untyped-def]
    truth, taken = MASKS.flatten().numpy(), (IMAGES.float() / 255 * 2.999).long().flatten().numpy()
    known = truth != 255
    result = metric.measure(subject())
    (found,) = result.measurements
    assert found.value == pytest.approx(reference(truth[known], taken[known]), abs=1e-12)
    assert found.low <= found.value <= found.high and found.n == 9
    assert result.pictures["masks.png"][:4] == b"\x89PNG"
    assert "- c: " in result.texts[f"{found.name} by class"] and "- d: " not in result.texts[f"{found.name} by class"]


def test_pictures_are_looked_at_once_for_all_three() -> None:
    one = subject()
    tables = [metric.measure(one) and one.answers[("confusions", 4)] for metric in (PixelAccuracy(), MeanIoU(), Dice())]
    assert tables[0] is tables[1] is tables[2]
    assert np.array_equal(tables[0].sum((1, 2)), (MASKS != 255).sum((1, 2)))


def test_nothing_known_is_refused() -> None:
    with pytest.raises(UsageError, match="no pixel of the test split has a known class"):
        Dice().measure(subject(torch.full_like(MASKS, 255)))
