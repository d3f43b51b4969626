"""Tagging and spans against references written out in numpy, and against transformers' losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ftheta.core.random import Draws
from ftheta.objectives.masked import Masked
from ftheta.objectives.objective import Phase
from ftheta.objectives.reading import Spans, Tagging

DRAWS = torch.Generator().manual_seed(0)
LOGITS = torch.randn(4, 7, 5, generator=DRAWS, dtype=torch.float64)
LABEL = torch.randint(-1, 5, (4, 7), generator=DRAWS)
SPAN = torch.randn(4, 7, 2, generator=DRAWS)
DOCUMENTS = torch.tensor([[0] * 7, [0] * 5 + [-1] * 2, [-1] * 3 + [0] * 4, [0] * 7])
FIRST, LAST = torch.tensor([0, 4, 3, 6]), torch.tensor([2, 4, 6, 6])


def log_softmax(z: np.ndarray) -> np.ndarray:
    return z - np.log(np.exp(z - z.max()).sum()) - z.max()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_tagging_is_the_sum_over_tokens_that_count(smoothing: float) -> None:
    loss = Tagging(smoothing=smoothing).loss(nn.Identity(), lambda batch: {"logits": LOGITS}, {"label": LABEL}, Phase("main"))
    total, count, right = 0.0, 0, 0
    for row, label in zip(LOGITS.float().numpy().reshape(-1, 5), LABEL.flatten().tolist(), strict=True):
        if label >= 0:
            log_p = log_softmax(row.astype(np.float64))
            total -= (1 - smoothing) * log_p[label] + smoothing * log_p.mean()
            count, right = count + 1, right + int(row.argmax() == label)
    assert 0 < count < LABEL.numel() and loss.count == count
    assert float(loss.total) == pytest.approx(total, rel=1e-6)
    assert [float(value) for value in loss.metrics["accuracy"]] == [right, count]


def test_tagging_without_a_tag_that_counts_is_nothing() -> None:
    loss = Tagging().loss(nn.Identity(), lambda batch: {"logits": LOGITS}, {"label": torch.full_like(LABEL, -1)}, Phase("main"))
    assert float(loss.total) == 0.0 and loss.count == 0


def test_spans_are_the_mean_of_both_ends_and_padding_has_no_part_in_them() -> None:
    batch = {"first": FIRST, "last": LAST, "documents": DOCUMENTS}
    loss = Spans().loss(nn.Identity(), lambda batch: {"span": SPAN}, batch, Phase("main"))
    total = 0.0
    for row, documents, first, last in zip(SPAN.double().numpy(), DOCUMENTS.numpy(), FIRST.tolist(), LAST.tolist(), strict=True):
        real = documents >= 0
        before = int((~real[: int(real.argmax())]).sum())
        total -= (log_softmax(row[real, 0])[first - before] + log_softmax(row[real, 1])[last - before]) / 2
    assert float(loss.total) == pytest.approx(total, rel=1e-6) and loss.count == 4
    moved = SPAN.masked_fill((DOCUMENTS < 0)[:, :, None], 50.0)
    again = Spans().loss(nn.Identity(), lambda batch: {"span": moved}, batch, Phase("main"))
    assert torch.equal(again.total, loss.total)


def test_losses_equal_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    facts = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 8}
    tokens = torch.randint(20, (4, 7), generator=DRAWS)
    with torch.no_grad():
        model = transformers.BertForTokenClassification(transformers.BertConfig(num_labels=5, **facts)).eval()
        theirs = model(tokens, labels=LABEL.masked_fill(LABEL < 0, -100))
        ours = Tagging().loss(nn.Identity(), lambda batch: {"logits": theirs.logits}, {"label": LABEL}, Phase("main"))
        assert float(ours.total / ours.count) == pytest.approx(float(theirs.loss), rel=1e-6)
        model = transformers.BertForQuestionAnswering(transformers.BertConfig(num_labels=2, **facts)).eval()
        theirs = model(tokens, start_positions=FIRST, end_positions=LAST)
        span = torch.stack([theirs.start_logits, theirs.end_logits], -1)
        ours = Spans().loss(nn.Identity(), lambda batch: {"span": span}, {"first": FIRST, "last": LAST}, Phase("main"))
        assert float(ours.total / ours.count) == pytest.approx(float(theirs.loss), rel=1e-6)


def test_padding_is_never_hidden() -> None:
    batch = {"tokens": torch.randint(4, 20, (4, 7), generator=DRAWS), "documents": torch.tensor([[0] * 7, [0] * 3 + [-1] * 4, [0] + [-1] * 6, [0] * 6 + [-1]])}
    prepared = Masked(rate=0.9).prepare(batch, Draws(torch.arange(4), 4, 0, "test"))
    assert prepared["chosen"].any(1).all() and not (prepared["chosen"] & (batch["documents"] < 0)).any()
