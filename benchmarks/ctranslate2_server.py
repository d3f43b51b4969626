"""CTranslate2 behind `/v1/completions`, since it ships no server: what is asked for while a batch is written is written together in the next one, which is as
far as its interface goes (a batch is begun and ended as one). Greedy streams only, `max_tokens` new tokens each.

    python -m benchmarks.ctranslate2_server FOLDER --port PORT
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

TOGETHER = 64
SWITCH = 1e-4
"""Seconds after which Python lets another thread in: every token waits for that, and with the usual 5 ms a batch would wait more than it works."""


class Asked(NamedTuple):
    """A prompt and who waits for its tokens; None ends them."""

    prompt: list[str]
    most: int
    said: asyncio.Queue[int | None]


def app(folder: Path) -> Any:
    """The routes, over the folder's model in float32."""
    import ctranslate2
    from ctranslate2.converters import TransformersConverter
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import StreamingResponse
    from starlette.routing import Route
    from tokenizers import Tokenizer

    with tempfile.TemporaryDirectory() as made:
        TransformersConverter(str(folder)).convert(f"{made}/model")
        generator = ctranslate2.Generator(f"{made}/model", compute_type="float32", intra_threads=int(os.environ.get("OMP_NUM_THREADS", "0")))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    begin = json.loads((folder / "tokenizer_config.json").read_text()).get("bos_token")
    line: asyncio.Queue[Asked] = asyncio.Queue()

    def write(batch: list[Asked], loop: asyncio.AbstractEventLoop) -> None:
        """All of a batch; tokens are told as they come."""
        def hear(step: Any) -> bool:
            asked = batch[step.batch_id]
            if step.step < asked.most:
                loop.call_soon_threadsafe(asked.said.put_nowait, step.token_id)
            return step.step + 1 >= asked.most

        most = max(asked.most for asked in batch)
        generator.generate_batch([asked.prompt for asked in batch], max_length=most, min_length=most, include_prompt_in_result=False, callback=hear)
        for asked in batch:
            loop.call_soon_threadsafe(asked.said.put_nowait, None)

    async def work() -> None:
        while True:
            batch = [await line.get()]
            while len(batch) < TOGETHER and not line.empty():
                batch.append(line.get_nowait())
            await asyncio.to_thread(write, batch, asyncio.get_running_loop())

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        working = asyncio.create_task(work())
        yield
        working.cancel()

    async def completions(request: Request) -> StreamingResponse:
        body = await request.json()
        tokens = tokenizer.encode(body["prompt"], add_special_tokens=False).tokens
        asked = Asked([*([begin] if begin else []), *tokens], body["max_tokens"], asyncio.Queue())
        await line.put(asked)

        async def events() -> AsyncIterator[str]:
            new, shown = list[int](), ""
            while (token := await asked.said.get()) is not None:
                new.append(token)
                text = tokenizer.decode(new)
                yield f"data: {json.dumps({'choices': [{'index': 0, 'text': text[len(shown) :]}]})}\n\n"
                shown = text
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    return Starlette(routes=[Route("/v1/completions", completions, methods=["POST"])], lifespan=lifespan)


def main() -> None:
    import uvicorn

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    sys.setswitchinterval(SWITCH)
    uvicorn.run(app(options.folder), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
