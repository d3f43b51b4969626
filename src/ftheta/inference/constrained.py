"""Text of a given form: only tokens may come with which it can still match a regular expression or become JSON of a schema.

Which tokens these are is worked out by llguidance (https://github.com/guidance-ai/llguidance), an extra.
"""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from ftheta.core.errors import MissingExtraError, UsageError


def form(
    tokenizer: Tokenizer, end: int | None, *, regex: str | None = None, schema: Mapping[str, Any] | None = None, lark: str | None = None,
) -> Callable[[Sequence[int]], Sequence[int]]:
    """New tokens → the tokens that may come next, `end` among them where the text is complete; `lark` is a call of a tool, as `Calling.grammar` gives it.

    Raises UsageError for an expression, schema or tool that cannot be read, MissingExtraError without llguidance.
    """
    llguidance = library()
    if end is None:
        raise UsageError("regex, json_schema, must_call: this model has no token that ends a text, so it cannot say that the form is complete")
    field = "regex: " if regex is not None else "json_schema: " if lark is None else "must_call: the parameters of a tool are no JSON Schema that can be followed, got "
    try:
        if regex is not None:
            grammar = llguidance.LLMatcher.grammar_from_regex(regex)
        elif lark is not None:
            grammar = llguidance.LLMatcher.grammar_from_lark(lark)
        else:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides={"whitespace_flexible": False})
        matcher = llguidance.LLMatcher(known_tokens(tokenizer.to_str(), end), grammar)
    except ValueError as error:
        raise UsageError(f"{field}{error}") from None
    if wrong := matcher.get_error():
        raise UsageError(f"{field}{wrong}")
    taken: list[int] = []

    def allowed(new: Sequence[int]) -> Sequence[int]:
        matcher.consume_tokens(list(new[len(taken) :]))
        taken[:] = new
        if matcher.is_error():
            return []
        return np.flatnonzero(np.frombuffer(matcher.compute_logit_bias(), dtype=np.uint8)).tolist()

    return allowed


@functools.lru_cache(maxsize=4)
def known_tokens(tokenizer: str, end: int) -> Any:
    """The tokenizer as the library keeps it, which takes about a second for a large one."""
    return library().LLTokenizer(tokenizer, eos_token=end)


def library() -> Any:
    """llguidance. Raises MissingExtraError."""
    try:
        return importlib.import_module("llguidance")
    except ImportError:
        raise MissingExtraError("llguidance", "constrained", "text of a given form") from None
