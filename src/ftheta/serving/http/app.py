"""The routes: OpenAI's, every task, health and figures. Bodies are read by pydantic from their bytes, so what is no JSON of the schema is refused
before anything is made of it; errors are of OpenAI's shape."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ftheta.core.config import Config
from ftheta.core.errors import FthetaError
from ftheta.data.processors.text import TextProcessor
from ftheta.models.evidence import Evidence, Pointed, evidence
from ftheta.models.tasks import TASKS
from ftheta.models.tasks.text import TextGeneration
from ftheta.serving.http.answers import LOOK, Events, Reply
from ftheta.serving.http.bodies import CHOICES, ChatBody, CompletionBody, EmbeddingBody, EvidenceBody
from ftheta.serving.http.errors import Refusal, invalid, refusal
from ftheta.serving.http.guard import BODY, OPEN, SLOW, Guard
from ftheta.serving.http.page import Asset, show
from ftheta.serving.http.schema import describe
from ftheta.serving.http.served import Models, Served, metrics

log = logging.getLogger("ftheta.serving")
C = TypeVar("C", bound=Config)
EMBEDDING = "feature-extraction"
LEAVE = 30.0
"""Seconds that answers have to come to an end when their model is unloaded."""
CHOSEN = {"parameters": [{"name": "model", "in": "query", "required": False, "description": "Which model, where several do it.", "schema": {"type": "string"}}]}


def create(
    models: Models, *, key: str | None = None, hosts: Sequence[str] = (), body: int = BODY, seconds: float = 600.0, slow: float = SLOW,
    page: Mapping[str, Asset] = {}, again: Callable[[str], Served | None] = lambda name: None,
) -> FastAPI:
    """The app. `key` is what clients must send, `hosts` are names the server goes by besides those of this machine, `page` is what a browser is
    shown, by address. `body` is the most bytes a request may have and `slow` the most seconds they, or the reading of a piece of the answer, may
    take, `seconds` the most an answer may take. `again` opens the model of a name that was unloaded; it gives None for a name it does not know."""
    answers: Counter[tuple[str, int]] = Counter()
    started, loading = int(time.time()), asyncio.Lock()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for served in models:
            await asyncio.to_thread(served.close, 0.0)

    app = FastAPI(title="ftheta", lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return refusal(error).response()

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        return Refusal(error.status_code, "there is no such route, or not by this method", code="not_found").response()

    async def write(request: Request, kind: type[CompletionBody] | type[ChatBody]) -> Response:
        asked = await read(request, kind)
        (served, adapter), chat = models.find(asked.model), kind is ChatBody
        if served.worker is None or not isinstance(served.model.task, TextGeneration):
            raise Refusal(400, "model: this model does not continue texts here: use /predict", "model", "wrong_task")
        if asked.stream_options is not None and not asked.stream:
            raise Refusal(400, "stream_options: with stream: true only", "stream_options", "invalid_value")
        if chat and served.model.task.processor.chat_template is None:
            raise Refusal(400, "messages: this model has no chat template, it was not trained on conversations: use /v1/completions", "messages", "wrong_task")
        tools = asked.offered() if isinstance(asked, ChatBody) else []
        one = isinstance(asked, ChatBody) and not asked.parallel_tool_calls
        reply = Reply(served, chat, asked.stream_options is not None and asked.stream_options.include_usage, adapter, tools, one)
        try:
            await told(reply.ask(asked.prompts(), asked.user or peer(request), seconds, asked.stream))
        except Refusal as refused:
            raise refused.by_names(asked.names()) from None
        if asked.stream:
            return Events(reply)
        return JSONResponse(await told(reply.whole(request)))

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await write(request, CompletionBody)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        return await write(request, ChatBody)

    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> Response:
        asked = await read(request, EmbeddingBody)
        served, adapter = models.find(asked.model)
        if adapter is not None:
            raise Refusal(400, "model: adapters are for models that continue texts here", "model", "wrong_task")
        if not isinstance(served.model.processor, TextProcessor) or "embedding" not in served.model.architecture.config.ports().gives:
            raise Refusal(400, "model: this model gives no vector for a whole text", "model", "wrong_task")
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        if not texts or len(texts) > CHOICES or not all(texts):
            raise Refusal(400, f"input: 1 to {CHOICES} texts of at least one character", "input", "invalid_value")
        found = await told(predicted(request, served, EMBEDDING, [{"text": text} for text in texts]))
        if asked.dimensions not in (None, len(found[0].embedding)):
            raise Refusal(400, f"dimensions: this model's vectors have {len(found[0].embedding)} numbers", "dimensions", "invalid_value")
        data = [{"object": "embedding", "index": i, "embedding": encoded(each.embedding, asked.encoding_format)} for i, each in enumerate(found)]
        count = sum(len(each.tokens) for each in found)
        return JSONResponse({"object": "list", "data": data, "model": served.name, "usage": {"prompt_tokens": count, "total_tokens": count}})

    @app.post("/evidence")
    async def grounds(request: Request) -> Response:
        asked = await read(request, EvidenceBody)
        served, adapter = models.find(asked.model)
        if adapter is not None:
            raise Refusal(400, "model: only a model without an adapter can be looked into", "model", "wrong_task")
        pointed = Pointed(**{name: getattr(asked, name) for name in Pointed.model_fields})
        return JSONResponse((await told(awaited(request, [served.do(lambda: evidence(served.model, pointed))])))[0].dump())

    async def predict(request: Request, task: str) -> Response:
        served, adapter = models.find(request.query_params["model"]) if "model" in request.query_params else (models.doing(task), None)
        if served is None or served.model.task.name != task:
            raise Refusal(404, "there is no model for this task here", code="model_not_found")
        kind = served.model.task.input
        asked = await read(request, kind, ("model",))
        for field in served.model.task.files:
            if getattr(asked, field) is not None:
                raise Refusal(400, f"{field}: the server opens no files: send what is in it", field, "invalid_value")
        for field in ("samples", "beams"):
            if getattr(asked, field, 0) > CHOICES:
                raise Refusal(400, f"{field}: {CHOICES} at most", field, "invalid_value")
        if served.worker is None:
            (answer,) = await told(predicted(request, served, task, [asked]))
            return JSONResponse(answer.dump())
        reply = Reply(served, chat=False, usage=False, adapter=adapter)
        await told(reply.ask([asked], peer(request), seconds, stream=False))                     # type: ignore[list-item]
        await told(reply.whole(request))
        return JSONResponse(reply.asked[0].result(0).dump())

    takes: dict[str, type[Config]] = {
        "/v1/completions": CompletionBody, "/v1/chat/completions": ChatBody, "/v1/embeddings": EmbeddingBody, "/evidence": EvidenceBody,
    }
    gives: dict[str, type[Config]] = {"/evidence": Evidence}
    describe(app, takes, gives)

    def offer(served: Served) -> None:
        """The route of a model's task."""
        task = served.model.task.name
        path, kind = f"/predict/{task}", TASKS.load(task)
        if path not in gives:
            app.post(path, name=task, openapi_extra=CHOSEN)(with_task(predict, task))
            takes[path], gives[path] = kind.input, kind.output
            app.openapi_schema = None                                                     # what was said before lacks it

    for served in models:
        offer(served)
    models.listeners.append(offer)

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        facts = {"object": "model", "created": started, "owned_by": "ftheta"}
        below = [{"id": name, **facts, "parent": served.name} for name, (served, _) in models.adapted().items()]
        return {"object": "list", "data": [*({"id": name, **facts} for name in models.named), *below]}

    def facts_of(name: str) -> dict[str, Any]:
        served, adapter = models.find(name)
        return {"id": name, "object": "model", "created": started, "owned_by": "ftheta", **({} if adapter is None else {"parent": served.name})}

    @app.get("/v1/models/{name}")
    async def one_model(name: str) -> dict[str, Any]:
        return facts_of(name)

    @app.post("/v1/models/{name}")
    async def load_model(name: str) -> dict[str, Any]:
        async with loading:
            if name not in models.named:
                try:
                    served = await asyncio.to_thread(again, name)
                except FthetaError as error:
                    log.warning("%s could not be opened again: %s", name, error)
                    raise Refusal(503, "the model cannot be opened again: the server's log says why", code="not_loaded") from None
                if served is not None:
                    models.add(served)
        return facts_of(name)

    @app.delete("/v1/models/{name}")
    async def unload_model(name: str) -> dict[str, Any]:
        if models.find(name)[1] is not None:
            raise Refusal(400, "model: an adapter goes with its model", "model", "invalid_value")
        if (served := models.remove(name)) is not None:
            await asyncio.to_thread(served.close, LEAVE)
        return {"id": name, "object": "model", "deleted": True}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> Response:
        well = all(served.alive for served in models)
        return JSONResponse({"status": "ready" if well else "a model has stopped"}, 200 if well else 503)

    @app.get("/metrics")
    async def figures() -> Response:
        return PlainTextResponse(metrics(models, answers), media_type="text/plain; version=0.0.4")

    if page:
        show(app, page, models)
    app.add_middleware(Guard, key=key, hosts=hosts, body=body, seconds=slow, open_=(*OPEN, *page))
    app.add_middleware(Counting, answers=answers)
    return app


