"""How far answers share runs of words or characters with the right ones, computed by the libraries whose numbers papers report.

    BLEU: geometric mean of the precisions of 1- to 4-grams, short texts punished (Papineni et al. 2002; sacrebleu, Post 2018, arXiv:1804.08771)
    chrF: F₂ of 1- to 6-grams of characters (Popović 2015), with `words: 2` chrF++ (Popović 2017); sacrebleu
    ROUGE: F1 of n-grams, or of the longest common subsequence (Lin 2004); rouge-score

BLEU and chrF are numbers of all sentences together; their interval is a bootstrap (BCa) over sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ftheta.core.errors import MissingExtraError
from ftheta.evaluation.metrics.answered import Answered, AnswerMetric
from ftheta.evaluation.metrics.metric import Measurement
from ftheta.evaluation.metrics.same_answer import CUT
from ftheta.evaluation.statistics import bootstrap, bounded, mean


class Bleu(AnswerMetric):
    """BLEU of all answers together, 0 to 100, as sacrebleu computes it."""

    kind: Literal["bleu"] = "bleu"
    tokenizer: Literal["13a", "intl", "zh", "char", "none"] = "13a"
    """How sacrebleu cuts texts into words: `zh` for Chinese, `13a` for most others."""

    def scores(self, answers: Sequence[Answered], seed: int) -> list[Measurement]:
        return [corpus("BLEU", scorers().BLEU(tokenize=self.tokenizer, force=True), answers, seed)]


class ChrF(AnswerMetric):
    """chrF of all answers together, 0 to 100, as sacrebleu computes it."""

    kind: Literal["chrf"] = "chrf"
    words: int = Field(default=0, ge=0)
    """Longest run of words that counts beside characters; 2 is chrF++."""

    def scores(self, answers: Sequence[Answered], seed: int) -> list[Measurement]:
        return [corpus("chrF" + "+" * self.words, scorers().CHRF(word_order=self.words), answers, seed)]


def scorers() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError:
        raise MissingExtraError("sacrebleu", "language", "comparing translations") from None
    return metrics


def corpus(name: str, scorer: Any, answers: Sequence[Answered], seed: int) -> Measurement:
    """A score of all sentences together, from what sacrebleu counts in each."""
    counts = np.array(scorer._extract_corpus_statistics([answer.said for answer in answers], [[answer.true for answer in answers]]))

    def score(rows: np.ndarray) -> np.ndarray:
        return np.array([scorer._compute_score_from_stats(counts[row].sum(0).tolist()).score for row in rows])

    found = bounded(bootstrap(score, len(answers), seed), len(answers), 100.0)
    return Measurement(name, found.value, found.low, found.high, len(answers), "example", "higher", found.method, seed)


class Rouge(AnswerMetric):
    """Mean F1 of ROUGE-1, -2 and -L over answers, 0 to 1, as rouge-score computes it."""

    kind: Literal["rouge"] = "rouge"
    variants: tuple[Literal["rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"], ...] = Field(default=("rouge1", "rouge2", "rougeL"), min_length=1)
    """Which: by runs of 1, 2, 3 words, by the longest common subsequence, by that of every line."""
    by: Literal["words", "characters"] = "words"
    """What is compared: English words, or, for Chinese, every character (and every word of other scripts)."""
    stem: bool = False
    """Whether endings of English words are left out (Porter's stemmer)."""

    def scores(self, answers: Sequence[Answered], seed: int) -> list[Measurement]:
        try:
            from rouge_score import rouge_scorer
        except ImportError:
            raise MissingExtraError("rouge-score", "language", "comparing summaries") from None
        tokenizer = Characters() if self.by == "characters" else None
        scorer = rouge_scorer.RougeScorer(list(self.variants), use_stemmer=self.stem, tokenizer=tokenizer)
        each = [scorer.score(answer.true, answer.said) for answer in answers]
        result = []
        for variant in self.variants:
            values = np.array([score[variant].fmeasure for score in each])
            found = bounded(mean(values, seed), len(values))
            name = variant.replace("rouge", "ROUGE-")
            result.append(Measurement(name, found.value, found.low, found.high, len(values), "example", "higher", found.method, seed, {"value": values}))
        return result


class Characters:
    """Cuts text into Chinese characters and the words and signs of other scripts, for rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        return CUT.findall(text.lower())
