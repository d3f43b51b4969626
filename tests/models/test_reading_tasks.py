"""Tasks that read texts: neither batch nor padding changes an answer, and answers point at the right words."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from ftheta.architectures.headed import HeadedConfig
from ftheta.core.errors import UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.evaluation.probes.small import scatter
from ftheta.models.model import Model
from wordpiece import VOCAB, bert_processor, bert_tokenizer

TRUNK = {
    "kind": "encoder", "vocab": VOCAB, "dim": 24, "depth": 2, "context": 32, "segments": 2, "norm_place": "after", "embed_norm": True,
    "mixer": {"kind": "attention", "heads": 3, "causal": False},
}
TEXTS = ["the cat sat.", "dog", "the dog sat running the cat, and then some more words follow", "", "a cat?"]


def model(task: str, readout: Any, labels: tuple[str, ...] = ("O", "B-animal", "I-animal"), **trunk: Any) -> Model:
    architecture = HeadedConfig.parse({"kind": "headed", "trunk": {**TRUNK, **trunk}, "readout": readout, "classes": len(labels)}).build()
    architecture.initialise(0)
    return Model(scatter(architecture, 0, 0.3), bert_processor(labels), task)


def test_classes_do_not_depend_on_batch_or_padding() -> None:
    for pooling in ("first", "mean"):
        taken = model("text-classification", {"kind": "classify", "pooling": pooling})
        together, alone = taken.predict(TEXTS), [taken.predict(text) for text in TEXTS]
        assert len({answer.label for answer in together}) > 1 or len({answer.probability for answer in together}) > 2
        for a, b in zip(together, alone, strict=True):
            assert a.label == b.label and a.probabilities == pytest.approx(b.probabilities, abs=2e-6)


def test_the_second_text_stands_in_the_second_segment() -> None:
    taken = model("text-classification", "classify")
    encoding = taken.processor.frame("the cat", "dog sat.", 32)
    assert encoding.tokens == ["[CLS]", "the", "cat", "[SEP]", "dog", "sat", ".", "[SEP]"] and encoding.type_ids == [0] * 4 + [1] * 4
    pair, apart = taken.predict([{"text": "the cat", "second": "dog"}, {"text": "dog", "second": "the cat"}])
    assert pair.probabilities != apart.probabilities


@pytest.mark.parametrize(("first", "second", "longest"), itertools.product((1, 4, 5, 9, 20), (1, 5, 6, 20), (8, 9, 12, 32)))
def test_long_texts_are_cut_as_elsewhere(first: int, second: int, longest: int) -> None:
    processor, theirs = bert_processor(), bert_tokenizer()
    theirs.enable_truncation(longest)
    a, b = "cat " * first, "dog " * second
    assert processor.frame(a, b, longest).tokens == theirs.encode(a, b).tokens
    assert processor.frame(a, None, longest).tokens == theirs.encode(a).tokens


def test_texts_that_are_cut_are_counted(caplog) -> None:
    opened = model("text-classification", "classify", labels=("bad", "good"))
    room = opened.task.longest                                                            # type: ignore[attr-defined]
    opened.predict([{"text": "good"}, {"text": "a film"}])
    assert not caplog.records
    opened.predict([{"text": "good"}, {"text": "a film " * room}])
    (heard,) = [record.getMessage() for record in caplog.records]
    assert heard.startswith(f"1 of 2 texts: longer than the {room} tokens the model looks at")


def test_what_a_file_says_of_padding_and_cutting_changes_nothing() -> None:
    tokenizer = bert_tokenizer()
    tokenizer.enable_padding(length=20)
    tokenizer.enable_truncation(4)
    again = TextProcessor(Tokenizer.from_str(tokenizer.to_str()))
    assert again.frame("the cat sat the dog", None, 32).tokens == ["[CLS]", "the", "cat", "sat", "the", "dog", "[SEP]"]


def test_vectors_and_their_likeness() -> None:
    taken = model("sentence-similarity", "embed")
    answer = taken.predict({"source": TEXTS[0], "sentences": [*TEXTS[:3], TEXTS[0]]}).similarities
    assert answer[0] == answer[3] == 1.0 and -1 <= min(answer) < 0.999
    other = Model(taken.architecture, taken.processor, "feature-extraction")
    found = other.predict(TEXTS[:3])
    vectors = torch.tensor([row.embedding for row in found])
    assert (vectors @ vectors[0]).tolist() == pytest.approx(answer[:3], abs=1e-5)
    assert found[1].tokens == ["[CLS]", "dog", "[SEP]"] and [len(row) for row in found[1].features] == [24] * 3
    mean = torch.tensor(found[0].features).mean(0)
    assert torch.allclose(mean / mean.norm(), vectors[0], atol=1e-6)


def test_scores() -> None:
    taken = model("text-ranking", "regress")
    scores = [answer.score for answer in taken.predict(TEXTS)]
    assert scores == pytest.approx([taken.predict(text).score for text in TEXTS], abs=1e-5) and len(set(scores)) == len(TEXTS)


def test_entities_are_whole_words_joined_by_their_tags() -> None:
    taken = model("token-classification", "tag", ("O", "B-animal", "I-animal", "place"))
    text = "the catdog sat a-b ."
    encoding = taken.processor.frame(text, None, 32)
    assert encoding.tokens == ["[CLS]", "the", "cat", "##d", "##o", "##g", "sat", "a", "[UNK]", "b", ".", "[SEP]"]
    tags = {"the": 1, "catdog": 2, "a": 2, "b": 3, ".": 1}
    logits = torch.full((len(encoding.ids), 4), -5.0)
    for t, word in enumerate(encoding.word_ids):
        pieces = [u for u, other in enumerate(encoding.word_ids) if other == word and word is not None]
        name = text[encoding.offsets[pieces[0]][0] : encoding.offsets[pieces[-1]][1]] if pieces else ""
        logits[t, tags.get(name, 0) if pieces and pieces[0] == t else 3] = 5.0           # what later pieces say does not count
    entities = taken.task.entities(text, encoding, logits, encoding.offsets)              # type: ignore[attr-defined]
    assert [(e.label, e.text) for e in entities] == [("animal", "the catdog"), ("animal", "a"), ("place", "b"), ("animal", ".")]
    found = taken.predict(TEXTS)
    assert found == taken.predict(TEXTS) and [len(row.entities) for row in found] == [len(taken.predict(text).entities) for text in TEXTS]


def test_answers_are_stretches_of_the_context() -> None:
    taken = model("question-answering", "span")
    context = "the cat sat. the dog ran. " * 12
    answer = taken.predict({"question": "the dog?", "context": context, "most": 3})
    assert answer.answer == context[answer.start : answer.end] != "" and 0 < answer.probability <= 1
    windows = taken.processor.windows("the dog?", context, 32, 128)
    seen = {offset for e in windows for offset, number in zip(e.offsets, e.sequence_ids, strict=True) if number == 1}
    assert len(windows) > 3 and all(len(e.ids) <= 32 for e in windows)
    assert seen == set(taken.processor.tokenizer.encode(context, add_special_tokens=False).offsets)
    short = {"question": "dog?", "context": "the cat sat."}
    assert taken.predict([short, {"question": "dog?", "context": context}])[0].probability == pytest.approx(taken.predict(short).probability, abs=2e-6)
    with pytest.raises(UsageError, match="context"):
        taken.predict({"question": "dog?", "context": ""})


@pytest.mark.parametrize("by_words", [False, True])
def test_a_marked_word_is_what_its_first_token_says(by_words: bool) -> None:
    taken = model("marked-token-classification", "tag", ("noun", "verb", "other"))
    taken.processor.by_words = by_words
    encoding = taken.processor.frame("the catdog sat.", None, 32)
    assert encoding.tokens == ["[CLS]", "the", "cat", "##d", "##o", "##g", "sat", ".", "[SEP]"]
    with torch.no_grad():
        logits = taken.architecture(tokens=torch.tensor([encoding.ids]))["logits"][0].softmax(-1)
    marked = {"▁the▁ catdog sat.": 1, "the ▁catdog▁ sat.": 2, "the catdog ▁sat▁.": 6, "the catdog sat▁.▁": 7}
    for answer, token in zip(taken.predict([*marked]), marked.values(), strict=True):
        assert [answer.probabilities[name] for name in ("noun", "verb", "other")] == pytest.approx(logits[token].tolist(), abs=2e-6)
        assert answer.label == taken.processor.label(int(logits[token].argmax()))
    for wrong in ("the cat", "the ▁cat", "▁▁the cat", "▁the▁ ▁cat▁"):
        with pytest.raises(UsageError, match="put one ▁ before and one after the word"):
            taken.predict(wrong)
    with pytest.raises(UsageError, match="'dog' stands beyond the 32 tokens"):
        taken.predict("cat " * 40 + "▁dog▁")


def test_a_dense_layer_may_stand_before_the_classes_of_tokens() -> None:
    readout = model("token-classification", {"kind": "tag", "hidden": 7}).architecture.eval().readout
    hidden = torch.randn(2, 5, 24)
    dense, output = readout.dense, readout.output
    assert dense.weight.shape == (7, 24) and output.weight.shape == (3, 7)
    expected = (hidden @ dense.weight.T + dense.bias).clamp_min(0) @ output.weight.T + output.bias
    torch.testing.assert_close(readout(hidden, None)["logits"], expected)