class Counting:
    """Counts answers by route and status."""

    def __init__(self, app: ASGIApp, answers: Counter[tuple[str, int]]):
        self.app, self.answers = app, answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.answers[getattr(scope.get("route"), "path", "other"), message["status"]] += 1
            await send(message)

        await self.app(scope, receive, counted)


def with_task(predict: Any, task: str) -> Any:
    """A route for one task."""
    async def route(request: Request) -> Response:
        return await predict(request, task)

    return route


async def read(request: Request, kind: type[C], query: Sequence[str] = ()) -> C:
    """The body. Raises Refusal, also for what is asked for beside the body but for these."""
    if any(name not in query for name in request.query_params):
        raise Refusal(400, f"the address has a field that is not known here (fields: {', '.join(query) or 'none'})", code="unknown_field")
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise Refusal(415, "the body must be JSON: send Content-Type: application/json", code="wrong_media_type")
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        raise invalid(kind, error) from None


async def told(waiting: Any) -> Any:
    """What is awaited, or a Refusal."""
    try:
        return await waiting
    except Exception as error:
        raise refusal(error) from error


async def predicted(request: Request, served: Served, task: str, items: list[Any]) -> list[Any]:
    """Answers of a batcher."""
    if served.batcher is None:
        raise Refusal(400, "model: this model continues texts and does nothing else here", "model", "wrong_task")
    return await awaited(request, [served.batcher.submit(item, task) for item in items])


async def awaited(request: Request, futures: Iterable[Future[Any]]) -> list[Any]:
    """What these give; given up when the client has gone."""
    waiting = asyncio.gather(*map(asyncio.wrap_future, futures))
    try:
        while not (await asyncio.wait([waiting], timeout=LOOK))[0]:
            if await request.is_disconnected():
                raise Refusal(499, "the client has gone")
        return list(waiting.result())
    finally:
        waiting.cancel()


def encoded(vector: Sequence[float], form: str) -> Any:
    return list(vector) if form == "float" else base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def peer(request: Request) -> str:
    """Who asks, where the request does not say."""
    return request.client.host if request.client else ""
