"""Every score equals that of an independent reference: scikit-learn, scipy, sacrebleu, rouge-score, or the published script written out here."""

from __future__ import annotations

import math
import re
import string
from collections import Counter

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as theirs

from ftheta.evaluation import statistics
from ftheta.evaluation.metrics.answered import Answered
from ftheta.evaluation.metrics.correlation import pearson, ranks
from ftheta.evaluation.metrics.f1 import measurements
from ftheta.evaluation.metrics.matches import ExactMatch, SpanF1
from ftheta.evaluation.metrics.overlap import Bleu, ChrF, Rouge
from ftheta.evaluation.metrics.same_answer import RULES
from ftheta.evaluation.statistics import bootstrap, bounded, mean_ratio, proportion

ENGLISH = [
    ("the cat sat on the mat.", "The cat is on the mat"), ("a dog", "the dogs are barking, loudly"), ("An apple a day!", "apple day"), ("nothing", "else entirely"),
    ("it was in 1,914 (or so) that he left", "He left in 1914"),
    ("Running quickly home", "runs quickly to his home"), ("same words here", "same words here"),
]
CHINESE = [
    ("武田信玄。", "武田信玄等人"), ("《三国志》", "三国志"),
    ("1998年5月", "1998年"), ("光荣和ω-force", "由光荣和 Omega-Force 开发"),
    ("没有", "不知道"), ("他说：“你好”", "他说你好"),
]


def answers(pairs):
    return [Answered(*pair) for pair in pairs]


@pytest.fixture(autouse=True)
def quicker(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 199)


def test_f1_is_that_of_scikit_learn():
    draws = np.random.default_rng(1)
    truth, guess = draws.integers(5, size=200), draws.integers(5, size=200)
    guess = np.where(draws.random(200) < 0.6, truth, guess)
    found = {m.name: m for m in measurements(guess, truth, ["a", "b", "c", "d"], 0)}
    assert found["macro F1"].value == pytest.approx(theirs.f1_score(truth, guess, average="macro"), abs=1e-12)
    assert found["micro F1"].value == pytest.approx(theirs.f1_score(truth, guess, average="micro"), abs=1e-12)
    each = theirs.f1_score(truth, guess, average=None)
    for name, value in zip(("a", "b", "c", "d", "4"), each, strict=True):
        m = found[f"F1 of {name}"]
        assert m.value == pytest.approx(value, abs=1e-12) and m.low < value < m.high
    assert found["macro F1"].low < found["macro F1"].value < found["macro F1"].high


def test_a_class_that_is_only_guessed_counts_as_in_scikit_learn():
    truth, guess = np.array([0, 0, 1, 1, 0, 1]), np.array([0, 2, 1, 1, 0, 0])
    found = {m.name: m.value for m in measurements(guess, truth, [], 0)}
    assert found["macro F1"] == pytest.approx(theirs.f1_score(truth, guess, average="macro")) and found["F1 of 2"] == 0


def test_f1_of_several_classes_is_that_of_scikit_learn():
    draws = np.random.default_rng(1)
    truth = draws.random((80, 4)) < [0.5, 0.2, 0.1, 0.0]
    guess = np.where(draws.random((80, 4)) < 0.8, truth, draws.random((80, 4)) < 0.3)
    found = {m.name: m for m in measurements(guess, truth, list("abcd"), 0)}
    assert found["macro F1"].value == pytest.approx(theirs.f1_score(truth, guess, average="macro", zero_division=0), abs=1e-12)
    assert found["micro F1"].value == pytest.approx(theirs.f1_score(truth, guess, average="micro"), abs=1e-12)
    assert found["micro F1"].low < found["micro F1"].value < found["micro F1"].high
    for name, value in zip("abcd", theirs.f1_score(truth, guess, average=None, zero_division=0), strict=True):
        assert found[f"F1 of {name}"].value == pytest.approx(value, abs=1e-12)


def test_f1_of_one_has_an_honest_interval():
    truth = np.repeat([0, 1], [40, 60])
    found = {m.name: m for m in measurements(truth, truth, [], 0)}
    low, high = (2 * share / (1 + share) for share in (0.025 ** (1 / 40), 0.05 ** (1 / 40)))   # 40 of 40 happens in 2.5 %, in 5 % of samples
    assert low <= found["F1 of 0"].low <= high and found["F1 of 0"].high == 1
    assert found["macro F1"].value == 1 and found["F1 of 0"].low < found["macro F1"].low < found["F1 of 1"].low


