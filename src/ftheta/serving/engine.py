"""Continues many texts at once, every step a token of each: plan, run, choose (as nano-vllm cuts it, https://github.com/GeeeekExplorer/nano-vllm).

A text depends on its prompt, its settings and its seed only: every token is chosen by itself, by `inference.generate.extend`, from logits that do
not depend on what else is in the step.
"""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ftheta.architectures.decoder import Decoder
from ftheta.core import memory
from ftheta.core.errors import FthetaError, UsageError
from ftheta.inference.generate import extend
from ftheta.inference.request import Request
from ftheta.inference.speculative import lookup, room_ahead
from ftheta.inference.streaming import TextStream
from ftheta.models.adapters import Adapters
from ftheta.models.model import Model
from ftheta.models.tasks.text import Continuation, Wanted, Writing
from ftheta.serving.adapted import Adapted
from ftheta.serving.capacity import cache_of, paged_mixers, plan
from ftheta.serving.drafts import Drafts
from ftheta.serving.pages import WHOLE, Pages
from ftheta.serving.runner import Runner
from ftheta.serving.scheduler import Scheduler
from ftheta.serving.sequence import Piece, Sequence
from ftheta.serving.settings import Settings
from ftheta.serving.slots import Slots


class QueueFull(FthetaError):
    """Too many wait already; `after` seconds from now it may be otherwise."""

    def __init__(self, message: str, after: float):
        super().__init__(message)
        self.after = after


@dataclass(eq=False)
class Asked:
    """One prompt and the sequences that answer it."""

    task: Writing[Any]
    sequences: list[Sequence]
    done: Future[None] = field(default_factory=Future)
    """Set when all of them have ended."""

    @property
    def finished(self) -> bool:
        return all(sequence.request.finish is not None for sequence in self.sequences)

    def result(self, timeout: float | None = None) -> Continuation:
        """The answer, once there is one. Raises what made it fail, TimeoutError after `timeout` seconds."""
        self.done.result(timeout)
        for sequence in self.sequences:
            if sequence.error is not None:
                raise sequence.error
        first, *rest = [self.task.sample(sequence.request, sequence.text) for sequence in self.sequences]
        return Continuation(**first.dump(), more=tuple(rest))


