"""Templates (Jinja, as the ecosystem's files carry them) rendered within limits: they come from elsewhere, so they run in Jinja's sandbox, with
limits on loops, sizes and output.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from ftheta.core.errors import DataError, UsageError

MOST_STEPS = 1_000_000
"""Lines of a template carried out in one rendering."""
LARGEST = 16 << 20
"""Characters a value or the output may have."""
CODE = "<template>"
"""What Jinja calls the file of compiled templates."""


class Template:
    """A template; `what` is how messages call it. Raises UsageError for one that is no template, or, when `strict`, on a name it is not given."""

    def __init__(self, source: str, what: str, strict: bool = False):
        self.what = what
        # nothing is computed while compiling, where no limit would hold
        undefined = jinja2.StrictUndefined if strict else jinja2.Undefined
        environment = Limited(trim_blocks=True, lstrip_blocks=True, optimized=False, undefined=undefined, extensions=["jinja2.ext.loopcontrols"])
        environment.filters["tojson"] = as_json
        environment.globals |= {"raise_exception": refuse, "joined": joined}
        try:
            self.template = environment.from_string(Joints().visit(environment.parse(source)))
        except jinja2.TemplateError as error:
            raise UsageError(f"{what}: {error.message} (line {getattr(error, 'lineno', '?')})") from None

    def render(self, facts: Mapping[str, Any]) -> str:
        """The text for these names. Raises DataError when the template fails on them, or goes beyond its limits."""
        try:
            with limited_steps():
                return together(self.template.generate(facts))
        except Refused as error:
            raise DataError(f"{self.what}: {error}") from None
        except jinja2.TemplateError as error:
            raise DataError(f"{self.what}: {error.message}") from None
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError, MemoryError) as error:
            raise DataError(f"{self.what}: it fails on this ({type(error).__name__}: {error})") from None


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON as models are trained on it: not escaped for web pages, as Jinja's own filter does."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


class Refused(Exception):
    """A template refuses what it is given, or goes beyond its limits."""


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
