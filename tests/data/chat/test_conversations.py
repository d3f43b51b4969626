"""Conversations in the formats people have them in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftheta.core.errors import DataError
from ftheta.data.chat.conversations import Message, conversation, rows
from ftheta.data.read.bad import BadRow
from ftheta.data.sources.chat import Chat


def test_one_shape_for_all_formats() -> None:
    expected = [Message("system", "S"), Message("user", "Q"), Message("assistant", "A")]
    assert conversation({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}) == expected
    assert conversation({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}], "system": "S"}) == expected
    assert conversation({"instruction": "Q", "input": "", "output": "A", "system": "S"}) == expected
    assert conversation({"instruction": "问", "input": "甲", "output": "答", "history": [["前", "后"]]}) == [
        Message("user", "前"), Message("assistant", "后"), Message("user", "问\n甲"), Message("assistant", "答"),
    ]


@pytest.mark.parametrize("row, why", [
    ([], "expected an object"), ({"text": "a"}, "has none of 'messages'"), ({"messages": "x"}, "messages: expected a list"),
    ({"messages": [{"content": "a"}]}, "messages.0: 'role' is missing"), ({"messages": [{"role": "asistant", "content": "a"}]}, "did you mean 'assistant'"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content: expected text, got int"), ({"messages": [{"role": "user", "content": "a"}]}, "says nothing"),
    ({"instruction": "q", "output": " "}, "message 1 of the assistant is empty"), ({"messages": [{"role": "assistant", "content": "a"}]}, "speaks first"),
    ({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}, {"role": "assistant", "content": "c"}]}, "message 1 is a system message"),
    ({"instruction": "q", "output": "a", "history": [["x"]]}, "history.0"),
])
def test_bad_rows_say_why(row: Any, why: str) -> None:
    with pytest.raises(BadRow, match=why):
        conversation(row)


def test_rows_of_files(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"x": "中"}, 2]), encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('{"x": "中"}\n\n2\n', encoding="utf-8")
    assert list(rows(tmp_path / "a.json", 1000)) == [(1, {"x": "中"}), (2, 2)]
    assert list(rows(tmp_path / "a.jsonl", 1000)) == [(1, {"x": "中"}), (3, 2)]
    with pytest.raises(DataError, match="more than 5"):
        list(rows(tmp_path / "a.json", 5))
    (tmp_path / "b.jsonl").write_bytes(b'{"x": 1}\n{"x": \n')
    (first, second) = rows(tmp_path / "b.jsonl", 1000)
    assert first == (1, {"x": 1}) and second[0] == 2 and isinstance(second[1], BadRow) and "not JSON" in str(second[1])
    (tmp_path / "c.json").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8 at byte 0"):
        list(rows(tmp_path / "c.json", 1000))
    (tmp_path / "d.json").write_text("{}")
    with pytest.raises(DataError, match="expected a list of conversations, got dict"):
        list(rows(tmp_path / "d.json", 1000))


@pytest.mark.parametrize(("line", "why"), [
    (b'{"messages": [{"role": "user", "content": "H\xff\xfe"}, {"role": "assistant", "content": "x"}]}', "not UTF-8 (byte 0xff)"),
    (b'{"messages": [{"role": ', "not JSON"), (b"[" * 300 + b"]" * 300, "nested deeper than 200"), (b'{"messages": NaN}', "NaN is not JSON"),
])
def test_a_broken_line_costs_that_line(line: bytes, why: str, tmp_path: Path) -> None:
    good = b'{"instruction": "\xe4\xb8\xad?", "output": "%d"}'
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + good % 1 + b"\r\n\n" + line + b"\n" + good % 2)
    with pytest.raises(DataError) as caught:
        Chat(path=str(tmp_path / "a.jsonl")).items()
    assert "a.jsonl row 3: " in str(caught.value) and why in str(caught.value) and "on_bad: skip" in str(caught.value)
    kept = Chat(path=str(tmp_path / "a.jsonl"), on_bad="skip").items()
    assert [(item.name, item.talks[0]) for item in kept] == [
        (f"a.jsonl:{number}", [Message("user", "中?"), Message("assistant", said)]) for number, said in ((1, "1"), (4, "2"))
    ]
