"""Prompts with answers: out of a generator and out of files, and what is asked before an answer."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ftheta.core.errors import DataError
from ftheta.data.chat.prepare import prepare_chat
from ftheta.data.chat.rows import Conversations
from ftheta.data.sources.arithmetic import Arithmetic
from ftheta.data.sources.chat import Chat, ChatSource, Prompts
from ftheta.data.sources.source_config import Sections
from ftheta.data.split import Split
from ftheta.data.tokenizers.trained import Bytes


def asked(source: ChatSource, cache: Path) -> list[tuple[str, str]]:
    """Prompt and answer of every conversation as text, control tokens left out."""
    prepared = prepare_chat(source.items(), source.template, Sections(Bytes(), cache, split=Split(validation=0, test=0)), answered=False)
    talks, decode = prepared.prompts["train"], prepared.processor.decode
    assert isinstance(talks, Conversations)
    pairs = [talks.encoded.question(i) for i in range(len(talks.encoded.offsets))]
    return [(decode(prompt), decode(answer)) for prompt, answer in pairs]


def write(folder: Path, rows: list[dict]) -> str:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return str(folder / "rows.jsonl")


def test_arithmetic_is_right_and_never_repeats(tmp_path: Path) -> None:
    found = asked(Arithmetic(operations=("+", "-", "*"), digits=2, count=500), tmp_path)
    assert len({question for question, _ in found}) == 500
    by = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
    terms = [(re.fullmatch(r"(\d+)([-+*])(\d+)=", question), answer) for question, answer in found]
    assert all(match is not None and by[match[2]](int(match[1]), int(match[3])) == int(answer) for match, answer in terms)
    assert {match[2] for match, _ in terms if match} == set(by)


def test_arithmetic_comes_from_its_seed() -> None:
    names = [[item.name for item in Arithmetic(count=50, seed=seed).items()] for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]


def test_fields_are_chosen(tmp_path: Path) -> None:
    path = write(tmp_path, [{"q": "How many?", "a": "so 3\n#### 3"}, {"q": "Who?", "a": "me"}])
    assert asked(Prompts(path=path, question="q", answer="a", template="plain"), tmp_path) == [("How many?", "so 3\n#### 3"), ("Who?", "me")]
    assert asked(Prompts(path=path, question="q", answer=None, template="plain"), tmp_path) == [("How many?", ""), ("Who?", "")]
    with pytest.raises(DataError, match=r"row 1: has no field 'question' \(data.source.question\)"):
        Prompts(path=path).items()


def test_what_is_asked_is_what_comes_before_the_last_answer(tmp_path: Path) -> None:
    talk = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    path = write(tmp_path, [{"messages": [{"role": role, "content": content} for role, content in talk]}])
    assert asked(Chat(path=path, template="plain"), tmp_path) == [("abc", "d")]
    ((prompt, answer),) = asked(Chat(path=path, template="chatml"), tmp_path)
    assert prompt.endswith("<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n") and answer == "d<|im_end|>"


def test_without_answers_there_is_nothing_to_learn(tmp_path: Path) -> None:
    path = write(tmp_path, [{"question": f"{i}?"} for i in range(40)])
    with pytest.raises(DataError, match="there must be answers"):
        Prompts(path=path, answer=None).prepare(Sections(Bytes(), tmp_path))