def test_macro_f1_holds_the_truth_as_often_as_it_says():
    draws, inside = np.random.default_rng(3), 0
    truth_of = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    large = draws.integers(3, size=400_000)
    guess = (draws.random((len(large), 1)) > truth_of[large].cumsum(1)).sum(1)
    real = theirs.f1_score(large, guess, average="macro")
    for _ in range(150):
        rows = draws.integers(len(large), size=90)
        found = measurements(guess[rows], large[rows], [], 0)[0]
        inside += found.low <= real <= found.high
    assert 0.90 <= inside / 150 <= 0.995


def test_mean_ratio_of_one_is_ratio():
    draws = np.random.default_rng(0)
    x, y = draws.random((1, 50)), draws.random((1, 50)) + 1
    assert mean_ratio(x, y, 3)[:3] == pytest.approx(statistics.ratio(x[0], y[0], 3)[:3])


def test_correlations_are_those_of_scipy():
    draws = np.random.default_rng(2)
    x = draws.integers(0, 9, size=(4, 60)).astype(float)
    y = x + draws.normal(size=x.shape) * 4
    for row in range(4):
        assert pearson(x, y)[row] == pytest.approx(stats.pearsonr(x[row], y[row])[0], abs=1e-12)
        assert pearson(ranks(x), ranks(y))[row] == pytest.approx(stats.spearmanr(x[row], y[row])[0], abs=1e-12)


def test_the_bootstrap_of_a_correlation_holds_the_truth():
    draws, inside, times = np.random.default_rng(5), 0, 120
    for _ in range(times):
        x = draws.normal(size=60)
        y = 0.6 * x + 0.8 * draws.normal(size=60)
        found = bootstrap(lambda rows, x=x, y=y: pearson(x[rows], y[rows]), 60, 0)
        inside += found.low <= 0.6 <= found.high
    assert 0.89 <= inside / times <= 0.99


def test_the_bootstrap_of_a_mean_is_near_that_of_scipy():
    values = np.random.default_rng(4).exponential(size=80)
    found = bootstrap(lambda rows: values[rows].mean(-1), 80, 0)
    other = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=4999, random_state=0).confidence_interval
    assert found.low == pytest.approx(other.low, abs=0.06) and found.high == pytest.approx(other.high, abs=0.06)


def test_the_mean_of_a_few_is_students():
    for n in (2, 3, 4, 9):
        values = np.random.default_rng(n).normal(size=n)
        low, high = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
        found = statistics.mean_of_few(values)
        assert found.low == pytest.approx(low, rel=2e-3) and found.high == pytest.approx(high, rel=2e-3)


def test_equal_units_at_the_end_of_the_scale_have_the_interval_of_a_count():
    found = bounded(statistics.mean(np.ones(30), 0), 30)
    assert 0.025 ** (1 / 30) <= found.low <= 0.05 ** (1 / 30) and found.high == 1             # 1 - 3.7/30 and 1 - 3/30
    found = bounded(statistics.mean(np.zeros(30), 0), 30, 100.0)
    assert found.low == 0 and found.high == pytest.approx(100 * proportion(0, 30).high)
    assert bounded(statistics.mean(np.full(9, 0.5), 0), 9).low == 0.5


def squad_words(text):
    """normalize_answer of SQuAD's evaluate-v1.1.py."""
    text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def squad_f1(prediction, truth):
    a, b = squad_words(prediction).split(), squad_words(truth).split()
    shared = sum((Counter(a) & Counter(b)).values())
    if not shared:
        return 0
    precision, recall = shared / len(a), shared / len(b)
    return 2 * precision * recall / (precision + recall)


def test_english_answers_match_as_in_squad():
    for said, true in ENGLISH:
        assert RULES["english"][0](said, true) == (squad_words(said) == squad_words(true))
        assert RULES["english"][1](said, true) == pytest.approx(squad_f1(said, true))
    found = ExactMatch().scores(answers(ENGLISH), 0)[0]
    assert found.value == 2 / 7 and found.low < 2 / 7 < found.high


