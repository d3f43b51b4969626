"""What OpenAI's routes take, and what it means here: bodies → prompts, continuations → answers."""

from __future__ import annotations

import json
import secrets
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ftheta.core.config import Config
from ftheta.models.evidence import Pointed
from ftheta.models.tasks.text import Prompt, Said
from ftheta.serving.http.errors import Refusal

LEAST, MOST = -100.0, 100.0
"""Between which a bias may be."""
CHOICES = 128
"""Prompts and samples of one request at most."""


class Or:
    """Annotation of a field that may be null, which then has this value: OpenAI's documents allow it, and many clients send every field they know."""

    def __init__(self, value: Any):
        self.value = value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        nullable = core_schema.nullable_schema(handler(source))
        return core_schema.no_info_after_validator_function(lambda given: self.value if given is None else given, nullable)


class StreamOptions(Config):
    """What a stream says besides its text."""

    include_usage: bool = False
    """Whether a last piece says how many tokens there were."""


class JsonSchema(Config):
    """A JSON Schema under a name."""

    name: str = ""
    """What it is called; of no consequence here."""
    description: str = ""
    """What it is for; of no consequence here."""
    strict: bool | None = None
    """Answers are always of the form."""
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    """The schema."""


class ResponseFormat(Config):
    """The form of an answer."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    """Any text, any JSON object, or JSON of a schema."""
    json_schema: JsonSchema | None = None
    """The schema."""

    def schema_of(self) -> dict[str, Any] | None:
        """The schema answers are of. Raises Refusal."""
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise Refusal(400, "response_format: json_schema goes with the type of that name", "response_format", "invalid_value")
        return {"type": "object"} if self.type == "json_object" else None if self.json_schema is None else self.json_schema.schema_


class Writing(Config):
    """What both routes take that write text."""

    model: str
    """The name of a model of this server."""
    max_tokens: int | None = Field(default=None, gt=0)
    """At most this many new tokens."""
    temperature: Annotated[float, Field(ge=0, le=2), Or(1.0)] = 1.0
    """Divides the logits; 0 takes the likeliest token."""
    top_p: Annotated[float, Field(gt=0, le=1), Or(1.0)] = 1.0
    """Choose among the likeliest tokens that together hold this probability."""
    top_k: int | None = Field(default=None, gt=0)
    """Choose among this many likeliest tokens."""
    min_p: Annotated[float, Field(ge=0, le=1), Or(0.0)] = 0.0
    """Choose among tokens at least this share as likely as the likeliest."""
    n: Annotated[int, Field(gt=0, le=CHOICES), Or(1)] = 1
    """How many texts for each prompt."""
    stream: Annotated[bool, Or(False)] = False
    """Whether the text comes piece by piece, as server-sent events."""
    stream_options: StreamOptions | None = None
    """What a stream says besides its text."""
    stop: str | list[str] | None = None
    """End before the first of these strings."""
    presence_penalty: Annotated[float, Field(ge=-2, le=2), Or(0.0)] = 0.0
    """Taken from the logit of every token that is in the new text."""
    frequency_penalty: Annotated[float, Field(ge=-2, le=2), Or(0.0)] = 0.0
    """Taken from the logit of a token each time it is in the new text."""
    repetition_penalty: Annotated[float, Field(gt=0), Or(1.0)] = 1.0
    """Divides logits of tokens in the prompt or the new text."""
    seed: int | None = None
    """Same seed, same text; none: drawn."""
    logit_bias: dict[str, float] | None = None
    """Token id → what is added to its logit."""
    regex: str | None = None
    """A regular expression that the whole new text matches."""
    user: str | None = Field(default=None, max_length=256)
    """Who asks; users take turns."""

    def names(self) -> dict[str, str]:
        """How a prompt's field → is called here."""
        long = "max_completion_tokens" if getattr(self, "max_completion_tokens", None) is not None else "max_tokens"
        return {"most": long, "bias": "logit_bias", "samples": "n", "json_schema": "response_format", "must_call": "tool_choice"}

    def fields(self, most: int) -> dict[str, Any]:
        """The fields of a prompt, but for what it continues. Raises Refusal."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stop) > 4 or any(not text for text in stop):
            raise Refusal(400, "stop: up to four strings of at least one character", "stop", "invalid_value")
        bias = self.logit_bias or {}
        if any(not name.isdecimal() or len(name) > 9 or not LEAST <= value <= MOST for name, value in bias.items()):
            raise Refusal(400, "logit_bias: token ids as strings, and values from -100 to 100", "logit_bias", "invalid_value")
        return {
            "most": most, "temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k, "min_p": self.min_p, "samples": self.n, "stop": stop,
            "presence": self.presence_penalty, "frequency": self.frequency_penalty, "repetition": self.repetition_penalty,
            "seed": secrets.randbits(31) if self.seed is None else self.seed, "bias": bias, "regex": self.regex,
        }


class CompletionBody(Writing):
    """What /v1/completions takes."""

    prompt: str | list[str]
    """The text to continue, or several."""
    logprobs: int | None = Field(default=None, ge=0, le=5)
    """Say log p of every new token, and of so many of the likeliest at its place."""

    def prompts(self) -> list[Prompt]:
        """One for each text. Raises Refusal."""
        texts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        if not texts or len(texts) * self.n > CHOICES:
            raise Refusal(400, f"prompt: 1 to {CHOICES} texts", "prompt", "invalid_value")
        fields = self.fields(self.max_tokens or 16)
        return [Prompt.parse({"prompt": text, "scores": self.logprobs is not None, "alternatives": self.logprobs or 0, **fields}) for text in texts]


class Part(Config):
    """A part of what was said."""

    type: Literal["text"]
    """Text only."""
    text: str
    """The text."""


class Function(Config):
    """A tool that is a function."""

    name: str = Field(min_length=1, max_length=256)
    """What it is called."""
    description: str | None = None
    """What it does."""
    parameters: dict[str, Any] | None = None
    """A JSON Schema of what it takes."""
    strict: bool | None = None
    """Of no consequence here: a call that is demanded is of the schema, one that is not is what the model makes it."""


class Tool(Config):
    """What the model may call."""

    type: Literal["function"]
    """Functions only."""
    function: Function
    """The function."""


class Chosen(Config):
    """The name of a tool."""

    name: str
    """What it is called."""


class Choice(Config):
    """Which tool is to be called."""

    type: Literal["function"] = "function"
    """Functions only."""
    function: Chosen
    """The function."""


class Called(Config):
    """Which function was called, and how."""

    name: str
    """What it is called."""
    arguments: str
    """Its arguments as JSON."""


class Call(Config):
    """A call the assistant made."""

    id: str
    """What its answer refers to."""
    type: Literal["function"] = "function"
    """Functions only."""
    function: Called
    """What was called."""

    def plain(self) -> dict[str, Any]:
        """As chat templates have it: arguments as an object, where they are one."""
        try:
            arguments = json.loads(self.function.arguments)
        except (ValueError, RecursionError):
            arguments = self.function.arguments
        return {"id": self.id, "type": self.type, "function": {"name": self.function.name, "arguments": arguments}}


class ChatMessage(Config):
    """One message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    """Who said it."""
    content: str | list[Part] | None = None
    """What was said; nothing where the assistant only calls tools."""
    tool_calls: list[Call] | None = None
    """Tools the assistant called."""
    tool_call_id: str | None = None
    """Which call a tool answers; of no consequence here, where answers stand after their calls."""
    name: str | None = None
    """The name of who said it; of no consequence here."""

    def said(self) -> Said:
        if self.content is None and not self.tool_calls:
            raise Refusal(400, "messages: a message has neither content nor tool_calls", "messages", "invalid_value")
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or ())
        return Said(role="system" if self.role == "developer" else self.role, content=content, tool_calls=tuple(call.plain() for call in self.tool_calls or ()))


