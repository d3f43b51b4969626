"""Conversations as training data: answers to learn, questions to answer, or pairs of answers of which one was preferred."""

from __future__ import annotations

import glob
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ftheta.core.contract import Ports
from ftheta.core.errors import DataError, suggest
from ftheta.core.log import logger
from ftheta.data import catalogue
from ftheta.data.chat.conversations import Message, conversation, message, rows, text
from ftheta.data.chat.prepare import Item, prepare_chat
from ftheta.data.chat.rows import Judged, Pairs
from ftheta.data.read.bad import BadRow
from ftheta.data.sources.source_config import Prepared, Sections, SourceConfig

VERDICTS = ("good", "label", "kto_tag")
KNOWN = (".json", ".jsonl", ".ndjson")


class ChatSource(SourceConfig):
    """A source of conversations, which a template and a tokenizer turn into rows of tokens."""

    sections = frozenset({"split", "tokenizer", "pack"})

    template: str | None = None
    """How conversations are written: `simple`, `chatml`, `plain`, or a Jinja file; none: the model's own, else `simple`."""

    @abstractmethod
    def items(self) -> list[Item]:
        """Every conversation, each with a name of its own. Raises DataError for what cannot be read."""

    def prepare(self, sections: Sections) -> Prepared:
        return prepare_chat(self.items(), self.template, sections)


class Answered(ChatSource):
    """Conversations whose answers are learned; by themselves, what asks for them are prompts."""

    def ports(self) -> Ports:
        return Ports(gives={"tokens": "ids B T", "documents": "ids B T", "learned": "mask B T"})


class ChatFiles(ChatSource):
    """Conversations from files."""

    path: str
    """A .json file with a list, a .jsonl file with a conversation a line, a folder of these, or a pattern; `dataset:NAME/...` is in a named data set."""
    on_bad: Literal["error", "skip"] = "error"
    """What to do with a row that cannot be learned from: stop, or leave it out and say so."""
    largest: int = Field(default=1 << 30, gt=0)
    """Bytes; a larger file is refused."""

    @abstractmethod
    def talks(self, row: Any) -> tuple[list[Message], ...]:
        """What is learned from a row. Raises BadRow."""

    def good(self, row: Any) -> bool | None:
        """What was said of a row's answer, where somebody said something. Raises BadRow."""
        return None

    def files(self) -> list[Path]:
        """The files in a fixed order. Raises DataError when there is none."""
        place = catalogue.place_of(self.path)
        if place.is_file():
            return [place]
        found = [file for file in place.rglob("*") if file.suffix in KNOWN] if place.is_dir() else [Path(file) for file in glob.glob(str(place), recursive=True)]
        if not (files := sorted(file for file in found if file.is_file())):
            raise DataError(f"data.source.path: no file {' or '.join(KNOWN)} at {place}")
        return files

    def items(self) -> list[Item]:
        """Every usable row. Raises DataError naming file, row and reason for the first bad one (`on_bad: error`), and when nothing is left."""
        found, bad = [], 0
        for file in self.files():
            for number, row in rows(file, self.largest):
                try:
                    if isinstance(row, BadRow):
                        raise row
                    found.append(Item(f"{file.name}:{number}", self.talks(row), self.good(row)))
                except BadRow as reason:
                    if self.on_bad == "error":
                        raise DataError(f"{file} row {number}: {reason}; set data.source.on_bad: skip to leave such rows out") from None
                    bad += 1
                    logger.warning("left out: %s row %d: %s", file, number, reason) if bad <= 5 else None
        if bad:
            logger.warning("data.source: %s of %s rows were left out", f"{bad:,}", f"{bad + len(found):,}")
        if not found:
            raise DataError(f"data.source.path: {self.path} holds no conversation that can be learned from")
        return found


class Chat(ChatFiles, Answered):
    """Conversations whose answers are learned: rows with `messages`, `conversations` or `instruction`, `input`, `output`."""

    kind: Literal["chat"] = "chat"

    def talks(self, row: Any) -> tuple[list[Message], ...]:
        return (conversation(row),)


