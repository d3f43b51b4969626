"""Cross-entropy of class labels, -log softmax(z)_label, over images, texts, answers to choose among, rows of a table or nodes of a graph.

A label is a class, or a share of each class (B, K), as mixed pictures have: then Σ_k -q_k log softmax(z)_k. With label smoothing ε the
target is (1 - ε) on the label and ε/K everywhere (Szegedy et al. 2015, arXiv:1512.00567).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ftheta.core.contract import Batch, Loss, Needs
from ftheta.objectives.objective import NO_GRADIENTS, Choosing, Phase, Places, Run


class Classification(Choosing):
    """Which of K classes each example (or, in a graph, each node of the training mask) belongs to."""

    kind: Literal["classification"] = "classification"
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Probability mass spread evenly over all classes."""

    def needs(self) -> Needs:
        return Needs(reads={"label": "label *", "mask?": "mask *"}, wants={"logits": "logits * K"},
                     traits={"gradients": NO_GRADIENTS})

    def places(self, model: nn.Module, run: Run, batch: Batch) -> Places:
        outputs, label = run(batch), batch["label"]
        logits = outputs["logits"]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if "mask" in batch:
            logits, label = logits[batch["mask"]], label[batch["mask"]]
        return Places(outputs, logits, nn.Identity(), label, torch.ones(len(label), device=label.device))

    def wrong(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.smoothing)

    def loss(self, model: nn.Module, run: Run, batch: Batch, phase: Phase) -> Loss:
        _, logits, _, label, _ = self.places(model, run, batch)
        total = F.cross_entropy(logits, label, reduction="sum", label_smoothing=self.smoothing)
        right = (logits.detach().argmax(-1) == (label.argmax(-1) if label.is_floating_point() else label)).sum()
        return Loss(total, len(label), {"accuracy": (right, len(label))})

    def tasks(self) -> dict[str, str]:
        return {"image": "image-classification", "features": "tabular-classification", "nodes": "node-classification", "tokens": "text-classification",
                "tokens ids B K T": "multiple-choice"}
