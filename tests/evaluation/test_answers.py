"""Answers judged as the published scripts of SQuAD and CMRC judge them."""

from __future__ import annotations

import itertools
import re
import string
from collections import Counter

import pytest

from ftheta.evaluation.metrics.answers import best
from ftheta.evaluation.metrics.same_answer import SIGNS, chinese_exact, chinese_overlap, english_exact, english_overlap

ENGLISH = ["", "the", "The 308 points.", "308", "308 points", "A cat, an apple", "cat apple",
           "apple cat", "o'clock", "oclock", "  Two\tspaces ", "two spaces", "theatre", "a the a"]
CHINESE = ["", "光荣和ω-force", "光荣和ωforce", "《光荣》", "光荣", "2004年8月", "2004年", "约3.5公里", "3.5公里",
           "在 Hawkswell Theatre 试演", "Hawkswell", "，。", "2 004", "陸特和漢斯", "漢斯"]


def squad(prediction: str, answer: str) -> tuple[float, float]:
    """Exact match and F1 step by step as SQuAD 2.0 describes them."""

    def normal(text: str) -> str:
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", "".join(c for c in text.lower() if c not in set(string.punctuation))).split())

    a, b = normal(prediction).split(), normal(answer).split()
    exact = float(normal(prediction) == normal(answer))
    if not a or not b:
        return exact, float(a == b)
    same = sum((Counter(a) & Counter(b)).values())
    precision, recall = same / len(a), same / len(b)
    return exact, 2 * precision * recall / (precision + recall) if same else 0.0


def cmrc(prediction: str, answer: str) -> tuple[float, float]:
    """Exact match and F1 as CMRC describes them: the longest run of pieces that stands in both."""

    def pieces(text: str) -> list[str]:
        found, latin = [], ""
        for sign in text.lower().strip():
            if sign in SIGNS:
                continue
            if "\u4e00" <= sign <= "\u9fa5":
                found, latin = [*found, *latin.split(), sign], ""
            else:
                latin += sign
        return [*found, *latin.split()]

    a, b = pieces(prediction), pieces(answer)
    exact = float(*[[c for c in prediction.lower().strip() if c not in SIGNS] == [c for c in answer.lower().strip() if c not in SIGNS]])
    runs = [n for n in range(1, len(a) + 1) for i in range(len(a) - n + 1) if any(a[i : i + n] == b[j : j + n] for j in range(len(b) - n + 1))]
    common = max(runs, default=0)
    if not common:
        return exact, float(not a and not b)
    precision, recall = common / len(a), common / len(b)
    return exact, 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(("prediction", "answer"), itertools.product(ENGLISH, ENGLISH))
def test_english_as_squad(prediction: str, answer: str) -> None:
    assert (english_exact(prediction, answer), english_overlap(prediction, answer)) == pytest.approx(squad(prediction, answer))


@pytest.mark.parametrize(("prediction", "answer"), itertools.product(CHINESE, CHINESE))
def test_chinese_as_cmrc(prediction: str, answer: str) -> None:
    assert (chinese_exact(prediction, answer), chinese_overlap(prediction, answer)) == pytest.approx(cmrc(prediction, answer))


def test_the_best_of_several_answers_counts_and_nothing_is_an_answer_too() -> None:
    assert best(english_exact, "308 points", ("307", "the 308 points")) == 1.0
    assert best(english_overlap, "", ()) == best(chinese_exact, "", ()) == 1.0 and best(english_overlap, "308", ()) == 0.0 == best(english_overlap, "", ("308",))
