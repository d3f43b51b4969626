"""Chat templates (Jinja, as the ecosystem's models carry them), rendered so that user text can never become a control token.

Every message's content is put between two private markers before rendering. What lies between them afterwards is content and is
tokenized as plain text; what lies outside is the template's own and may hold control tokens. What the assistant says, with the template's
own text after it up to the next message, is what training learns. Templates come out of model folders, so they run in Jinja's sandbox with
limits on loops, sizes and output.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from ftheta.core.errors import DataError, UsageError, suggest
from ftheta.data.chat.conversations import Message

OPEN, CLOSE = "\ue0f0", "\ue0f1"
MOST_STEPS = 1_000_000
"""Lines of a template carried out in one rendering."""
LARGEST = 16 << 20
"""Characters a value or the output may have."""
CODE = "<template>"
"""What Jinja calls the file of compiled templates."""


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
        # nothing is computed while compiling, where no limit would hold
        environment = Limited(trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=["jinja2.ext.loopcontrols"])
        environment.globals |= {"raise_exception": refuse, "joined": joined}
        try:
            self.template = environment.from_string(Joints().visit(environment.parse(source)))
        except jinja2.TemplateError as error:
            raise UsageError(f"chat template: {error.message} (line {getattr(error, 'lineno', '?')})") from None

    def pieces(self, messages: Sequence[Message], *, ask: bool = False) -> list[Piece]:
        """The conversation in pieces; `ask` ends it where the assistant is to go on. Raises DataError when the template cannot render it."""
        strip = "trim" in self.source                                                         # it strips contents: so do we, inside the markers
        marked = [{"role": m.role, "content": f"{OPEN}{plain(m.content, strip)}{CLOSE}"} for m in messages]
        rendered = self.render(marked, ask)
        pieces: list[Piece] = []
        place, seen = 0, 0
        learning = False
        while (start := rendered.find(OPEN, place)) >= 0:
            end = rendered.find(CLOSE, start)
            if seen >= len(messages) or end < 0 or rendered[start + 1 : end] != plain(messages[seen].content, strip):
                raise DataError(f"chat template: it changes, repeats or leaves out the content of message {min(seen, len(messages) - 1)}")
            mine = messages[seen].role == "assistant"
            closing, opening = self.border(rendered[place:start], learning)
            pieces += [Piece(closing, False, learning), Piece(opening, False, False), Piece(rendered[start + 1 : end], True, mine)]
            place, seen, learning = end + 1, seen + 1, mine
        if seen != len(messages):
            raise DataError(f"chat template: it leaves out {len(messages) - seen} of {len(messages)} messages")
        closing, opening = self.border(rendered[place:], learning)
        return merged([*pieces, Piece(closing, False, learning), Piece(opening, False, False)])

    def border(self, between: str, learning: bool) -> tuple[str, str]:
        """What the template says after an answer, cut into what ends the answer (learned) and what opens the next message."""
        if not learning:
            return "", between
        ends = [between.find(token) + len(token) for token in (self.tokens["eos_token"], "<|im_end|>", "<|eot_id|>", "</s>") if token and token in between]
        cut = min(ends) if ends else len(between) - len(between.lstrip("\n"))
        return between[:cut], between[cut:]

    def render(self, messages: Sequence[dict[str, str]], ask: bool) -> str:
        try:
            with limited_steps():
                return together(self.template.generate(messages=messages, add_generation_prompt=ask, tools=None, **self.tokens))
        except Refused as error:
            raise DataError(f"chat template: {error}") from None
        except jinja2.TemplateError as error:
            raise DataError(f"chat template: {error.message}") from None
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError, MemoryError) as error:
            raise DataError(f"chat template: it fails on this conversation ({type(error).__name__}: {error})") from None


class Refused(Exception):
    """A template refuses a conversation, or goes beyond its limits."""


class Limited(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with a limit on how large values may become."""

    intercepted_binops = frozenset(["*", "**", "+"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(value) if isinstance(value, (str, list, tuple)) else 0 for value in (left, right)]
        counts = [value if isinstance(value, int) else 0 for value in (left, right)]
        if (sizes[0] + sizes[1] if operator == "+" else max(sizes[0] * counts[1], sizes[1] * counts[0])) > LARGEST:
            raise Refused(f"a value of more than {LARGEST:,} characters")
        if (operator == "**" and max(map(abs, counts)) > 1 << 16) or (operator == "*" and max(value.bit_length() for value in counts) > 1 << 16):
            raise Refused(f"{left} {operator} {right} is too large a power or product")
        return super().call_binop(context, operator, left, right)


class Joints(NodeTransformer):
    """Turns `a ~ b` into a call, which can be limited."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:
        return nodes.Call(nodes.Name("joined", "load"), [self.visit(part) for part in node.nodes], [], None, None, lineno=node.lineno)


@contextlib.contextmanager
def limited_steps() -> Iterator[None]:
    """Raise Refused in a template that goes on for too long: the lines it carries out are counted, which sees loops without output too."""
    left = MOST_STEPS
    before = sys.gettrace()

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Refused(f"it goes on for more than {MOST_STEPS:,} steps")
        return line

    sys.settrace(lambda frame, event, argument: line if frame.f_code.co_filename == CODE else None)
    try:
        yield
    finally:
        sys.settrace(before)


def together(parts: Iterable[str]) -> str:
    """The parts as one text. Raises Refused when it grows too large."""
    found, length = [], 0
    for part in parts:
        length += len(part)
        if length > LARGEST:
            raise Refused(f"its output is larger than {LARGEST:,} characters")
        found.append(part)
    return "".join(found)


def joined(*values: Any) -> str:
    """`a ~ b`."""
    return together(str(value) for value in values)


def refuse(message: str) -> str:
    """What templates call `raise_exception`."""
    raise Refused(str(message))


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