class Engine:
    """Continuations of texts by one model. `submit`, `cancel` and `step` may be called from different threads; only one thread calls `step`.

    `capacity` says how many tokens fit. Raises UsageError for a model that does not write texts token by token.
    """

    def __init__(self, model: Model, settings: Settings = Settings(), clock: Callable[[], float] = time.monotonic):
        memory.keep()                                                                     # what a layer gathers from the pages takes the same memory at every step
        self.capacity = plan(model, settings.page, settings.together, settings.chunk, settings.memory)
        assert isinstance(model.task, Writing) and isinstance(model.architecture, Decoder)
        self.model, self.task, self.settings, self.clock = model, model.task, settings, clock
        self.limits = self.task.limits()
        self.pages = Pages(self.capacity.pages, self.capacity.size, settings.reuse and self.capacity.size != WHOLE)
        self.scheduler = Scheduler(self.pages, settings.together, settings.chunk, self.limits["longest"], self.capacity.asked)
        mixers = paged_mixers(model.architecture)
        self.adapted = Adapted(model.architecture, model.adapters if mixers else Adapters(model.architecture))
        self.runner: Runner | Slots
        self.drafts: Drafts | None = None
        if mixers:
            self.runner = Runner(model.architecture, cache_of(model.architecture, self.capacity.pages, settings.page), self.adapted)
            if self.task.draft is not None:
                self.drafts = Drafts(self.task.draft, self.capacity.pages, settings.page, self.limits)
        else:
            self.runner = Slots(model.architecture, self.capacity.pages, model.task.limited())
        self.lock = threading.Lock()
        self.reading = threading.Lock()
        """A tokenizer is told, text by text, whether control tokens are text: only one thread at a time may ask it."""
        self.numbers = itertools.count()
        self.asked: dict[Sequence, Asked] = {}
        self.said: deque[tuple[Sequence, str]] = deque()
        """New pieces of text that nobody has been told yet."""
        self.ended: deque[Asked] = deque()
        """Answers that are complete, which nobody has been told yet."""
        self.written = self.guesses = self.right = 0
        """Tokens so far, those that were guessed, and those that were guessed right."""

    def submit(
        self, prompt: Wanted | Mapping[str, Any], *, adapter: str | None = None, client: str = "", seconds: float | None = None,
        listen: Callable[[int, str], None] | None = None,
    ) -> Asked:
        """Ask for a continuation, by one of the model's adapters if it is named. `listen` is told every new piece of text with the number of its
        sample; after `seconds` it is given up.

        Raises ConfigError and UsageError for what cannot be asked, QueueFull when too many wait.
        """
        wanted: Wanted = prompt if isinstance(prompt, Wanted) else self.task.input.parse(dict(prompt))           # type: ignore[assignment]
        if wanted.beams > 1:
            raise UsageError("beams: the engine writes every text by itself: use model.predict for beam search")
        if wanted.samples > (most := self.settings.together + self.settings.queue):       # before so many are made
            raise UsageError(f"samples: at most {most:,} can be written and wait, got {wanted.samples}")
        with self.reading:
            requests = [self.task.request(wanted, number) for number in range(wanted.samples)]
        return self.enter(requests, wanted.stop, adapter=adapter, client=client, seconds=seconds, listen=listen)

    def enter(
        self, requests: Iterable[Request], stop: tuple[str, ...] = (), *, adapter: str | None = None, client: str = "", seconds: float | None = None,
        listen: Callable[[int, str], None] | None = None,
    ) -> Asked:
        """As `submit`, for sequences given by their tokens; one number each, in their order. Raises UsageError and QueueFull."""
        self.adapted.ensure(adapter)
        now = self.clock()
        made = []
        for number, request in enumerate(requests):
            self.ensure_fits(request)
            told = None if listen is None else functools.partial(listen, number)
            stream = TextStream(self.task.processor, request.prompt, stop)
            made.append(Sequence(next(self.numbers), request, stream, told, client, adapter, None if seconds is None else now + seconds, now))
        with self.lock:
            self.ensure_room(made)
            asked = Asked(self.task, made)
            for sequence in made:
                self.asked[sequence] = asked
                self.scheduler.add(sequence)
        return asked

    def ensure_fits(self, request: Request) -> None:
        """Set what the model looks at first. Raises UsageError when there will never be room for the request."""
        longest = self.limits["longest"]
        request.window = list(request.prompt) if longest is None else request.prompt[-longest:]
        most = len(request.window) + request.most - 1
        if self.pages.needed(most if longest is None else min(most, longest)) > self.pages.count:
            raise UsageError(
                f"most: the prompt's {len(request.window):,} tokens and {request.most:,} new ones are more than the {self.capacity.tokens:,} tokens there is room for"
            )

    def ensure_room(self, made: list[Sequence]) -> None:
        """Raise QueueFull when these cannot wait too."""
        waiting = self.scheduler.waiting
        free = self.settings.together - len(self.scheduler.running)
        tokens = sum(sequence.request.read for sequence in [*waiting, *made])
        if len(waiting) + len(made) > self.settings.queue + max(0, free):
            behind = max(0, len(waiting) - max(0, free))                                  # the first of those who wait begin with the next step
            raise QueueFull(f"{behind} sequences wait already and {len(made)} more are asked for; {self.settings.queue} may wait at most; try again later", after=1.0)
        if waiting and tokens > self.settings.queue_tokens:
            raise QueueFull(f"prompts of {self.settings.queue_tokens:,} tokens may wait at most, and others wait already; try again later", after=1.0)

    def cancel(self, asked: Asked) -> None:
        """Give it up; its pages are free at once."""
        with self.lock:
            for sequence in asked.sequences:
                self.end(sequence, "cancelled")
        self.tell()

    def step(self) -> bool:
        """Every sequence that can go on goes on by a token or a piece of its prompt; False when there was nothing to do."""
        with self.lock:
            now = self.clock()
            for sequence in [*self.scheduler.running, *self.scheduler.waiting]:
                if sequence.deadline is not None and now >= sequence.deadline:
                    self.end(sequence, "deadline")
            pieces = [self.piece(sequence, count) for sequence, count in self.scheduler.plan(self.ahead).items()]
        self.tell()
        if not pieces:
            return False
        try:
            if self.drafts is not None:
                self.drafts.guess(pieces)
            logits = self.runner.run(pieces)
        except Exception as error:
            self.fail(error)
            raise
        with self.lock:
            for piece in pieces:
                sequence = piece.sequence
                if sequence not in self.asked:                                            # it may have been cancelled meanwhile
                    continue
                self.scheduler.read(sequence, min(len(piece.tokens), sequence.unseen))
                if piece.last:
                    self.go_on(sequence, logits[sequence], piece.tokens[len(piece.tokens) - piece.last + 1 :])
        self.tell()
        return True

    def ahead(self, sequence: Sequence) -> int:
        """How many tokens may be guessed of a sequence that is being written."""
        if not isinstance(self.runner, Runner):
            return 0
        most = room_ahead(sequence.request, self.limits["longest"])
        wanted = max(sequence.request.lookup, 0 if self.drafts is None else self.drafts.room(sequence))
        return max(0, min(most, wanted))

    def piece(self, sequence: Sequence, count: int) -> Piece:
        """The next so many tokens; those beyond its window are guessed, where they have come before now, else by a draft."""
        request, seen = sequence.request, sequence.seen
        tokens = request.window[seen : seen + count]
        piece = Piece(sequence, tokens, seen, sequence.pages, int(len(tokens) == sequence.unseen), count - len(tokens))
        if piece.ahead and request.lookup:
            piece.guess(lookup([*request.prompt, *request.new], min(piece.ahead, request.lookup)))
            piece.ahead = 0 if len(piece.tokens) > len(tokens) else piece.ahead
        if piece.ahead and self.drafts is not None:
            piece.ahead = min(piece.ahead, self.drafts.room(sequence))
        return piece

    def go_on(self, sequence: Sequence, logits: Tensor, guessed: Iterable[int]) -> None:
        """The next tokens of a sequence, one for each row of logits (n, V) as long as what was guessed is right, and the text they make."""
        request = sequence.request
        before = len(request.new)
        try:
            for row, guess in zip(logits, [*guessed, None], strict=True):
                extend(request, row, self.limits["end"], self.limits["banned"])
                if sequence.listen is not None or sequence.text.stop or request.finish is not None:
                    self.say(sequence, last=request.finish is not None)
                if request.finish is not None or sequence.text.stopped or request.new[-1] != guess:
                    break
                self.right += 1
        except Exception as error:                                                        # what goes wrong with one text is no matter of the others
            sequence.error, request.finish = error, "error"
        self.guesses += len(logits) - 1
        self.written += len(request.new) - before
        if sequence.first is None:
            sequence.first = self.clock()
        if request.finish is not None or sequence.text.stopped:
            self.end(sequence, "stop" if sequence.text.stopped else request.finish or "stop")
        elif sequence.unseen > 1:                                                         # what was guessed right has been read
            self.scheduler.read(sequence, sequence.unseen - 1)
        sequence.drafted = min(sequence.drafted, sequence.seen)

    def say(self, sequence: Sequence, last: bool) -> None:
        """Note what is new in its text."""
        if not sequence.text.stopped and (piece := sequence.text.add(sequence.request.new, last)) and sequence.listen is not None:
            self.said.append((sequence, piece))

    def tell(self) -> None:
        """Tell those who listen what has been said, and those who wait that it is all; outside of the lock, since they may ask for something."""
        while self.said or self.ended:
            if not self.said:
                self.ended.popleft().done.set_result(None)
                continue
            sequence, piece = self.said.popleft()
            assert sequence.listen is not None
            try:
                sequence.listen(piece)
            except Exception as error:                                                    # nobody listens any more
                with self.lock:
                    sequence.error = sequence.error or error
                    self.end(sequence, "error")

    def end(self, sequence: Sequence, finish: str) -> None:
        """Say why a sequence ended, and forget it."""
        if (asked := self.asked.pop(sequence, None)) is None:
            return
        self.say(sequence, last=True)                                                     # what was held back
        sequence.request.finish, sequence.ended = finish, self.clock()
        self.scheduler.drop(sequence)
        if asked.finished:
            self.ended.append(asked)

    def fail(self, error: Exception) -> None:
        """Everything asked for has failed for the same reason."""
        with self.lock:
            for sequence in list(self.asked):
                sequence.error = error
                self.end(sequence, "error")
            self.pages.clear()
        self.tell()

    def finish(self) -> None:
        """Go on until there is nothing left to do."""
        while self.step():
            pass

    def answer(self, prompts: Iterable[Wanted | Mapping[str, Any]]) -> list[Continuation]:
        """Continue all of these; those that cannot wait yet are asked for later."""
        found, ahead = list[Asked](), list(prompts)[::-1]
        while ahead:
            try:
                found.append(self.submit(ahead[-1]))
                ahead.pop()
            except QueueFull:
                if not self.step():
                    raise
        self.finish()
        return [asked.result() for asked in found]
