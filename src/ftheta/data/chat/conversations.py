"""Conversations out of rows: `messages` (OpenAI), `conversations` (ShareGPT) and `instruction`/`input`/`output` (Alpaca), in one shape."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ftheta.core.errors import DataError, suggest
from ftheta.data.read.bad import BadRow
from ftheta.data.read.lines import MARK, Caps, lines, parsed

ROLES = ("system", "user", "assistant", "tool")
NAMES = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "tool": "tool", "observation": "tool",
    "function_call": "assistant",
}
"""What the formats call a role → what we call it."""


class Message(NamedTuple):
    """What somebody said."""

    role: str
    content: str


def conversation(row: Any) -> list[Message]:
    """A row in any of the known formats. Raises BadRow naming the field."""
    if not isinstance(row, Mapping):
        raise BadRow("expected an object with 'messages', 'conversations' or 'instruction'")
    if "messages" in row:
        messages = [message(item, f"messages.{i}", "role", "content") for i, item in enumerate(listed(row["messages"], "messages"))]
    elif "conversations" in row:
        messages = [message(item, f"conversations.{i}", "from", "value") for i, item in enumerate(listed(row["conversations"], "conversations"))]
        if row.get("system"):
            messages.insert(0, Message("system", text(row["system"], "system")))
    elif "instruction" in row:
        messages = alpaca(row)
    else:
        raise BadRow(f"has none of 'messages', 'conversations', 'instruction' (fields: {', '.join(map(str, row)) or 'none'})")
    return checked(messages)


def alpaca(row: Mapping[str, Any]) -> list[Message]:
    """`history` pairs first, then instruction and input together, then the answer."""
    messages = [Message("system", text(row["system"], "system"))] if row.get("system") else []
    for i, turn in enumerate(listed(row.get("history") or [], "history")):
        if not isinstance(turn, Sequence) or isinstance(turn, str) or len(turn) != 2:
            raise BadRow(f"history.{i}: expected [question, answer]")
        messages += [Message("user", text(turn[0], f"history.{i}.0")), Message("assistant", text(turn[1], f"history.{i}.1"))]
    asked = "\n".join(part for part in (text(row["instruction"], "instruction"), text(row.get("input") or "", "input")) if part)
    return [*messages, Message("user", asked), Message("assistant", text(row.get("output", ""), "output"))]


def message(item: Any, place: str, role: str, content: str) -> Message:
    if not isinstance(item, Mapping):
        raise BadRow(f"{place}: expected an object with '{role}' and '{content}'")
    for name in (role, content):
        if name not in item:
            raise BadRow(f"{place}: '{name}' is missing")
    said = item[role]
    if said not in NAMES:
        raise BadRow(f"{place}.{role}: '{said}' is not a known role{suggest(str(said), NAMES, 'roles')}")
    return Message(NAMES[said], text(item[content], f"{place}.{content}"))


def checked(messages: list[Message]) -> list[Message]:
    """Refuse what cannot be learned from: no answer, an empty answer, a system message that is not the first."""
    for i, (role, content) in enumerate(messages):
        if role == "assistant" and not content.strip():
            raise BadRow(f"message {i} of the assistant is empty")
        if role == "system" and i:
            raise BadRow(f"message {i} is a system message, which must be the first")
    if not any(role == "assistant" for role, _ in messages):
        raise BadRow("the assistant says nothing, so there is nothing to learn")
    if messages[0].role == "assistant" or (messages[0].role == "system" and len(messages) > 1 and messages[1].role == "assistant"):
        raise BadRow("the assistant speaks first: somebody must ask something")
    return messages


def text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise BadRow(f"{place}: expected text, got {type(value).__name__}")
    return value


def listed(value: Any, place: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise BadRow(f"{place}: expected a list")
    return value


def rows(path: Path, largest: int) -> Iterator[tuple[int, Any]]:
    """(number from 1, value) of every row of a JSON-lines file, or of the list in a JSON file; in place of a line that cannot be read, the BadRow that says
    why. Raises DataError naming a file that cannot be read."""
    try:
        if path.stat().st_size > largest:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes, more than {largest:,}: cut it into JSON lines files")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if path.suffix == ".json":
        try:
            found = json.loads(data.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 at byte {error.start:,}") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is not JSON: {error}") from None
        if not isinstance(found, list):
            raise DataError(f"{path}: expected a list of conversations, got {type(found).__name__}")
        yield from enumerate(found, 1)
        return
    for line in lines(io.BytesIO(data.removeprefix(MARK)), largest):
        if (line.data or b"").strip():
            assert line.data is not None and line.number is not None
            try:
                yield line.number, parsed(line.data, Caps())
            except BadRow as reason:
                yield line.number, reason
