"""Tasks over text: continue it, or fill in hidden tokens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import torch
from pydantic import Field

from ftheta.blocks.mixer import Mixer
from ftheta.blocks.position import Positions
from ftheta.core.config import Config
from ftheta.core.errors import UsageError, suggest
from ftheta.core.log import logger
from ftheta.data.chat.calls import named
from ftheta.data.chat.conversations import Message
from ftheta.data.processors.text import TextProcessor
from ftheta.inference.beam import beam_search
from ftheta.inference.constrained import form
from ftheta.inference.generate import Generation
from ftheta.inference.request import Request
from ftheta.inference.sampling import Sampling
from ftheta.inference.speculative import Draft
from ftheta.inference.streaming import TextStream
from ftheta.models.tasks.task import Task

TOGETHER = 32
"""Continuations made in one batch."""


class Said(Config):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    """Who said it."""
    content: str
    """What was said."""
    tool_calls: tuple[dict[str, Any], ...] = ()
    """Tools the assistant called, as the chat template has them."""


class Wanted(Sampling):
    """How a text is to be written."""

    most: int = Field(default=200, gt=0)
    """At most this many new tokens."""
    stop: tuple[str, ...] = ()
    """End before the first of these strings."""
    samples: int = Field(default=1, gt=0)
    """How many continuations; with beams, the best so many."""
    beams: int = Field(default=1, gt=0)
    """Search for the likeliest continuation with so many kept at every step, instead of sampling."""
    length_penalty: float = 1.0
    """With beams: log p is divided by length to this power, so more favours longer texts."""
    lookup: int = Field(default=0, ge=0)
    """Guess at most this many tokens ahead from what came after the same tokens before: the same text sooner, where text repeats itself."""
    regex: str | None = None
    """A regular expression that the whole new text matches (needs the extra `constrained`)."""
    json_schema: dict[str, Any] | None = None
    """A JSON Schema that the new text is JSON of (needs the extra `constrained`)."""
    scores: bool = False
    """Whether to give log p of every new token."""
    alternatives: int = Field(default=0, ge=0, le=20)
    """With scores: how many of the likeliest tokens to give at every place."""


class Prompt(Wanted):
    """What to continue, and how."""

    prompt: str = ""
    """The text to continue."""
    messages: tuple[Said, ...] = ()
    """Instead of a prompt: a conversation, in which the model is to speak next (models with a chat template)."""
    tools: tuple[dict[str, Any], ...] = ()
    """With a conversation: tools the model may call, as the chat template has them."""
    must_call: tuple[str, ...] = ()
    """With tools: names of those of which the model must call one, and says nothing else (needs the extra `constrained`)."""


class Likely(Config):
    """A token that might have come."""

    text: str
    """Its text."""
    score: float
    """Its log p by the model itself."""


class Sample(Config):
    """One new text."""

    text: str
    """What the model wrote after the prompt."""
    tokens: int
    """How many tokens that was."""
    finish: str
    """Why it ended: `stop` (the model or a stop string) or `length`."""
    scores: list[float] | None = None
    """log p of every new token by the model itself, before temperature and the rest; with beams, the score of the whole."""
    alternatives: list[list[Likely]] | None = None
    """At every place the likeliest tokens, likeliest first."""


class Continuation(Sample):
    """The new text, and further ones if more were asked for."""

    more: tuple[Sample, ...] = ()
    """The second and later continuations."""


class Limits(TypedDict):
    """What holds for all sequences of a model."""

    longest: int | None
    end: int | None
    banned: list[int]


class Beginning(NamedTuple):
    """What a text is written from."""

    tokens: list[int]
    """The tokens it goes on from."""
    end: int | None = None
    """The token that ends it where it is not the usual one."""
    source: list[int] | None = None
    """What an encoder-decoder answers to."""


W = TypeVar("W", bound=Wanted)


class Writing(Task[W, Continuation, TextProcessor], Generic[W]):
    """Write a text, token by token."""

    output = Continuation
    draft: Draft | None = None
    """A smaller model that guesses ahead."""

    @abstractmethod
    def beginning(self, prompt: W) -> Beginning:
        """What the text is written from. Raises UsageError when there is nothing."""

    def grammar(self, prompt: W) -> str | None:
        """What form the text has beside `regex` and `json_schema`."""
        return None

    def run(self, inputs: Sequence[W]) -> list[Continuation]:
        found: list[list[Sample]] = [self.search(prompt) if prompt.beams > 1 else [] for prompt in inputs]
        asked = [(number, self.request(prompt, sample)) for number, prompt in enumerate(inputs) if prompt.beams == 1 for sample in range(prompt.samples)]
        for start in range(0, len(asked), TOGETHER):
            for number, sample in self.together(asked[start : start + TOGETHER], inputs):
                found[number].append(sample)
        return [Continuation(**first.dump(), more=tuple(rest)) for first, *rest in found]

    def answer(self, prompt: W) -> Continuation:
        return self.run([prompt])[0]

    def together(self, asked: Sequence[tuple[int, Request]], inputs: Sequence[W]) -> Iterator[tuple[int, Sample]]:
        """Finish these requests in one batch; (number of the prompt, sample) in their order."""
        streams = {id(request): TextStream(self.processor, request.prompt, inputs[number].stop) for number, request in asked}
        generation = self.generation([request for _, request in asked])
        while touched := generation.step():
            for request in touched:
                stream = streams[id(request)]
                if stream.stop or request.finish is not None:
                    stream.add(request.new, last=request.finish is not None)
                    if stream.stopped:
                        request.finish = "stop"
        for number, request in asked:
            yield number, self.sample(request, streams[id(request)])

    def sample(self, request: Request, stream: TextStream) -> Sample:
        """What has come of a request."""
        scores = list(request.scores) if request.scored else None
        likeliest = None
        if request.alternatives:
            likeliest = [[Likely(text=self.processor.decode([token]), score=score) for token, score in place] for place in request.likeliest]
        return Sample(text=stream.shown, tokens=len(request.new), finish=request.finish or "length", scores=scores, alternatives=likeliest)

    def stream(self, prompt: W) -> Iterator[tuple[str, int]]:
        """Pieces of new text with the number of tokens so far; never a broken character, never past a stop string."""
        if prompt.beams > 1 or prompt.samples > 1:
            answer = self.answer(prompt)
            yield answer.text, answer.tokens
            return
        request = self.request(prompt, 0)
        stream, generation = TextStream(self.processor, request.prompt, prompt.stop), self.generation([request])
        while generation.step():
            piece = stream.add(request.new, last=request.finish is not None)
            if piece:
                yield piece, len(request.new)
            if stream.stopped:
                return

    def search(self, prompt: W) -> list[Sample]:
        """The best continuations by beam search."""
        request = self.request(prompt, 0)
        samples = []
        for beam in beam_search(self.architecture, request, max(prompt.beams, prompt.samples), prompt.length_penalty, **self.limits())[: prompt.samples]:
            stream = TextStream(self.processor, request.prompt, prompt.stop)
            stream.add(beam.tokens, last=True)
            finish = "stop" if stream.stopped else beam.finish
            samples.append(Sample(text=stream.shown, tokens=len(beam.tokens), finish=finish, scores=[beam.score] if prompt.scores else None))
        return samples

    def request(self, prompt: W, sample: int) -> Request:
        start, end, source = self.beginning(prompt)
        longest = self.limits()["longest"]
        if not sample and longest is not None and len(start) > longest:
            logger.warning("the prompt has %s tokens and the model looks at %s: only the last %s are read; shorten it, or take a model with a longer context",
                           f"{len(start):,}", f"{longest:,}", f"{longest:,}")
        known = self.architecture.config.ports().sizes["V"]
        if wrong := [token for token in prompt.bias if not 0 <= token < known]:
            raise UsageError(f"bias: {wrong[0]} is no token id; they go from 0 to {known - 1:,}")
        lark = self.grammar(prompt)
        if sum((prompt.regex is not None, prompt.json_schema is not None, lark is not None, prompt.beams > 1)) > 1:
            raise UsageError("regex, json_schema, must_call, beams: only one of them at a time")
        if prompt.alternatives and (not prompt.scores or prompt.beams > 1):
            raise UsageError("alternatives: with scores: true only, and without beams")
        formed = prompt.regex is not None or prompt.json_schema is not None or lark is not None
        last = self.processor.id("eos") if end is None else end
        allowed = form(self.processor.tokenizer, last, regex=prompt.regex, schema=prompt.json_schema, lark=lark) if formed else None
        sampling = Sampling(**{name: getattr(prompt, name) for name in Sampling.model_fields})
        return Request(start, sampling, prompt.most, sample, prompt.lookup, prompt.scores, allowed, end, source, prompt.alternatives)

    def finish(self, requests: Sequence[Request]) -> list[str]:
        """The new text of each request, all finished in one batch."""
        generation = self.generation(requests)
        while generation.step():
            pass
        return [self.processor.decode_after(request.prompt, request.new) for request in requests]

    def generation(self, requests: Sequence[Request]) -> Generation:
        return Generation(self.architecture, requests, **self.limits(), draft=self.draft)

    def let_draft(self, other: Task[Any, Any, Any], ahead: int) -> None:
        """Let another model guess so many tokens ahead. Raises UsageError when it does not write, or writes other tokens."""
        if not isinstance(other, Writing):
            raise UsageError(f"draft: it does '{other.name}' and does not write texts")
        if other.processor.tokenizer.get_vocab() != self.processor.tokenizer.get_vocab():
            raise UsageError("draft: it has other tokens than this model; a draft must have been made with the same tokenizer")
        if ("source" in other.architecture.config.ports().takes) != ("source" in self.architecture.config.ports().takes):
            raise UsageError("draft: one of the two answers to a source and the other does not")
        self.draft = Draft(other.architecture, ahead, other.limits()["longest"])

    def limits(self) -> Limits:
        """How far the model looks, which token ends a text and which never come."""
        end = self.processor.id("eos")
        banned = [i for i in map(self.processor.id, ("bos", "cls", "mask", "pad")) if i is not None and i != end]
        longest = self.architecture.room if self.limited() else None
        return {"longest": longest, "end": end, "banned": banned}

    def limited(self) -> bool:
        """Whether the model looks at a window of tokens (attention in some layer, positions that end), rather than only carrying a state of fixed size."""
        parts = list(self.architecture.modules())
        heads = any(part.head_dim is not None for part in parts if isinstance(part, Mixer))
        return heads or any(part.longest is not None for part in parts if isinstance(part, Positions))

    def show(self, output: Continuation) -> str:
        return output.text


class TextGeneration(Writing[Prompt]):
    """Continue a text."""

    name = "text-generation"
    input = Prompt

    def read(self, text: str) -> dict[str, Any]:
        return {"prompt": text}

    def grammar(self, prompt: Prompt) -> str | None:
        if not prompt.must_call:
            return None
        known = named(prompt.tools)
        if wrong := [name for name in prompt.must_call if name not in known]:
            raise UsageError(f"must_call: no tool is called '{wrong[0]}'{suggest(wrong[0], known, 'tools')}")
        if (calling := self.processor.calling()) is None:
            raise UsageError("must_call: this model's chat template writes no calls, or not as JSON, so none can be demanded")
        return calling.grammar(prompt.tools, prompt.must_call)

    def beginning(self, prompt: Prompt) -> Beginning:
        if prompt.messages and prompt.prompt:
            raise UsageError("prompt, messages: give one of them")
        if "source" in self.architecture.config.ports().takes:
            raise UsageError("this model answers to a source and does not continue a text: use it for translation, summarization or text2text-generation")
        if prompt.tools and not prompt.messages:
            raise UsageError("tools: with messages only")
        if not prompt.messages:
            if not (start := self.processor.encode(prompt.prompt)):
                raise UsageError("prompt: there is nothing to continue: give at least one character")
            return Beginning(start)
        talk = [Message(message.role, message.content) for message in prompt.messages]
        if talk[-1].role == "assistant":
            raise UsageError("messages: the assistant has spoken last: somebody else must say something first")
        calls = [message.tool_calls for message in prompt.messages]
        self.processor.ensure_plain([*prompt.tools, *(call for each in calls for call in each)], "tools")
        said = self.processor.template().pieces(talk, ask=True, tools=prompt.tools, calls=calls)
        return Beginning(self.processor.spoken(said)[0], self.processor.turn_end())


class Blank(Config):
    """A text with `<mask>` where tokens are to be filled in."""

    text: str
    """The text; `<mask>` marks the hidden tokens."""
    choices: int = Field(default=5, gt=0)
    """How many fillings of each mask."""


class Fillings(Config):
    """The likeliest tokens for every mask."""

    fillings: list[list[tuple[str, float]]]
    """Per mask, (token text, probability), likeliest first."""


class FillMask(Task[Blank, Fillings, TextProcessor]):
    """Fill in hidden tokens."""

    name = "fill-mask"
    input = Blank
    output = Fillings

    def read(self, text: str) -> dict[str, Any]:
        return {"text": text}

    @torch.no_grad()
    def run(self, inputs: Sequence[Blank]) -> list[Fillings]:
        self.architecture.eval()
        mask = self.processor.id("mask")
        answers = []
        for blank in inputs:
            if mask is None or "<mask>" not in blank.text:
                raise UsageError("text: put <mask> where a token is to be filled in")
            tokens = torch.tensor([self.processor.blanks(blank.text)])
            hidden = self.architecture(tokens=tokens)["hidden"][tokens == mask]
            shares = self.architecture.head(hidden).softmax(-1)                           # type: ignore[operator]
            top = shares.topk(min(blank.choices, shares.shape[-1]))
            answers.append(Fillings(fillings=[
                [(self.processor.decode([int(i)]), round(float(p), 6)) for p, i in zip(values, indices, strict=True)]
                for values, indices in zip(top.values, top.indices, strict=True)
            ]))
        return answers

    def show(self, output: Fillings) -> str:
        return "\n".join("  ".join(f"{text!r} {p:.1%}" for text, p in row) for row in output.fillings)