class ChatBody(Writing):
    """What /v1/chat/completions takes."""

    messages: list[ChatMessage] = Field(min_length=1)
    """The conversation so far."""
    max_completion_tokens: int | None = Field(default=None, gt=0)
    """At most this many new tokens."""
    logprobs: Annotated[bool, Or(False)] = False
    """Whether to say log p of every new token."""
    top_logprobs: Annotated[int, Field(ge=0, le=20), Or(0)] = 0
    """With logprobs: of how many of the likeliest tokens at its place too."""
    tools: list[Tool] | None = Field(default=None, max_length=CHOICES)
    """What the model may call, told in the words of its chat template."""
    tool_choice: Annotated[Literal["auto", "none", "required"] | Choice, Or("auto")] = "auto"
    """none: as if there were no tools; required: one is called for certain; or which one."""
    parallel_tool_calls: Annotated[bool, Or(True)] = True
    """Whether an answer may call more than once; false: it ends with its first call."""
    response_format: ResponseFormat | None = None
    """The form of the answer."""

    def offered(self) -> list[str]:
        """Names of the tools that may be called."""
        return [] if self.tool_choice == "none" else [tool.function.name for tool in self.tools or ()]

    def prompts(self) -> list[Prompt]:
        if self.top_logprobs and not self.logprobs:
            raise Refusal(400, "top_logprobs: with logprobs: true only", "top_logprobs", "invalid_value")
        fields = self.fields(self.max_completion_tokens or self.max_tokens or 512)
        tools = [] if self.tool_choice == "none" else [tool.model_dump(exclude_none=True) for tool in self.tools or ()]
        must = [self.tool_choice.function.name] if isinstance(self.tool_choice, Choice) else self.offered() if self.tool_choice == "required" else []
        if self.tool_choice not in ("auto", "none") and not set(must) & set(self.offered()):
            raise Refusal(400, "tool_choice: there is no such tool among the tools", "tool_choice", "invalid_value")
        return [Prompt.parse({
            "messages": [message.said().dump() for message in self.messages], "tools": tools, "must_call": must,
            "scores": self.logprobs, "alternatives": self.top_logprobs,
            "json_schema": self.response_format.schema_of() if self.response_format else None, **fields,
        })]


class EvidenceBody(Pointed):
    """What /evidence takes."""

    model: str
    """The name of a model of this server."""


class EmbeddingBody(Config):
    """What /v1/embeddings takes."""

    model: str
    """The name of a model of this server."""
    input: str | list[str]
    """The text, or several."""
    dimensions: int | None = Field(default=None, gt=0)
    """How many numbers a vector has; the model's own number only."""
    encoding_format: Annotated[Literal["float", "base64"], Or("float")] = "float"
    """As numbers, or as little-endian float32 in base64."""
    user: str | None = Field(default=None, max_length=256)
    """Who asks; of no consequence here."""
