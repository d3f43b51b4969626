"""Tasks over text: continue it, or fill in hidden tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pydantic import Field

from ftheta.blocks.mixer import Mixer
from ftheta.core.config import Config
from ftheta.core.errors import UsageError
from ftheta.data.processors.text import TextProcessor
from ftheta.inference.generate import continue_tokens
from ftheta.inference.sampling import Sampling
from ftheta.models.tasks.task import Task


class Prompt(Sampling):
    """What to continue, and how."""

    prompt: str
    """The text to continue."""
    most: int = Field(default=200, gt=0)
    """At most this many new tokens."""
    stop: tuple[str, ...] = ()
    """End before the first of these strings."""


class Continuation(Config):
    """The new text."""

    text: str
    """What the model wrote after the prompt."""
    tokens: int
    """How many tokens that was."""
    finish: str
    """Why it ended: `stop` (the model or a stop string) or `length`."""


class TextGeneration(Task[Prompt, Continuation, TextProcessor]):
    """Continue a text."""

    name = "text-generation"
    input = Prompt
    output = Continuation

    def read(self, text: str) -> dict[str, Any]:
        return {"prompt": text}

    def run(self, inputs: Sequence[Prompt]) -> list[Continuation]:
        return [self.answer(prompt) for prompt in inputs]

    def answer(self, prompt: Prompt) -> Continuation:
        pieces = list(self.stream(prompt))
        text = "".join(piece for piece, _ in pieces)
        count = pieces[-1][1] if pieces else 0
        return Continuation(text=text, tokens=count, finish="length" if count == prompt.most else "stop")

    def stream(self, prompt: Prompt) -> Iterator[tuple[str, int]]:
        """Pieces of new text with the number of tokens so far; never a broken character, never past a stop string."""
        processor, sampling = self.processor, Sampling(**{name: getattr(prompt, name) for name in Sampling.model_fields})
        start = processor.encode(prompt.prompt)
        if not start:
            raise UsageError("prompt: there is nothing to continue: give at least one character")
        longest = self.architecture.config.ports().sizes.get("T") if self.looks_back() else None
        end = processor.id("eos")
        banned = [i for i in map(processor.id, ("bos", "cls", "mask", "pad")) if i is not None and i != end]
        new: list[int] = []
        shown = ""
        held = max((len(stop) for stop in prompt.stop), default=0)
        for token in continue_tokens(self.architecture, start, sampling, most=prompt.most, longest=longest, end=end, banned=banned):
            new.append(token)
            text = processor.decode_after(start, new)
            found = min((at for at in (text.find(stop) for stop in prompt.stop if stop) if at >= 0), default=None)
            if found is not None:
                yield text[len(shown) : found], len(new)
                return
            whole = text if not text.endswith("\ufffd") else shown                        # a character may still be incomplete
            safe = whole[: len(whole) - held] if held else whole
            if len(safe) > len(shown):
                yield safe[len(shown) :], len(new)
                shown = safe
        text = processor.decode_after(start, new)
        if len(text) > len(shown):
            yield text[len(shown) :], len(new)

    def looks_back(self) -> bool:
        """Whether the model looks at a window of tokens (attention), rather than carrying a state of fixed size."""
        return any(module.head_dim is not None for module in self.architecture.modules() if isinstance(module, Mixer))

    def show(self, output: Continuation) -> str:
        return output.text


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
            top = self.architecture.head(hidden).softmax(-1).topk(blank.choices)          # type: ignore[operator]
            answers.append(Fillings(fillings=[
                [(self.processor.decode([int(i)]), round(float(p), 6)) for p, i in zip(values, indices, strict=True)]
                for values, indices in zip(top.values, top.indices, strict=True)
            ]))
        return answers

    def show(self, output: Fillings) -> str:
        return "\n".join("  ".join(f"{text!r} {p:.1%}" for text, p in row) for row in output.fillings)
