"""When two answers are the same, and how much they share, by the published rules.

English as SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 2018): lower case, no punctuation, no articles; F1 over words, however they are ordered:

    P = |prediction ∩ answer| / |prediction|,    R = |prediction ∩ answer| / |answer|,    F1 = 2 P R / (P + R)

Chinese as CMRC 2018 and DRCD (Cui et al. 2019, arXiv:1810.07366): lower case, without CMRC's list of signs; F1 with the longest common run of
characters (of words, where there are Latin letters or digits) in place of the common words. Where the published script cuts runs that are
not Chinese by NLTK's rules, they are cut here into words and single other signs.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import Literal

Language = Literal["english", "chinese"]
ARTICLES = re.compile(r"\b(a|an|the)\b")
SIGNS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
CUT = re.compile(r"[\u4e00-\u9fa5]|\d+(?:[.,]\d+)+|[^\W\u4e00-\u9fa5]+|[^\w\s]")


def english_words(text: str) -> list[str]:
    """Words in lower case, without punctuation and articles."""
    bare = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return ARTICLES.sub(" ", bare).split()


def english_exact(predicted: str, answer: str) -> float:
    return float(english_words(predicted) == english_words(answer))


def english_overlap(predicted: str, answer: str) -> float:
    a, b = english_words(predicted), english_words(answer)
    return f1((Counter(a) & Counter(b)).total(), len(a), len(b))


def chinese_bare(text: str) -> str:
    return "".join(sign for sign in text.lower().strip() if sign not in SIGNS)


def chinese_exact(predicted: str, answer: str) -> float:
    return float(chinese_bare(predicted) == chinese_bare(answer))


def chinese_overlap(predicted: str, answer: str) -> float:
    a, b = CUT.findall(chinese_bare(predicted)), CUT.findall(chinese_bare(answer))
    longest, before = 0, [0] * (len(b) + 1)
    for piece in a:
        row = [0] * (len(b) + 1)                                                          # lengths of common runs that end here
        for j, other in enumerate(b):
            if piece == other:
                row[j + 1] = before[j] + 1
        longest, before = max(longest, *row), row
    return f1(longest, len(a), len(b))


def f1(common: int, predicted: int, answer: int) -> float:
    """2PR / (P + R); of nothing with nothing it is 1."""
    if not predicted or not answer:
        return float(predicted == answer)
    return 2 * common / (predicted + answer)


RULES = {"english": (english_exact, english_overlap), "chinese": (chinese_exact, chinese_overlap)}
"""Language → exact match and F1 of a predicted and an accepted answer."""
