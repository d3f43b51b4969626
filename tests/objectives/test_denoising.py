"""Span corruption as T5's preprocessing makes it, infilling as BART's: against the algorithms written out naively."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ftheta.core.contract import PADDING, Batch
from ftheta.core.random import Draws
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.trained import BOS, EOS, MASK, PAD, Bytes
from ftheta.objectives.denoising import Denoising
from ftheta.objectives.infilling import Infilling, infilled
from ftheta.objectives.span_corruption import SpanCorruption, behind, noise_mask

LENGTH = 64


def processor(sentinels: int = 100) -> TextProcessor:
    tokenizer = Bytes().train([])
    tokenizer.add_special_tokens([f"<extra_id_{i}>" for i in range(sentinels)])
    return TextProcessor(tokenizer)


PROCESSOR = processor()


def rows(count: int = 6, seed: int = 0) -> Batch:
    """Documents of all lengths end to end, cut into rows wherever they end up, the last row half padding."""
    draws = np.random.default_rng(seed)
    stream, number = [], []
    for i in range(200):
        text = [BOS, *draws.integers(4, 260, draws.integers(0, 60)).tolist(), EOS]
        stream, number = stream + text, number + [i] * len(text)
    tokens, documents = (torch.tensor(values[: count * LENGTH]).view(count, LENGTH) for values in (stream, number))
    tokens[-1, LENGTH // 2 :], documents[-1, LENGTH // 2 :] = PAD, PADDING
    return {"tokens": tokens, "documents": documents}


def prepared(objective: Denoising, batch: Batch, where: slice = slice(None)) -> Batch:
    total = len(batch["tokens"])
    part = {name: value[where] for name, value in batch.items()}
    return objective.with_tokens(PROCESSOR).prepare(part, Draws(torch.arange(total)[where], total, "test"))


def pieces(tokens: Tensor, documents: Tensor) -> list[list[int]]:
    """The documents of a row."""
    found = [tokens[documents == number].tolist() for number in documents.unique().tolist() if number != PADDING]
    return found


def t5_noise_mask(length: int, density: float, mean: float, random: np.random.Generator) -> list[bool]:
    """T5's random_spans_noise_mask, step by step."""
    hidden = min(max(round(length * density), 1), length - 1)
    spans = max(round(hidden / mean), 1)

    def segmentation(items: int, segments: int) -> list[int]:
        marks = [1 if i < segments - 1 else 0 for i in random.permutation(items - 1)]     # shuffled: segments - 1 ones
        segment_of, lengths = 0, [0] * segments
        for mark in [0, *marks]:
            segment_of += mark
            lengths[segment_of] += 1
        return lengths

    hides = segmentation(hidden, spans)
    keeps = segmentation(length - hidden, spans)
    mask: list[bool] = []
    for keep, hide in zip(keeps, hides, strict=True):
        mask += [False] * keep + [True] * hide
    return mask


@pytest.mark.parametrize(("length", "density", "mean"), [(2, 0.15, 3.0), (7, 0.15, 3.0), (100, 0.15, 3.0), (512, 0.15, 3.0), (60, 0.5, 1.0), (33, 0.3, 8.0)])
def test_the_mask_is_t5s(length: int, density: float, mean: float) -> None:
    objective = SpanCorruption(rate=density, span=mean)
    for seed in range(20):
        ours = noise_mask(length, *objective.counts(length), np.random.default_rng(seed))
        assert ours.tolist() == t5_noise_mask(length, density, mean, np.random.default_rng(seed))


def test_hidden_spans_are_replaced_as_in_the_paper() -> None:
    text = np.array([10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20])                         # Thank you for inviting me to your party last week .
    mask = np.isin(text, [12, 13, 18])
    assert behind(text, mask, (901, 902, 903)).tolist() == [10, 11, 901, 14, 15, 16, 17, 902, 19, 20]
    assert behind(text, ~mask, (901, 902, 903)).tolist() == [901, 12, 13, 902, 18, 903]
    assert behind(text[:-2], ~mask[:-2], (901, 902, 903)).tolist() == [901, 12, 13, 902, 18]


@pytest.mark.parametrize("objective", [SpanCorruption(), SpanCorruption(rate=0.5, span=1.0, longest=80), Infilling(), Infilling(rate=0.6, span=1.0, shuffle=False)])
def test_every_document_stays_by_itself_in_rows_of_fixed_width(objective: Denoising) -> None:
    batch = rows()
    made = prepared(objective, batch)
    assert made["source"].shape == (6, LENGTH) and made["tokens"].shape == (6, objective.room(LENGTH))
    for row in range(6):
        given = [[i for i in text if i >= 4] for text in pieces(batch["tokens"][row], batch["documents"][row])]
        sources, answers = pieces(made["source"][row], made["source_documents"][row]), pieces(made["tokens"][row], made["documents"][row])
        assert len(sources) == len(answers) > 0
        assert all(source[-1] == EOS and answer[0] == BOS and answer[-1] == EOS for source, answer in zip(sources, answers, strict=True))
        whole = [restored(source[:-1], answer[1:-1], objective) for source, answer in zip(sources, answers, strict=True)]
        kept = [text for text in given if len(text) > (1 if isinstance(objective, SpanCorruption) else 0)]
        assert whole[:-1] == kept[: len(whole) - 1]
        assert whole[-1] == kept[len(whole) - 1][: len(whole[-1])]                        # the last may be cut where the row ends
        assert sum(map(len, whole)) >= 0.6 * sum(map(len, kept))
        for ids, numbers in (("source", "source_documents"), ("tokens", "documents")):
            assert set(made[ids][row][made[numbers][row] == PADDING].tolist()) <= {PAD}


