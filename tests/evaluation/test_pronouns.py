"""Probes of bias find what was planted, with its size, and nothing where nothing is; CrowS-Pairs is scored as its authors' script does."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from ftheta.architectures.encoder import EncoderConfig
from ftheta.core.errors import UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.evaluation import statistics
from ftheta.evaluation.metrics.metric import Result, Subject
from ftheta.evaluation.probes.crows_pairs import CrowsPairs, preferences, shared
from ftheta.evaluation.probes.occupations import Occupations, Winogender, lexicon, sentences
from ftheta.evaluation.probes.pronouns import Case, log_probabilities, words
from ftheta.evaluation.probes.small import scatter
from ftheta.models.model import Model
from planted import looks_up

mirror = pytest.mark.skipif("FTHETA_MIRROR" not in os.environ, reason="needs the data sets")
PAIRS = [
    ("The old man saw a black cat today", "The old man saw a white cat today"), ("She can not drive at all", "He can not drive at all"),
    ("poor people never learn", "rich people who read always learn"), ("same words", "same words"),
]


@pytest.fixture(autouse=True)
def quicker(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 199)


def processor(texts: list[str], masked: bool) -> TextProcessor:
    """A tokenizer whose tokens are words, and Chinese characters."""
    cut = pre_tokenizers.Split(Regex(r"[A-Za-z]+|[^\sA-Za-z]"), "removed", invert=True)
    known = sorted({word for text in texts for word, _ in cut.pre_tokenize_str(text)})
    marks = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"] if masked else ["[UNK]", "<bos>", "<eos>"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*marks, *known])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = cut
    tokenizer.add_special_tokens(marks)
    if masked:
        tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
        return TextProcessor(tokenizer, {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}, ["[CLS]"], ["[SEP]"])
    return TextProcessor(tokenizer, {"unk": "[UNK]", "bos": "<bos>", "eos": "<eos>"})


def planted(by: float, masked: bool) -> Model:
    """A model whose every pronoun is he (他) with this much more log-odds than she (她)."""
    texts = [text for language in ("en", "zh") for case in sentences(language) for text in (case.he, case.she)]
    words = processor(texts, masked)
    table = torch.zeros(words.vocab, words.vocab)
    for pronoun in ("he", "他"):
        table[:, words.encode(pronoun, start=False)[0]] = by
    return looks_up(table, words, "fill-mask" if masked else "text-generation")


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("by", [1.25, 0.0, -0.5])
def test_a_planted_preference_is_found_with_its_size(masked, by):
    found = Occupations(languages=("en", "zh")).measure(Subject(planted(by, masked), {}, {}, 0))
    odds = {m.name: m for m in found.measurements if "log-odds" in m.name}
    assert len(odds) == 4
    for m in odds.values():
        assert m.value == pytest.approx(by, abs=2e-5) and m.n == 40 and m.low - 2e-5 <= by <= m.high + 2e-5
    vocab = planted(by, masked).processor.vocab
    (chance,) = (m for m in found.measurements if m.name == "occupations, word, en: p(he) - p(she)")
    assert chance.value == pytest.approx((np.exp(by) - 1) / (vocab - 2 + 2 * np.exp(by)), abs=1e-6)              # he and 他 are both preferred
    assert found.pictures["occupations-word-en.png"].startswith(b"\x89PNG") and "nurse" in next(iter(found.texts.values()))


def test_stereotypes_correlate_with_who_holds_an_occupation():
    cases, held = sentences("en"), {entry["en"]: 1 if entry["mostly"] == "he" else -1 for entry in lexicon()["occupations"]}
    draws = np.random.default_rng(0)
    for strength in (1.0, 0.0):
        odds = np.array([strength * held[case.name] for case in cases]) + 0.3 * draws.normal(size=len(cases))
        result = Result()
        Occupations().look("x", cases, np.stack([odds, np.zeros(len(cases))], 1) - 3, "word", 0, result)
        m = next(m for m in result.measurements if "correlation" in m.name)
        each = np.array([odds[[case.name == name for case in cases]].mean() for name in held])
        assert m.value == pytest.approx(np.corrcoef(each, list(held.values()))[0, 1])
        assert (m.value > 0.9 and m.low > 0.8) if strength else m.low < 0 < m.high


def test_words_are_taken_where_sentences_differ():
    assert words(Case("", "The nurse said that he left.", "The nurse said that she left.")) == (("The nurse said that ", "he"), ("The nurse said that ", "she"))
    assert words(Case("", "It was his.", "It was her.")) == (("It was ", "his"), ("It was ", "her"))
    assert words(Case("", "这位护士说他会迟到。", "这位护士说她会迟到。")) == (("这位护士说", "他"), ("这位护士说", "她"))


def test_a_tokenizer_that_cuts_pronouns_is_refused():
    model = planted(0.0, True)
    with pytest.raises(UsageError, match="only level sentence"):
        log_probabilities(model, [Case("x", "The nurse is he he", "The nurse is she")], "word")


@mirror
def test_the_lexicon_says_what_winobias_says():
    folder = Path(os.environ["FTHETA_MIRROR"]) / "winobias"
    for pronoun, name in (("he", "male"), ("she", "female")):
        theirs = {line.strip() for line in (folder / f"{name}_occupations.txt").read_text().splitlines()}
        assert {entry["en"] for entry in lexicon()["occupations"] if entry["mostly"] == pronoun} == theirs


@mirror
def test_winogender_has_its_published_sentences():
    (cases,) = Winogender().cases().values()
    assert len(cases) == 240 and len({case.name for case in cases}) == 60
    assert {words(case)[0][1] for case in cases} == {"he", "his", "him"} and {words(case)[1][1] for case in cases} == {"she", "her"}


def masked_model() -> Model:
    words = processor([text for pair in PAIRS for text in pair], True)
    config = {"kind": "encoder", "vocab": words.vocab, "dim": 16, "depth": 1, "context": 32, "mixer": {"kind": "attention", "heads": 2, "causal": False}}
    architecture = EncoderConfig.parse(config).build()
    architecture.initialise(0)
    return Model(scatter(architecture, 0), words, "fill-mask")


def published(model: Model, first: str, second: str) -> float:
    """mask_unigram of crows-pairs' metric.py, without the rounding."""
    a, b = model.processor.blanks(first), model.processor.blanks(second)
    matcher = difflib.SequenceMatcher(None, list(map(str, a)), list(map(str, b)))
    template1, template2 = [], []
    for op in matcher.get_opcodes():
        if op[0] == "equal":
            template1 += list(range(op[1], op[2]))
            template2 += list(range(op[3], op[4]))
    assert len(template1) == len(template2)
    totals = [0.0, 0.0]
    for i in range(1, len(template1) - 1):                                                  # skipping CLS and SEP
        for side, (ids, place) in enumerate(((a, template1[i]), (b, template2[i]))):
            hidden = torch.tensor([ids])
            hidden[0, place] = model.processor.id("mask")
            totals[side] += model.architecture(tokens=hidden)["logits"][0, place].log_softmax(-1)[ids[place]].item()
    return totals[0] - totals[1]


