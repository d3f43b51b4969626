"""Calls of tools in what a model writes. How it writes them stands in its chat template: a call put through the template shows what comes before one
(`<tool_call>`, as Hermes and Qwen have it; nothing, as Llama 3 has it), what after, and what the arguments are called (`arguments`, `parameters`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ftheta.core.errors import DataError, UsageError
from ftheta.data.chat.template import ChatTemplate, Tools

SHOWN: dict[str, Any] = {"name": "shown", "arguments": {"as": "an example"}}
TOOL = {"type": "function", "function": {"name": SHOWN["name"], "description": "", "parameters": {"type": "object", "properties": {"as": {"type": "string"}}}}}
ASKED = {"role": "user", "content": "a"}
CALLED = {"role": "assistant", "content": "", "tool_calls": [{"id": "shown0000", "type": "function", "function": SHOWN}]}
SPACED = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""JSON as templates write it."""


class Call(NamedTuple):
    """A call of a tool."""

    name: str
    arguments: dict[str, Any]


class Calling(NamedTuple):
    """How calls are written: `before` `{"name": ..., "arguments": {...}}` `after`, white space between them included."""

    before: str
    after: str
    arguments: str

    def grammar(self, tools: Tools, names: Collection[str]) -> str:
        """A call of one of the tools of these names, in Lark's words as llguidance takes them."""
        forms = []
        for tool in (each["function"] for each in tools if each["function"]["name"] in names):
            taken = tool.get("parameters") or {"type": "object"}
            parts = {"name": {"const": tool["name"]}, self.arguments: taken}
            below = {name: taken[name] for name in ("$defs", "definitions") if name in taken}   # what it refers to, from where it stands now
            forms.append({"type": "object", "properties": parts, "required": list(parts), "additionalProperties": False, "x-guidance": SPACED, **below})
        around = [json.dumps(text, ensure_ascii=False) if text else "" for text in (self.before, self.after)]
        rules = [f"call{number}: %json {json.dumps(form)}" for number, form in enumerate(forms)]
        return "\n".join([f"start: {around[0]} ({' | '.join(f'call{number}' for number in range(len(forms)))}) {around[1]}", *rules])


def calling(template: ChatTemplate, control: Collection[str]) -> Calling | None:
    """How a template writes calls, without `control` tokens, which no text shows; None for one that writes none, or not as JSON."""
    try:
        asked = template.render([ASKED], True, [TOOL])
        rest = template.render([ASKED, CALLED], False, [TOOL])
    except DataError:
        return None
    rest = rest[next((at for at, (a, b) in enumerate(zip(asked, rest, strict=False)) if a != b), len(asked)) :]
    for token in sorted(control, key=len, reverse=True):
        rest = rest.replace(token, "")
    for start, end, found in objects(rest):
        names = [name for name, value in found.items() if value == SHOWN["arguments"]]
        if found.get("name") == SHOWN["name"] and names:
            before, after = re.search(r"\S*\s*$", rest[:start]), re.match(r"(\s*\S+)?", rest[end:])
            assert before is not None and after is not None
            return Calling(before.group() if after.group() else "", after.group() if before.group() else "", names[0])
    return None


def objects(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(start, end, value) of the JSON objects in a text."""
    place = 0
    while (start := text.find("{", place)) >= 0:
        try:
            found, place = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError):
            place = start + 1
            continue
        yield start, place, found


class CallReader:
    """Tells calls from text while both come. What calls nothing that was offered, or is no JSON, is text; so is everything where nobody knows how calls
    are written. With `one` the answer ends with its first call: what comes after it is not told."""

    def __init__(self, calling: Calling | None, names: Collection[str], one: bool = False):
        before, after, self.arguments = calling or Calling("", "", "")
        self.opening, self.closing = before.strip(), after.strip()
        self.names = names if calling else ()
        self.one = one
        self.held = ""
        """What may still become a call, or the white space before one."""
        self.said = False
        self.calls = 0

    def add(self, piece: str, last: bool = False) -> tuple[str, list[Call]]:
        """Text that is no part of a call, and the calls that have become whole; everything when this piece is the last."""
        self.held += "" if self.one and self.calls else piece
        text, calls = self.between(last) if self.opening else self.alone(last or not self.names)
        self.said, self.calls = self.said or bool(text), self.calls + len(calls)
        if last and self.calls:
            text = text.rstrip()
        return text, calls

    def alone(self, last: bool) -> tuple[str, list[Call]]:
        """Where nothing marks a call: an answer is calls from its beginning to its end, or it is text."""
        start = self.held.lstrip()
        if not self.said and not last and start[:1] in ("", "{"):
            return "", []
        held, self.held = self.held, ""
        found = list(objects(held)) if not self.said and start.startswith("{") else []
        calls = [self.call(value) for _, _, value in found]
        edges = [0, *(edge for start, end, _ in found for edge in (start, end)), len(held)]
        between = {held[a:b].strip() for a, b in zip(edges[::2], edges[1::2], strict=True)}
        known = [call for call in calls if call is not None]
        return ("", known[:1] if self.one else known) if known and len(known) == len(calls) and between <= {"", ";"} else (held, [])

    def between(self, last: bool) -> tuple[str, list[Call]]:
        """Where each stands between two marks."""
        text, calls = "", list[Call]()
        while (start := self.held.find(self.opening)) >= 0:
            begin = start + len(self.opening)
            call, end = self.whole(begin)
            if not end and not last:
                break
            if call is None:
                end = end or begin                                                        # it never became one
                text += self.held[:end]
            else:
                text += self.held[:start].rstrip()
                calls.append(call)
                if self.one:
                    self.held = ""
                    break
            self.held = self.held[end:]
        cut = len(self.held) if last else certain(self.held, self.opening)
        text, self.held = text + self.held[:cut], self.held[cut:]
        return text, calls

    def whole(self, start: int) -> tuple[Call | None, int]:
        """What is called here, if anything, and where it ends; 0 when it is not yet whole."""
        end = start - 1
        while (end := self.held.find(self.closing, end + 1)) >= 0:
            try:
                found = json.loads(self.held[start:end])
            except (ValueError, RecursionError):
                continue
            return self.call(found), end + len(self.closing)
        return None, 0

    def call(self, found: Any) -> Call | None:
        """What an object calls; None where it calls nothing that was offered."""
        if not isinstance(found, Mapping) or found.get("name") not in self.names or not isinstance(arguments := found.get(self.arguments), dict):
            return None
        try:
            json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError):                                              # half a character, or no number
            return None
        return Call(found["name"], arguments)


def certain(text: str, opening: str) -> int:
    """How far a text can be shown: up to where `opening` stands or may begin, and the white space before that."""
    cut = text.find(opening)
    if cut < 0:
        cut = next((len(text) - size for size in range(min(len(opening) - 1, len(text)), 0, -1) if text.endswith(opening[:size])), len(text))
    return len(text[:cut].rstrip())


def named(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """What tools are called. Raises UsageError for what is no tool."""
    try:
        return [tool["function"]["name"] for tool in tools]
    except (KeyError, TypeError):
        raise UsageError('tools: each is {"type": "function", "function": {"name": ..., "parameters": {...}}}') from None
