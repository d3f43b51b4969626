"""Models that find their parameters by their own algorithm: one call on all examples, the same facts reported as for the trainer."""

from __future__ import annotations

import time
from typing import Any

import torch

from ftheta.architectures.architecture import Estimator
from ftheta.data.source import Dataset


def fit_estimator(model: Estimator, dataset: Dataset, seed: int) -> dict[str, Any]:
    """Fit on the whole training split; what it took and what the algorithm has to say."""
    batch = dataset.batch(torch.arange(len(dataset)))
    start = time.perf_counter()
    facts = model.fit(batch, seed)
    seconds = time.perf_counter() - start
    return {
        "parameters": sum(value.numel() for value in model.theta().values()), "trainable": 0, "units": len(dataset), "unit": "example", "seconds": seconds,
        "units_per_second": len(dataset) / max(seconds, 1e-9), "fit": facts,
    }