def restored(source: list[int], answer: list[int], objective: Denoising) -> list[int]:
    """The text that source and answer were made of."""
    if isinstance(objective, Infilling):
        assert len(source) <= len(answer)
        kept = [i for i in source if i != MASK]
        assert len(kept) == len(answer) - math.ceil(objective.rate * len(answer)) and not set(kept) - set(answer)
        return answer
    sentinels = [PROCESSOR.id(f"<extra_id_{i}>") for i in range(100)]
    spans: dict[int, list[int]] = {}
    last = -1
    for i in answer:
        if i in sentinels:
            assert i == sentinels[len(spans)]
            spans[last := i] = []
        else:
            spans[last].append(i)
    return [found for i in source for found in spans.get(i, [i])]


@pytest.mark.parametrize("objective", [SpanCorruption(), Infilling()])
def test_a_row_is_made_the_same_in_any_part_of_the_batch(objective: Denoising) -> None:
    batch = rows()
    whole, parts = prepared(objective, batch), [prepared(objective, batch, slice(a, b)) for a, b in ((0, 1), (1, 4), (4, 6))]
    for name, value in whole.items():
        assert torch.equal(value, torch.cat([part[name] for part in parts]))
    wider = {name: torch.nn.functional.pad(value, (0, 5), value=PAD if name == "tokens" else PADDING) for name, value in batch.items()}
    other = prepared(objective, wider)
    for name in ("source", "source_documents"):                                           # padding to another width draws nothing else
        assert torch.equal(other[name][-1, :LENGTH], whole[name][-1])


def test_infilling_hides_spans_as_bart_does() -> None:
    """Lengths are Poisson's, the last one cut; one mask each, empty ones too; every order of kept tokens and spans is possible."""
    random, text = np.random.default_rng(0), np.arange(10, 60)
    lengths, places = [], np.zeros(60)
    for _ in range(3000):
        found = infilled(text, 0.3, 3.0, MASK, random).tolist()
        kept = [i for i in found if i != MASK]
        assert len(kept) == 35 and kept == sorted(kept)
        before = 9
        for at, i in enumerate(found):
            if i == MASK:
                places[at] += 1
            else:
                if at and found[at - 1] == MASK and (at < 2 or found[at - 2] != MASK):     # a mask by itself says how long its span was
                    lengths.append(i - before - 1)
                before = i
    wanted: list[int] = []
    for _ in range(3000):
        spans: list[int] = []
        while sum(spans) < 15:
            spans.append(int(random.poisson(3.0)))
        wanted += [*spans[:-1], 15 - sum(spans[:-1])]
    for length in range(6):
        assert lengths.count(length) / len(lengths) == pytest.approx(wanted.count(length) / len(wanted), abs=0.02)
    assert lengths.count(0) > 100
    assert places[:38].min() > 0.7 * places[:38].mean()


def test_sentences_change_places_and_the_answer_does_not() -> None:
    text = "One is here. Two is there! Three? 四。五。"
    ids = PROCESSOR.encode(text)
    batch = {"tokens": torch.tensor([ids] * 40), "documents": torch.zeros(40, len(ids), dtype=torch.long)}
    made = prepared(Infilling(rate=0.0), batch)
    sources = {PROCESSOR.decode(row[row != PAD].tolist()) for row in made["source"]}
    assert len(sources) > 10 and all(sorted(source) == sorted(text) for source in sources)
    assert {PROCESSOR.decode(row[row != PAD].tolist()) for row in made["tokens"]} == {text}
    assert {PROCESSOR.decode(row.tolist()) for row in prepared(Infilling(rate=0.0, shuffle=False), batch)["source"]} == {text}


def test_sentinels_are_the_tokenizers_own() -> None:
    assert SpanCorruption(sentinels=3).controls == ("<extra_id_0>", "<extra_id_1>", "<extra_id_2>")
    told = SpanCorruption(sentinels=3, rate=0.5, span=1.0).with_tokens(PROCESSOR)
    assert told.counts(60) == (30, 3)                                                     # no more spans than there are tokens for
    made = told.prepare({"tokens": torch.arange(4, 64)[None]}, Draws(torch.arange(1), 1, 0))
    used = [i for i in made["source"].flatten().tolist() if i >= 260]
    assert used == [PROCESSOR.id(f"<extra_id_{i}>") for i in range(3)]
