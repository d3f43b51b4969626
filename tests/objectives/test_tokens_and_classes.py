"""The losses of tokens, of hidden tokens, of classes and of numbers are those that transformers gives; which tokens are hidden, and how, is counted."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.interop.test_encoders import ours_of, theirs

from ftheta.architectures.architecture import call
from ftheta.core.contract import PADDING, Batch, Loss
from ftheta.core.random import Draws
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import MASK, Bytes
from ftheta.evaluation.probes.small import scatter
from ftheta.interop.huggingface.gpt2 import GPT2
from ftheta.interop.mapping import to_ours
from ftheta.objectives.classification import Classification
from ftheta.objectives.language import NextToken
from ftheta.objectives.masked import Masked
from ftheta.objectives.objective import Objective, Phase
from ftheta.objectives.regression import Regression
from wordpiece import VOCAB

transformers = pytest.importorskip("transformers")


@torch.no_grad()
def loss_of(objective: Objective, made: Any, batch: Batch) -> Loss:
    return objective.loss(made, lambda part, **more: call(made, part, **more), batch, Phase("main"))


def mean(found: Loss) -> float:
    assert found.count is not None
    return float(found.total) / float(found.count)


def tokens_of(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(4, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_the_loss_of_next_tokens_also_of_documents_side_by_side() -> None:
    there = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=VOCAB, n_embd=24, n_layer=2, n_head=3, n_positions=20)).eval()
    scatter(there, 0, 0.3)
    family = GPT2()
    config = family.import_config({**there.config.to_dict(), "architectures": ["GPT2LMHeadModel"]})
    made = config.build().eval()
    made.load_theta(to_ours(family.lines(config), {name: value for name, value in there.state_dict().items() if name != "lm_head.weight"}, made.theta()))
    tokens = tokens_of(3, 18)
    found = loss_of(NextToken(), made, {"tokens": tokens})
    assert found.count == 3 * 17 and mean(found) == pytest.approx(float(there(tokens, labels=tokens).loss), rel=1e-6)
    documents = torch.tensor([[0] * 7 + [1] * 11, [0] * 18, [0] * 12 + [PADDING] * 6])
    cuts = [tokens[0, :7], tokens[0, 7:], tokens[1], tokens[2, :12]]
    total = sum(float(there(cut[None], labels=cut[None]).loss) * (len(cut) - 1) for cut in cuts)
    found = loss_of(NextToken(), made, {"tokens": tokens, "documents": documents})
    assert found.count == sum(len(cut) - 1 for cut in cuts) and float(found.total) == pytest.approx(total, rel=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra"])
def test_the_loss_of_hidden_tokens(family: str) -> None:
    there = theirs(family, 0, "ForMaskedLM")
    made = ours_of(there)[1]
    objective = Masked(rate=0.3, mask_id=4)                                               # 1 is RoBERTa's padding
    batch = objective.prepare({"tokens": tokens_of(4, 16)}, Draws(torch.arange(4), 4, "test"))
    labels = batch["targets"].masked_fill(~batch["chosen"], -100)
    assert mean(loss_of(objective, made, batch)) == pytest.approx(float(there(batch["tokens"], labels=labels).loss), rel=1e-6)


def test_of_the_hidden_tokens_most_are_masked_some_are_others_and_some_stay() -> None:
    rows, length = 500, 64
    tokens = torch.arange(4, 4 + length).expand(rows, length).contiguous()
    batch = Masked().prepare({"tokens": tokens}, Draws(torch.arange(rows), rows, "step", 0))
    chosen, shown = batch["chosen"], batch["tokens"]
    assert torch.equal(batch["targets"], tokens) and torch.equal(shown[~chosen], tokens[~chosen])

    def near(found: float, share: float, of: int) -> bool:
        return abs(found / of - share) <= 4 * math.sqrt(share * (1 - share) / of)

    count = int(chosen.sum())
    assert near(count, 0.15, rows * length)
    masked, kept = int((shown[chosen] == MASK).sum()), int((shown[chosen] == tokens[chosen]).sum())
    assert near(masked, 0.8, count) and near(kept, 0.1 + 0.1 / length, count)             # another token of the row may be the same
    again = Masked().prepare({"tokens": tokens}, Draws(torch.arange(rows), rows, "step", 0))
    later = Masked().prepare({"tokens": tokens}, Draws(torch.arange(rows), rows, "step", 1))
    assert torch.equal(again["tokens"], shown) and not torch.equal(later["chosen"], chosen)
    assert near(int((later["chosen"] & chosen).sum()), 0.15**2, rows * length)             # others each time a text is seen


def test_tokens_of_the_whole_vocabulary_stand_for_some_of_the_hidden() -> None:
    processor = TextProcessor(Bytes().train([]))
    told, tokens = Masked(rate=0.5).with_tokens(processor), torch.full((500, 64), 70)
    batch = told.prepare({"tokens": tokens}, Draws(torch.arange(500), 500, "step", 0))
    others = batch["tokens"][batch["chosen"] & (batch["tokens"] != processor.id("mask")) & (batch["tokens"] != 70)]
    counts = torch.bincount(others, minlength=processor.vocab).double()
    counts = torch.cat([counts[:1], counts[2:70], counts[71:]])                          # without the mask, which stands for most, and the token itself
    expected = counts.mean()
    assert len(counts) == processor.vocab - 2 and float(((counts - expected) ** 2).sum() / expected) < len(counts) + 5 * math.sqrt(2 * len(counts))      # χ²


@torch.no_grad()
@pytest.mark.parametrize("labels", [4, 1])
def test_the_loss_of_classes_and_of_numbers(labels: int) -> None:
    there = theirs("bert", 0, "ForSequenceClassification", labels)
    made = ours_of(there)[1]
    tokens = tokens_of(5, 12)
    if labels == 1:
        objective, name, label = Regression(), "target", torch.randn(5, generator=torch.Generator().manual_seed(1))
    else:
        objective, name, label = Classification(), "label", torch.tensor([0, 3, 1, 1, 2])
    expected = float(there(tokens, labels=label).loss)
    assert mean(loss_of(objective, made, {"tokens": tokens, name: label})) == pytest.approx(expected, rel=1e-6)