SIGNS = [*"-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』", "……"]


def cmrc_parts(text):
    """mixed_segmentation of cmrc2018_evaluate.py, words of other scripts cut at spaces and signs."""
    found, rest = [], ""
    for char in text.lower().strip():
        if char in SIGNS:
            continue
        if re.search(r"[\u4e00-\u9fa5]", char):
            found += [*re.findall(r"\w+|[^\w\s]", rest), char]
            rest = ""
        else:
            rest += char
    return found + re.findall(r"\w+|[^\w\s]", rest)


def cmrc_f1(said, true):
    a, b = cmrc_parts(true), cmrc_parts(said)
    longest = max((k for i in range(len(a)) for k in range(len(a) - i + 1) if any(a[i : i + k] == b[j : j + k] for j in range(len(b) - k + 1))), default=0)
    return 0 if not longest else 2 * (longest / len(b)) * (longest / len(a)) / (longest / len(b) + longest / len(a))


def test_chinese_answers_match_as_in_cmrc():
    for said, true in CHINESE:
        assert RULES["chinese"][1](said, true) == pytest.approx(cmrc_f1(said, true)), (said, true)
        plain = ["".join(c for c in text.lower().strip() if c not in SIGNS) for text in (said, true)]
        assert RULES["chinese"][0](said, true) == (plain[0] == plain[1])
    found = SpanF1(language="chinese").scores(answers(CHINESE), 0)[0]
    assert found.value == pytest.approx(np.mean([cmrc_f1(*pair) for pair in CHINESE])) and found.low < found.value < found.high
    assert sum(RULES["chinese"][0](*pair) for pair in CHINESE) == 2


def test_bleu_and_chrf_are_those_of_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu")
    said, true = [pair[0] for pair in ENGLISH], [pair[1] for pair in ENGLISH]
    assert Bleu().scores(answers(ENGLISH), 0)[0].value == pytest.approx(sacrebleu.corpus_bleu(said, [true]).score, abs=1e-12)
    assert ChrF().scores(answers(ENGLISH), 0)[0].value == pytest.approx(sacrebleu.corpus_chrf(said, [true]).score, abs=1e-12)
    assert ChrF(words=2).scores(answers(ENGLISH), 0)[0].value == pytest.approx(sacrebleu.corpus_chrf(said, [true], word_order=2).score, abs=1e-12)
    said, true = [pair[0] for pair in CHINESE], [pair[1] for pair in CHINESE]
    found = Bleu(tokenizer="zh").scores(answers(CHINESE), 0)[0]
    assert found.value == pytest.approx(sacrebleu.corpus_bleu(said, [true], tokenize="zh").score, abs=1e-12)
    assert found.low < found.value < found.high and found.n == 6


def test_perfect_translations_have_an_honest_interval():
    pytest.importorskip("sacrebleu")
    found = Bleu().scores(answers([(true, true) for _, true in ENGLISH * 5]), 0)[0]
    assert found.value == pytest.approx(100) and 100 * 0.025 ** (1 / 35) <= found.low <= 100 * 0.05 ** (1 / 35)


def test_rouge_is_that_of_rouge_score():
    scorer = pytest.importorskip("rouge_score.rouge_scorer")
    reference = scorer.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    each = [reference.score(true, said) for said, true in ENGLISH]
    for m, variant in zip(Rouge(stem=True).scores(answers(ENGLISH), 0), ("rouge1", "rouge2", "rougeL"), strict=True):
        assert m.value == pytest.approx(np.mean([score[variant].fmeasure for score in each])) and m.low <= m.value <= m.high
    assert Rouge().scores(answers(CHINESE), 0)[0].value < Rouge(by="characters").scores(answers(CHINESE), 0)[0].value


def test_chinese_rouge_counts_characters():
    pytest.importorskip("rouge_score")
    (found,) = Rouge(by="characters", variants=("rouge1",)).scores(answers([("今天下雨", "今天天晴")]), 0)
    assert found.value == pytest.approx(2 * 2 / (4 + 4)) and math.isnan(found.low)           # 今 and 天 of four characters each; a single sentence