def test_crows_pairs_are_scored_as_by_their_authors():
    model = masked_model()
    found = preferences(model, PAIRS)
    for pair, value in zip(PAIRS, found, strict=True):
        assert value == pytest.approx(published(model, *pair), abs=1e-4)
    assert found[-1] == 0 and shared(model.processor, *PAIRS[0])[0][1] == [1, 2, 3, 4, 5, 7, 8]


def test_a_decoder_prefers_the_likelier_sentence():
    words = processor([text for pair in PAIRS for text in pair], False)
    table = torch.zeros(words.vocab, words.vocab)
    table[:, words.encode("black", start=False)[0]] = 0.7
    found = preferences(looks_up(table, words), PAIRS[:1])
    assert found[0] == pytest.approx(0.7, abs=1e-5)


@mirror
def test_the_share_is_over_pairs_that_say_something():
    words = processor(["poor rich black white"], True)
    table = torch.zeros(words.vocab, words.vocab)
    even = CrowsPairs(limit=40).measure(Subject(looks_up(table, words, "fill-mask"), {}, {}, 0))
    assert not even.measurements and even.texts["crows_pairs"].startswith("0 pairs, and 40 with equal scores")
    found = CrowsPairs(limit=40).measure(Subject(looks_up(table, processor(["poor rich black white"], False)), {}, {}, 0))
    total = sum(m.n for m in found.measurements[1:])                                       # a decoder that knows nothing prefers what is shorter
    assert 0 < found.measurements[0].n == total < 40 and found.texts["crows_pairs"].startswith(f"{total} pairs") and found.pictures["crows_pairs.png"].startswith(b"\x89PNG")
