"""Questions about texts whose answers are stretches of them, from files as SQuAD has them (Rajpurkar et al. 2016, 2018, arXiv:1606.05250, 1806.03822)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from ftheta.core.contract import Ports
from ftheta.core.errors import DataError
from ftheta.core.random import key
from ftheta.data.catalogue import place_of
from ftheta.data.kept import KeepsApart, Kept, files, shares
from ftheta.data.questions import QUESTIONS, Asked, place_in, prepare_questions
from ftheta.data.sources.source_config import Prepared, Sections


class Questions(KeepsApart):
    """Questions, the texts that answer them (or, as in SQuAD 2.0, do not) and where in them the answers stand."""

    sections = frozenset({"tokenizer"})
    kind: Literal["questions"] = "questions"
    path: str
    """The file, JSON as SQuAD 1.1 and 2.0, CMRC 2018, DRCD and XQuAD have it. `data:NAME/FILE` is a file of a named data set."""
    more: tuple[str, ...] = ()
    """Further files to train on."""
    validation: Kept = 0.1
    """Looked at during training: a share of the articles, or another file."""
    test: Kept = 0.1
    """Kept for the final measurement: a share of the articles, or another file. Articles of files that are kept do not train."""
    longest: int = Field(default=384, ge=16)
    """Tokens of a row: the question and as much of its text as there is room for."""
    stride: int = Field(default=128, ge=0)
    """Tokens that neighbouring windows of a long text share; never more than half of a window."""

    def ports(self) -> Ports:
        return Ports(gives=QUESTIONS, sizes={"T": self.longest})

    def prepare(self, sections: Sections) -> Prepared:
        other = {name: list(questions(path)) for name, path in files(self.kept).items()}
        elsewhere = {question.article for asked in other.values() for question in asked}
        read = [question for path in (self.path, *self.more) for question in questions(path)]
        usable = [question for question in read if question.article not in elsewhere]
        drawn = by_article(usable, shares(self.kept), sections.seed)
        parts = {"train": drawn["train"], **{name: other.get(name, drawn.get(name, [])) for name in self.kept}}
        if not parts["train"]:
            raise DataError(f"data.source: nothing is left to train on of {len(read):,} questions")
        account = {"questions of articles that are kept for measuring": len(read) - len(usable)}
        return prepare_questions({name: asked for name, asked in parts.items() if asked}, self.longest, self.stride, sections, account)


def by_article(asked: Sequence[Asked], kept: Mapping[str, float], seed: int) -> dict[str, list[Asked]]:
    """The named shares and, as `train`, what they leave, articles in an order given by hashes of (seed, article).

    Whoever asks for a share gets at least one article.
    """
    order = sorted({question.article for question in asked}, key=lambda article: key(seed, "split", article))
    part_of = {}
    start = 0
    for name, share in kept.items():
        count = max(1, round(share * len(order)))
        part_of |= dict.fromkeys(order[start : start + count], name)
        start += count
    found: dict[str, list[Asked]] = {name: [] for name in (*kept, "train")}
    for question in asked:
        found[part_of.get(question.article, "train")].append(question)
    return found


def questions(path: str) -> Iterator[Asked]:
    """Every question of a file. Raises DataError naming the place of what is not as it should be."""
    try:
        data = json.loads(place_of(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"data.source: {path} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from None
    count = 0
    for a, article in enumerate(listed(data, "data", path)):
        for p, paragraph in enumerate(listed(article, "paragraphs", f"{path}: data[{a}]")):
            place = f"{path}: data[{a}].paragraphs[{p}]"
            context = text_of(paragraph, "context", place)
            title = article.get("title")
            for q, asked in enumerate(listed(paragraph, "qas", place)):
                count += 1
                yield one(asked, context, title if isinstance(title, str) and title else context, f"{place}.qas[{q}]")
    if not count:
        raise DataError(f"{path} holds no questions")


def one(asked: Mapping[str, Any], context: str, article: str, place: str) -> Asked:
    """A question with the accepted answers, and the first of them that stands in the text."""
    texts, taught, start = [], "", None
    for i, answer in enumerate([] if asked.get("is_impossible") is True else listed(asked, "answers", place)):
        text, said = text_of(answer, "text", f"{place}.answers[{i}]"), answer.get("answer_start", -1)
        if not isinstance(said, int):
            raise DataError(f"{place}.answers[{i}].answer_start: expected a whole number, got {said!r:.60}")
        texts.append(text)
        if start is None and (found := place_in(context, text, said)) is not None:
            taught, start = text, found
    return Asked(str(asked.get("id", place)), article, text_of(asked, "question", place), context, tuple(dict.fromkeys(texts)), start, taught)


def listed(value: Any, name: str, place: str) -> list[Any]:
    """A list of mappings by its name. Raises DataError."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise DataError(f"{place}: expected a list of JSON objects called '{name}', as in SQuAD's files")
    return found


def text_of(value: Mapping[str, Any], name: str, place: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise DataError(f"{place}.{name}: expected text, got {found!r:.60}")
    return found
