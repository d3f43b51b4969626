"""Questions about texts: answers as characters → the first and the last token, in every window of a text too long to be read at once.

A window that does not hold the whole answer, and every window of a question without one, points at its first token ([CLS], as in
Devlin et al. 2018, arXiv:1810.04805).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Encoding
from torch import Tensor

from ftheta.core.contract import Batch, Ports
from ftheta.core.errors import DataError
from ftheta.data.labelled import framed
from ftheta.data.processors.text import TextProcessor
from ftheta.data.source import Dataset
from ftheta.data.sources.source_config import Prepared, Sections, in_memory
from ftheta.data.stages import digest
from ftheta.data.text import made_processor

QUESTIONS = {"tokens": "ids B T", "documents": "ids B T", "segments": "ids B T", "first": "place B", "last": "place B"}


@dataclass(frozen=True)
class Asked:
    """A question about a text, and what counts as an answer to it."""

    name: str
    """Its id, else its place in the file."""
    article: str
    """What its text belongs to; questions of one article are in one part of the data."""
    question: str
    context: str
    answers: tuple[str, ...]
    """Every accepted answer; none: the text does not say."""
    start: int | None
    """Where the first answer that stands in the text begins, in characters; none: none stands there."""
    taught: str
    """That answer."""


class Window(NamedTuple):
    """A question and a part of its text as tokens, and where the answer stands in it."""

    ids: np.ndarray
    type_ids: np.ndarray
    first: int
    last: int


class AskedTexts(Dataset):
    """Windows of questions with texts; `asked` are the questions themselves."""

    def __init__(self, asked: Sequence[Asked], windows: Sequence[Window], processor: TextProcessor, longest: int, stride: int):
        self.asked = list(asked)
        self.windows = list(windows)
        self.processor = processor
        self.longest = longest
        self.stride = stride

    @property
    def ports(self) -> Ports:
        return Ports(gives=QUESTIONS, sizes={"V": self.processor.vocab, "T": self.longest})

    @property
    def fingerprint(self) -> str:
        asked = [[question.name, *question.answers] for question in self.asked]
        return digest([asked, [[window.ids.tolist(), window.first, window.last] for window in self.windows]])

    def __len__(self) -> int:
        return len(self.windows)

    def batch(self, rows: Tensor) -> Batch:
        chosen = [self.windows[i] for i in rows.tolist()]
        first, last = (torch.tensor([getattr(window, name) for window in chosen]) for name in ("first", "last"))
        return {**self.processor.batch(chosen), "first": first, "last": last}


def place_in(context: str, text: str, start: int) -> int | None:
    """Where an answer stands: where it is said to, else the nearest place that reads like it; None where there is none."""
    if text and context.startswith(text, start) and start >= 0:
        return start
    places = [at for at in range(len(context)) if context.startswith(text, at)] if text else []
    return min(places, key=lambda at: abs(at - start), default=None)


def tokens_of(encoding: Encoding, start: int, end: int) -> list[int]:
    """The tokens of the last text of an encoding that hold some of its characters from start to end."""
    last = max((number for number in encoding.sequence_ids if number is not None), default=0)
    return [t for t, (number, (a, b)) in enumerate(zip(encoding.sequence_ids, encoding.offsets, strict=True)) if number == last and a < end and b > start]


def windows_of(question: Asked, processor: TextProcessor, longest: int, stride: int, known: dict[str, Encoding], counts: Counter[str]) -> list[Window]:
    """Every window of a question. `known` remembers encoded texts, `counts` what cannot be pointed at exactly."""
    encodings = processor.windows(question.question, question.context, longest, stride)
    if question.start is None:
        return [Window(np.array(e.ids, np.int32), np.array(e.type_ids, np.int8), 0, 0) for e in encodings]
    start, end = question.start, question.start + len(question.taught)
    if question.context not in known:
        known[question.context] = processor.tokenizer.encode(question.context, add_special_tokens=False)
    whole = known[question.context]
    wanted = tokens_of(whole, start, end)
    if wanted:
        meant = question.context[whole.offsets[wanted[0]][0] : whole.offsets[wanted[-1]][1]]
        counts["answers that are part of a token"] += meant.strip() != question.taught.strip()
    found = [tokens_of(e, start, end) for e in encodings]
    held = [places if places and len(places) == len(wanted) else [0] for places in found]
    counts["answers that no window holds"] += all(places == [0] for places in held)
    return [Window(np.array(e.ids, np.int32), np.array(e.type_ids, np.int8), p[0], p[-1]) for e, p in zip(encodings, held, strict=True)]


def prepare_questions(parts: Mapping[str, Sequence[Asked]], longest: int, stride: int, sections: Sections, account: Mapping[str, int]) -> Prepared:
    """Make the tokenizer from the training questions and texts, and encode all windows.

    A question with answers of which none stands in its text has no windows; it is asked all the same when the model is measured.
    """
    texts = list(dict.fromkeys(text for question in parts["train"] for text in (question.question, question.context)))
    processor = framed(made_processor(digest(texts), lambda: texts, sections))
    processor.longest = longest
    splits: dict[str, Dataset] = {}
    counts = Counter(account)
    for name, asked in parts.items():
        known: dict[str, Encoding] = {}
        taught = [question for question in asked if question.start is not None or not question.answers]
        counts["questions whose answer is not in the text"] += len(asked) - len(taught)
        windows = [window for question in taught for window in windows_of(question, processor, longest, stride, known, counts)]
        if not windows:
            raise DataError(f"data.source: no question of the {name} split has an answer that stands in its text")
        splits[name] = AskedTexts(asked, windows, processor, longest, stride)
    prepared = in_memory(splits, processor)
    for name, asked in parts.items():
        prepared.account["splits"][name] = {"questions": len(asked), "windows": len(splits[name])}
    prepared.account["dropped"] = {reason: count for reason, count in counts.items() if count}
    return prepared