class Prompts(ChatFiles, Answered):
    """Rows with a question and, where there is one, its answer, such as GSM8K's."""

    kind: Literal["prompts"] = "prompts"
    question: str = "question"
    """The field that holds what is asked."""
    answer: str | None = "answer"
    """The field that holds the answer; none: there are none, so the questions can only be prompts."""

    def talks(self, row: Any) -> tuple[list[Message], ...]:
        if not isinstance(row, Mapping):
            raise BadRow(f"expected an object with '{self.question}'")
        said = []
        for field, column, role in (("question", self.question, "user"), ("answer", self.answer, "assistant")):
            if column is None:
                continue
            if column not in row:
                raise BadRow(f"has no field '{column}' (data.source.{field}){suggest(column, row, 'fields')}")
            if not (content := text(row[column], column)).strip():
                raise BadRow(f"{column}: is empty")
            said.append(Message(role, content))
        return (said,)


class Preferences(ChatFiles):
    """Questions with a preferred answer and another: `conversations` or `messages` or `prompt`, with `chosen` and `rejected`."""

    kind: Literal["preferences"] = "preferences"

    def ports(self) -> Ports:
        return Ports(gives=Pairs.gives())

    def talks(self, row: Any) -> tuple[list[Message], ...]:
        if not isinstance(row, Mapping):
            raise BadRow("expected an object with 'chosen' and 'rejected'")
        return tuple(conversation({"messages": list(asked_and_answered(row, name))}) for name in ("chosen", "rejected"))


class JudgedAnswers(ChatFiles):
    """Conversations of which somebody said whether the last answer is good: rows as for `chat`, with `good` or (LLaMA-Factory) `label` or `kto_tag`."""

    kind: Literal["judged"] = "judged"
    verdict: str | None = None
    """The field that says so, true or false; none: whichever of `good`, `label` and `kto_tag` there is."""

    def ports(self) -> Ports:
        return Ports(gives=Judged.gives())

    def talks(self, row: Any) -> tuple[list[Message], ...]:
        found = conversation(row)
        if found[-1].role != "assistant":
            raise BadRow(f"the last message is said by '{found[-1].role}', not by the assistant: there is no answer to judge")
        return (found,)

    def good(self, row: Any) -> bool:
        names = (self.verdict,) if self.verdict else VERDICTS
        name = next((name for name in names if name in row), None)
        if name is None:
            raise BadRow(f"does not say whether the answer is good: '{names[0]}' is missing (data.source.verdict)")
        if not isinstance(row[name], bool):
            raise BadRow(f"{name}: expected true or false, got {row[name]!r}")
        return row[name]


def asked_and_answered(row: Mapping[str, Any], name: str) -> Iterator[dict[str, str]]:
    """The question's messages, then the answer called `name`: as text, as a message, or as all of the messages."""
    if name not in row:
        raise BadRow(f"'{name}' is missing")
    answer = row[name]
    if isinstance(answer, list):
        for i, each in enumerate(answer):
            yield said(each, f"{name}.{i}")
        return
    asked = row.get("messages", row.get("conversations", row.get("prompt")))
    if isinstance(asked, str):
        yield {"role": "user", "content": asked}
    elif isinstance(asked, list) and asked:
        for i, each in enumerate(asked):
            yield said(each, f"question.{i}")
    else:
        raise BadRow("has no question: give 'conversations', 'messages' or 'prompt'")
    last = {"role": "assistant", "content": answer} if isinstance(answer, str) else said(answer, name)
    if last["role"] != "assistant":
        raise BadRow(f"{name}: said by '{last['role']}', not by the assistant")
    yield last


def said(item: Any, place: str) -> dict[str, str]:
    keys = ("from", "value") if isinstance(item, Mapping) and "from" in item else ("role", "content")
    return message(item, place, *keys)._asdict()
