"""Waiting for answers on behalf of clients, who may go at any time: whole, or piece by piece as server-sent events."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ftheta.data.chat.calls import Call, CallReader
from ftheta.data.processors.text import TextProcessor
from ftheta.data.tokenizers.spelling import BREAK
from ftheta.models.tasks.text import Sample, Wanted, Writing
from ftheta.serving.engine import Asked
from ftheta.serving.http.errors import Refusal, refusal
from ftheta.serving.http.served import Served
from ftheta.serving.sequence import Sequence as Written

LOOK = 0.25
"""Seconds between looks whether the client is still there."""
REASONS = {"stop": "stop", "length": "length"}
CALLED = "tool_calls"


class Reply:
    """The answer to some prompts by a model: chat, with calls (or `one`) of tools of these names where the model is known to write any, or plain text."""

    def __init__(self, served: Served, chat: bool, usage: bool, adapter: str | None = None, tools: Sequence[str] = (), one: bool = False):
        self.served, self.chat, self.usage_wanted, self.adapter = served, chat, usage, adapter
        name = served.name if adapter is None else f"{served.name}:{adapter}"
        self.facts = {"id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}", "created": int(time.time()), "model": name}
        self.asked: list[Asked] = []
        self.pieces: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue()
        self.tools, self.one = tools, one
        self.calling = served.model.task.processor.calling() if tools and isinstance(served.model.task, Writing) else None

    def reader(self) -> CallReader:
        """What tells calls from text in one answer."""
        return CallReader(self.calling, self.tools, self.one)

    async def ask(self, prompts: Iterable[Wanted], client: str, seconds: float, stream: bool) -> None:
        """Put the prompts to the engine, all or none. Raises what the engine raises."""
        worker, loop = self.served.worker, asyncio.get_running_loop()
        assert worker is not None

        def hear(offset: int) -> Callable[[int, str], None]:
            return lambda sample, piece: call(loop, self.pieces.put_nowait, (offset + sample, piece))

        try:
            offset = 0
            for prompt in prompts:
                listen = hear(offset) if stream else None
                self.asked.append(
                    await asyncio.to_thread(worker.submit, prompt, adapter=self.adapter, client=client, seconds=seconds, listen=listen),
                )
                offset += prompt.samples
        except Exception:
            self.cancel()
            raise
        for asked in self.asked:
            asked.done.add_done_callback(lambda done: call(loop, self.pieces.put_nowait, None))

    def cancel(self) -> None:
        assert self.served.worker is not None
        for asked in self.asked:
            self.served.worker.cancel(asked)
            self.served.count(asked)

    def samples(self) -> list[Sample]:
        """Everything written. Raises what made it fail."""
        found = [asked.result(0) for asked in self.asked]
        samples = [each for one in found for each in (one, *one.more)]
        if any(each.finish == "deadline" for each in samples):
            raise Refusal(504, "the answer took too long", code="deadline")
        return samples

    async def whole(self, request: Request) -> dict[str, Any]:
        """The answer as one object. Gives up when the client has gone."""
        try:
            left = len(self.asked)
            while left:
                try:
                    left -= await asyncio.wait_for(self.pieces.get(), LOOK) is None
                except TimeoutError:
                    if await request.is_disconnected():
                        raise Refusal(499, "the client has gone") from None
            samples = self.samples()
        finally:
            self.cancel()                                                                 # what has ended stays as it is
        sequences = [sequence for asked in self.asked for sequence in asked.sequences]
        choices = []
        for index, (sample, sequence) in enumerate(zip(samples, sequences, strict=True)):
            text, calls = self.reader().add(sample.text, last=True)
            message = {"role": "assistant", "content": text, **({"content": text or None, CALLED: called(calls)} if calls else {})}
            said = {"message": message} if self.chat else {"text": text}
            reason = CALLED if calls and sample.finish == "stop" else REASONS.get(sample.finish)
            choices.append({"index": index, **said, "logprobs": self.logprobs(sequence, 0, sample.tokens), "finish_reason": reason})
        return {**self.facts, "object": "chat.completion" if self.chat else "text_completion", "choices": choices, "usage": self.usage()}

    def logprobs(self, sequence: Written, start: int, stop: int, offset: int = 0) -> dict[str, Any] | None:
        """What is said of these new tokens of a sequence, the first of which begins at this character; None where it was not asked for."""
        request = sequence.request
        if not request.scored:
            return None
        spelled, scores = [self.spelled(token) for token in request.new[start:stop]], request.scores[start:stop]
        best = [[(self.spelled(token), score) for token, score in place] for place in request.likeliest[start:stop]]
        if self.chat:
            entries = zip(spelled, scores, best or [[]] * len(scores), strict=True)
            return {"content": [{**said(token, score), "top_logprobs": [said(*each) for each in beside]} for token, score, beside in entries]}
        texts = [readable(token) for token in spelled]
        offsets = list(itertools.accumulate(map(len, texts), initial=offset))[:-1]
        return {"tokens": texts, "token_logprobs": scores, "top_logprobs": [{readable(token): score for token, score in place} for place in best] or None, "text_offset": offsets}

    def spelled(self, token: int) -> bytes:
        """A token in UTF-8, with the space before it, though it be a part of a character; nothing for what is never shown."""
        processor, known = self.served.model.processor, self.served.spelling.bytes
        assert isinstance(processor, TextProcessor)
        return known[token] if token < len(known) and (known[token] != BREAK or processor.decode([token])) else b""

    def usage(self) -> dict[str, int]:
        read = sum(asked.sequences[0].request.read for asked in self.asked)
        new = sum(len(sequence.request.new) for asked in self.asked for sequence in asked.sequences)
        return {"prompt_tokens": read, "completion_tokens": new, "total_tokens": read + new}

    async def events(self) -> AsyncIterator[str]:
        """The answer piece by piece."""
        sequences = [sequence for asked in self.asked for sequence in asked.sequences]
        told, offsets, readers = [0] * len(sequences), [0] * len(sequences), [self.reader() for _ in sequences]

        def more(index: int, text: str, new: int, last: bool = False, reason: str | None = None) -> str:
            """A piece of an answer, which has so many tokens by now; nothing while all of it may still become a call."""
            reader = readers[index]
            before = reader.calls
            text, calls = reader.add(text, last)
            if not text and not calls and not last:
                return ""
            said = {"delta": {**({"content": text} if text else {}), **({CALLED: called(calls, before)} if calls else {})}} if self.chat else {"text": text}
            reason = CALLED if last and reader.calls and reason == "stop" else reason
            scores, told[index] = self.logprobs(sequences[index], told[index], new, offsets[index]), new
            offsets[index] += sum(map(len, (scores or {}).get("tokens", ())))
            return self.chunk(index, said, scores, reason)

        try:
            if self.chat:
                for index in range(len(sequences)):
                    yield self.chunk(index, {"delta": {"role": "assistant", "content": ""}})
            left = len(self.asked)
            while left:
                piece = await self.pieces.get()
                left -= piece is None
                if piece is not None:
                    index, text = piece
                    if shown := more(index, text, len(sequences[index].request.scores)):
                        yield shown
            for index, sample in enumerate(self.samples()):
                yield more(index, "", sample.tokens, last=True, reason=REASONS.get(sample.finish))
            if self.usage_wanted:
                yield event({**self.facts, "object": self.object, "choices": [], "usage": self.usage()})
            yield "data: [DONE]\n\n"
        except Exception as error:                                                        # it is too late for another status
            yield event(refusal(error).body())

    @property
    def object(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def chunk(self, index: int, said: dict[str, Any], logprobs: dict[str, Any] | None = None, reason: str | None = None) -> str:
        choice = {"index": index, **said, "logprobs": logprobs, "finish_reason": reason}
        return event({**self.facts, "object": self.object, "choices": [choice], **({"usage": None} if self.usage_wanted else {})})


class Events(StreamingResponse):
    """An answer piece by piece. However it ends, by a client who has gone or does not read too, what is still being written is cancelled at once: the
    iterator itself is closed only when the garbage collector comes by."""

    def __init__(self, reply: Reply):
        super().__init__(reply.events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self.reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.reply.cancel()


def called(calls: Sequence[Call], first: int | None = None) -> list[dict[str, Any]]:
    """Calls as OpenAI has them; numbered from `first` on where they come piece by piece."""
    found = []
    for number, call in enumerate(calls):
        function = {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
        found.append({**({} if first is None else {"index": first + number}), "id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function})
    return found


def said(token: bytes, score: float) -> dict[str, Any]:
    """A token as chat says it."""
    return {"token": readable(token), "logprob": score, "bytes": list(token)}


def readable(token: bytes) -> str:
    """A token as text; what is no whole character has a sign that says so."""
    return token.decode("utf-8", "replace")


def call(loop: asyncio.AbstractEventLoop, function: Callable[[Any], None], value: Any) -> None:
    """From another thread; nothing when the server has been closed meanwhile."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function, value)


def event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
