"""Chat templates (Jinja, as the ecosystem's models carry them), rendered so that user text can never become a control token.

Every message's content is put between two private markers before rendering. What lies between them afterwards is content and is
tokenized as plain text; what lies outside is the template's own and may hold control tokens. What the assistant says, with the template's
own text after it up to the next message, is what training learns.

Some templates (Qwen 3, DeepSeek R1) leave out what the assistant reasoned, `<think>...</think>`, once somebody has spoken after it, or write it anew. For
these the reasoning and what was said have markers each; only the reasoning of earlier turns may be left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from ftheta.core.errors import DataError, UsageError, suggest
from ftheta.core.template import Template, as_json
from ftheta.data.chat.conversations import Message

Tools = Sequence[Mapping[str, Any]]
OPEN, CLOSE = "\ue0f0", "\ue0f1"
REASONED = re.compile(r"(?P<before>\s*<think>\n*)(?P<reasoning>(?:(?!</?think>).)*?)(?P<after>\n*</think>\n*)(?P<answer>.*)", re.DOTALL)
"""What the assistant says when it reasons first."""
THINKING = re.compile(r"<think>\n*\Z")


class Piece(NamedTuple):
    """A stretch of a rendered conversation."""

    text: str
    content: bool
    """Whether somebody wrote it, so that it is text whatever it spells; otherwise the template did."""
    learned: bool
    """Whether training learns to say it."""


class Part(NamedTuple):
    """Something said that a template has to write."""

    number: int
    """Of which message it is."""
    text: str
    earlier: bool = False
    """Whether it is reasoning of an earlier turn, which a template may leave out."""


class ChatTemplate:
    """Renders conversations. Raises UsageError for a template that is no template."""

    def __init__(self, source: str, bos: str = "", eos: str = ""):
        self.source = source
        self.tokens = {"bos_token": bos, "eos_token": eos}
        self.template = Template(source, "chat template")

    def pieces(self, messages: Sequence[Message], *, ask: bool = False, tools: Tools = (), calls: Sequence[Tools] = ()) -> list[Piece]:
        """The conversation in pieces; `ask` ends it where the assistant is to go on. `tools` are what may be called and `calls` what each message
        called, which the template writes in its own words. Raises DataError when the template cannot render it."""
        try:
            return self.marked(messages, ask, tools, calls, apart=False)
        except DataError:
            if not any(message.role == "assistant" and REASONED.fullmatch(message.content) for message in messages):
                raise
            return self.marked(messages, ask, tools, calls, apart=True)

    def marked(self, messages: Sequence[Message], ask: bool, tools: Tools, calls: Sequence[Tools], apart: bool) -> list[Piece]:
        """The same, with reasoning in markers of its own where it is to be kept `apart`."""
        strip = "trim" in self.source                                                         # it strips contents: so do we, inside the markers
        marked: list[dict[str, Any]] = []
        said = list[Part]()
        last = max((number for number, message in enumerate(messages) if message.role == "user"), default=-1)
        for number, (message, called) in enumerate(zip(messages, calls or [()] * len(messages), strict=True)):
            content = plain(message.content, strip)
            reasoned = REASONED.fullmatch(content) if apart and message.role == "assistant" else None
            if reasoned is not None:
                before, reasoning, after, answer = reasoned.groups()
                said += [Part(number, reasoning, earlier=number < last), Part(number, answer)]
                content = f"{before}{OPEN}{reasoning}{CLOSE}{after}{OPEN}{answer}{CLOSE}"
            elif content or not called:                                                   # who only calls says nothing, and some templates look whether he does
                said.append(Part(number, content))
                content = f"{OPEN}{content}{CLOSE}"
            marked.append({"role": message.role, "content": content, **({"tool_calls": list(called)} if called else {})})
        rendered = self.render(marked, ask, tools)
        pieces: list[Piece] = []
        place, seen = 0, 0
        learning = False
        while (start := rendered.find(OPEN, place)) >= 0:
            end = rendered.find(CLOSE, start)
            found = rendered[start + 1 : max(end, start + 1)]
            if seen < len(said) and said[seen].earlier and found != said[seen].text:
                seen += 1
            known = () if seen >= len(said) else (said[seen].text, as_json(said[seen].text)[1:-1])         # some write what tools say as JSON
            if end < 0 or found not in known:
                number = said[min(seen, len(said) - 1)].number if said else 0
                raise DataError(f"chat template: it changes, repeats or leaves out the content of message {number}")
            number = said[seen].number
            mine = messages[number].role == "assistant"
            goes_on = bool(seen) and said[seen - 1].number == number and learning            # from its reasoning to what it says
            closing, opening = (rendered[place:start], "") if goes_on else self.border(rendered[place:start], learning)
            begins = THINKING.search(opening) if seen + 1 < len(said) and said[seen + 1].number == number else None
            opening, thinks = (opening, "") if begins is None else (opening[: begins.start()], begins.group())
            pieces += [Piece(closing, False, learning), Piece(opening, False, False), Piece(thinks, False, mine), Piece(found, True, mine)]
            place, seen, learning = end + 1, seen + 1, mine
        if seen != len(said):
            raise DataError(f"chat template: it leaves out {len({part.number for part in said[seen:]})} of {len(messages)} messages")
        closing, opening = self.border(rendered[place:], learning)
        return merged([*pieces, Piece(closing, False, learning), Piece(opening, False, False)])

    def border(self, between: str, learning: bool) -> tuple[str, str]:
        """What the template says after an answer, cut into what ends the answer (learned) and what opens the next message."""
        if not learning:
            return "", between
        ends = [between.find(token) + len(token) for token in (self.tokens["eos_token"], "<|im_end|>", "<|eot_id|>", "</s>") if token and token in between]
        cut = min(ends) if ends else len(between) - len(between.lstrip("\n"))
        return between[:cut], between[cut:]

    def render(self, messages: Sequence[dict[str, Any]], ask: bool, tools: Tools = ()) -> str:
        return self.template.render({"messages": messages, "add_generation_prompt": ask, "tools": list(tools) or None, **self.tokens})


def plain(content: str, strip: bool) -> str:
    """Content without the markers, which nobody types."""
    content = content.replace(OPEN, "").replace(CLOSE, "")
    return content.strip() if strip else content


def merged(pieces: Sequence[Piece]) -> list[Piece]:
    """Neighbours of one sort together, empty ones left out."""
    found: list[Piece] = []
    for piece in pieces:
        if not piece.text:
            continue
        if found and not piece.content and found[-1][1:] == piece[1:]:
            found[-1] = Piece(found[-1].text + piece.text, piece.content, piece.learned)
        else:
            found.append(piece)
    return found


def named(template: str) -> str:
    """The source of a template that comes with the package, or of a file. Raises UsageError."""
    folder = Path(str(resources.files("ftheta.data.chat"))) / "templates"
    known = {path.stem: path for path in sorted(folder.glob("*.jinja"))}
    place = known.get(template, Path(template))
    if not place.is_file():
        raise UsageError(f"chat template '{template}': no such file, and none of that name comes with ftheta{suggest(template, known, 'templates')}")
    try:
        return place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"chat template {place} cannot be read: {error}") from None
