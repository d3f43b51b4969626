"""Every step of choosing a token equals transformers' processor of that name."""

import pytest
import torch

from ftheta.inference import sampling as ours
from ftheta.inference.sampling import Sampling, adjusted, choose

theirs = pytest.importorskip("transformers.generation.logits_process")
V = 50


def cases():
    draws = torch.Generator().manual_seed(0)
    for scale in (0.1, 1.0, 5.0):
        for _ in range(4):
            yield torch.randn(V, generator=draws, dtype=torch.float64) * scale, torch.randint(V, (14,), generator=draws).tolist()


def kept(ranked, order):
    mask = torch.zeros(V, dtype=torch.bool)
    mask[order[ranked > 0]] = True
    return mask


@pytest.mark.parametrize("value", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("name, other", [("top_p", "TopPLogitsWarper"), ("min_p", "MinPLogitsWarper"), ("typical", "TypicalLogitsWarper")])
def test_left_out_tokens(name, other, value):
    for logits, _ in cases():
        ranked, order = logits.softmax(-1).sort(descending=True, stable=True)
        expected = getattr(theirs, other)(value)(torch.zeros(1, 0, dtype=torch.long), logits[None])[0]
        assert torch.equal(kept(getattr(ours, name)(ranked, value), order), expected > float("-inf"))


def test_top_k():
    for logits, _ in cases():
        assert torch.equal(ours.top_k(logits, 7), theirs.TopKLogitsWarper(7)(torch.zeros(1, 0), logits[None])[0])


@pytest.mark.parametrize("fields, other", [
    ({"repetition": 1.3}, lambda: theirs.RepetitionPenaltyLogitsProcessor(1.3)),
    ({"repetition": 0.5}, lambda: theirs.RepetitionPenaltyLogitsProcessor(0.5)),
    ({"no_repeat": 1}, lambda: theirs.NoRepeatNGramLogitsProcessor(1)), ({"no_repeat": 2}, lambda: theirs.NoRepeatNGramLogitsProcessor(2)),
    ({"no_repeat": 3}, lambda: theirs.NoRepeatNGramLogitsProcessor(3)),
    ({"bias": {3: 2.5, 7: -4.0}}, lambda: theirs.SequenceBiasLogitsProcessor([[[3], 2.5], [[7], -4.0]])),
    ({"least": 9}, lambda: theirs.MinNewTokensLengthLogitsProcessor(5, 9, 4, "cpu")), ({"least": 8}, lambda: theirs.MinNewTokensLengthLogitsProcessor(5, 8, 4, "cpu")),
], ids=lambda value: str(value) if isinstance(value, dict) else "theirs")
def test_changed_logits(fields, other):
    for logits, tokens in cases():
        tokens[-2:] = tokens[:2]                                                          # so that some run of two comes again
        expected = other()(torch.tensor([tokens[:13]]), logits[None].float())[0]
        assert torch.equal(adjusted(logits.float(), Sampling(**fields), tokens[:5], tokens[5:13], 4), expected)


def test_presence_and_frequency_count_the_new_text_only():
    logits = torch.zeros(V)
    found = adjusted(logits, Sampling(presence=0.5, frequency=0.25), [1, 2], [3, 3, 4], None)
    assert found[:6].tolist() == [0, 0, 0, -1.0, -0.75, 0]


def test_draws_follow_the_probabilities():
    logits = torch.tensor([2.0, 1.0, 0.5, -1.0, -3.0])
    for fields in ({"top_p": 1.0}, {"top_p": 1.0, "typical": 0.5, "temperature": 1.0}, {"min_p": 0.3}, {"top_k": 2}):
        setting = Sampling(**fields)
        counts = torch.bincount(torch.tensor([choose(logits, setting, i) for i in range(4000)]), minlength=5) / 4000
        ranked, order = ours.top_k((logits / setting.temperature).double(), setting.top_k or 5).softmax(-1).sort(descending=True)
        ranked = ours.typical(ours.min_p(ours.top_p(ranked, setting.top_p), setting.min_p), setting.typical)
        expected = torch.zeros(5, dtype=torch.float64).index_copy(0, order, ranked / ranked.sum())
        assert (counts - expected).abs().max() < 0.03 and not counts[expected == 0].any()
