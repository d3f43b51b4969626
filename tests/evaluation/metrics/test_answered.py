"""Metrics of answers: the model's task is run on the test split's examples, and what it says is compared with what stands there."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ftheta.architectures.decoder import DecoderConfig
from ftheta.architectures.headed import HeadedConfig
from ftheta.core.errors import UsageError
from ftheta.data.chat.conversations import Message
from ftheta.data.chat.prepare import Item, prepare_chat
from ftheta.data.pack import Pack
from ftheta.data.processors.text import TextProcessor
from ftheta.data.sources.source_config import Sections
from ftheta.data.split import Split
from ftheta.data.tokenizers.trained import Bytes
from ftheta.evaluation.metrics.answered import answered
from ftheta.evaluation.metrics.correlation import Pearson, Spearman, numbers
from ftheta.evaluation.metrics.language import BitsPerByte, Perplexity
from ftheta.evaluation.metrics.matches import ExactMatch
from ftheta.evaluation.metrics.metric import Subject
from ftheta.evaluation.probes.small import scatter
from ftheta.models.model import Model
from ftheta.models.tasks.text import Prompt
from observe import Examples

DECODER = {"kind": "decoder", "vocab": 270, "dim": 16, "depth": 1, "context": 128, "mixer": {"kind": "attention", "heads": 2}}


def decoder(processor: TextProcessor) -> Model:
    model = DecoderConfig.parse(DECODER).build()
    model.initialise(0)
    return Model(scatter(model, 0), processor, "text-generation")


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    return (torch.tensor([row + [0] * (width - len(row)) for row in rows]), torch.tensor([[0] * len(row) + [-1] * (width - len(row)) for row in rows]))


def test_answers_of_conversations_are_what_the_model_says_when_asked(tmp_path):
    said = [[("user", f"what is {i}?"), ("assistant", f"it is {i}"), ("user", "sure?"), ("assistant", "yes")] for i in range(12)]
    items = [Item(f"{i}", ([Message(*each) for each in talk],)) for i, talk in enumerate(said)]
    chat = prepare_chat(items, None, Sections(Bytes(), tmp_path, split=Split(validation=0.1, test=0.5), pack=Pack(length=120), lookahead=1))
    model = decoder(chat.processor)
    found = answered(model, chat.splits["test"], 100, 6)
    assert len(found) == 2 * chat.account["splits"]["test"]["conversations"] and {answer.true for answer in found[1::2]} == {"yes"}
    asked = [item for item in items if any(answer.true == item.talks[0][1].content for answer in found)]
    for item in asked:
        said = next(answer.said for answer in found if answer.true == item.talks[0][1].content)
        assert said == model.predict({"messages": [{"role": "user", "content": item.talks[0][0].content}], "most": 6, "temperature": 0.0}).text.strip()
    assert answered(model, chat.splits["test"], 3, 6) == found[:3]
    measured = ExactMatch(limit=100, most=6).measure(Subject(model, chat.splits, {}, 0))
    assert measured.measurements[0].n == len(found) and "should be: " in measured.texts["Answers to test examples"]


def test_answers_to_source_texts_are_those_of_the_task():
    model = decoder(TextProcessor(Bytes().train([])))
    processor = model.processor
    source, source_documents = padded([processor.encode(text) for text in ("a cat", "the old bird", "x")])
    tokens, documents = padded([processor.encode(text) for text in ("eine Katze", "der Vogel", "y")])
    found = answered(model, Examples({"source": source, "source_documents": source_documents, "tokens": tokens, "documents": documents}), 3, 8)
    assert [answer.true for answer in found] == ["eine Katze", "der Vogel", "y"]
    assert [answer.said for answer in found] == [model.task.answer(Prompt(prompt=text, most=8, temperature=0.0)).text.strip() for text in ("a cat", "the old bird", "x")]


def test_examples_without_answers_are_refused():
    with pytest.raises(UsageError, match="no examples with an answer"):
        answered(decoder(TextProcessor(Bytes().train([]))), Examples({"tokens": torch.zeros(2, 3, dtype=torch.long)}), 2, 2)


def test_alikeness_of_pairs_is_the_cosine_of_their_vectors():
    config = {"kind": "headed", "trunk": {**DECODER, "kind": "encoder", "mixer": {"kind": "attention", "heads": 2, "causal": False}}, "readout": "embed", "classes": 2}
    architecture = HeadedConfig.parse(config).build()
    architecture.initialise(0)
    processor = TextProcessor(Bytes().train([]))
    model = Model(scatter(architecture, 0), processor, "sentence-similarity")
    texts = ["a cat", "the dog sat", "some words", "x", "more words here"], ["a cat!", "birds", "some other words", "a long sentence", "y"]
    first, first_documents = padded([processor.encode(text) for text in texts[0]])
    second, second_documents = padded([processor.encode(text) for text in texts[1]])
    score = torch.tensor([5.0, 1.0, 3.0, 0.0, 2.0])
    rows = Examples({"first": first, "first_documents": first_documents, "second": second, "second_documents": second_documents, "score": score})
    said, true = numbers(model, rows, 2)
    for i in range(5):
        a, b = (architecture(tokens=torch.tensor([processor.encode(side[i])]))["embedding"][0].double() for side in texts)
        assert said[i] == pytest.approx((a @ b / a.norm() / b.norm()).item(), abs=1e-5)
    assert list(true) == score.tolist()
    for metric in (Pearson(), Spearman()):
        (found,) = metric.measure(Subject(model, {"test": rows}, {}, 0)).measurements
        assert -1 <= found.low <= found.value <= found.high <= 1 and found.n == 5


def test_perplexity_is_that_of_every_token_after_what_comes_before():
    model = decoder(TextProcessor(Bytes().train([])))
    texts = ["a first text", "another, longer one", "end"]
    subject = Subject(model, {}, {"test": texts}, 0)
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([[*model.processor.encode(text), model.processor.id("eos")]])
        total -= model.architecture(tokens=ids[:, :-1])["logits"].log_softmax(-1).gather(-1, ids[:, 1:, None]).sum().item()
        count += ids.shape[1] - 1
    (found,) = Perplexity().measure(subject).measurements
    assert found.value == pytest.approx(math.exp(total / count), rel=1e-5) and found.low < found.value < found.high
    bits = BitsPerByte(alike=None).measure(subject).measurements[0]
    assert bits.value * sum(len(text) for text in texts) * math.log(2) == pytest.approx(np.log(found.value) * count, rel=1e-6)
