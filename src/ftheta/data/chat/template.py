"""Chat templates (Jinja, as the ecosystem's models carry them), rendered so that user text can never become a control token.

Every message's content is put between two private markers before rendering. What lies between them afterwards is content and is
tokenized as plain text; what lies outside is the template's own and may hold control tokens. What the assistant says, with the template's
own text after it up to the next message, is what training learns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from ftheta.core.errors import DataError, UsageError, suggest
from ftheta.core.template import Template, as_json
from ftheta.data.chat.conversations import Message

Tools = Sequence[Mapping[str, Any]]
OPEN, CLOSE = "\ue0f0", "\ue0f1"


class Piece(NamedTuple):
    """A stretch of a rendered conversation."""

    text: str
    content: bool
    """Whether somebody wrote it, so that it is text whatever it spells; otherwise the template did."""
    learned: bool
    """Whether training learns to say it."""


class ChatTemplate:
    """Renders conversations. Raises UsageError for a template that is no template."""

    def __init__(self, source: str, bos: str = "", eos: str = ""):
        self.source = source
        self.tokens = {"bos_token": bos, "eos_token": eos}
        self.template = Template(source, "chat template")

    def pieces(self, messages: Sequence[Message], *, ask: bool = False, tools: Tools = (), calls: Sequence[Tools] = ()) -> list[Piece]:
        """The conversation in pieces; `ask` ends it where the assistant is to go on. `tools` are what may be called and `calls` what each message
        called, which the template writes in its own words. Raises DataError when the template cannot render it."""
        strip = "trim" in self.source                                                         # it strips contents: so do we, inside the markers
        marked: list[dict[str, Any]] = []
        said = list[tuple[int, str]]()
        for number, (message, called) in enumerate(zip(messages, calls or [()] * len(messages), strict=True)):
            content = plain(message.content, strip)
            if content or not called:                                                     # who only calls says nothing, and some templates look whether he does
                said.append((number, content))
                content = f"{OPEN}{content}{CLOSE}"
            marked.append({"role": message.role, "content": content, **({"tool_calls": list(called)} if called else {})})
        rendered = self.render(marked, ask, tools)
        pieces: list[Piece] = []
        place, seen = 0, 0
        learning = False
        while (start := rendered.find(OPEN, place)) >= 0:
            end = rendered.find(CLOSE, start)
            known = () if seen >= len(said) else (said[seen][1], as_json(said[seen][1])[1:-1])      # some write what tools say as JSON
            if end < 0 or rendered[start + 1 : end] not in known:
                number = said[min(seen, len(said) - 1)][0] if said else 0
                raise DataError(f"chat template: it changes, repeats or leaves out the content of message {number}")
            mine = messages[said[seen][0]].role == "assistant"
            closing, opening = self.border(rendered[place:start], learning)
            pieces += [Piece(closing, False, learning), Piece(opening, False, False), Piece(rendered[start + 1 : end], True, mine)]
            place, seen, learning = end + 1, seen + 1, mine
        if seen != len(said):
            raise DataError(f"chat template: it leaves out {len(said) - seen} of {len(messages)} messages")
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
