"""The page's routes, JSON only, behind the server's guard. Errors are of the server's shape; they say what was wrong in full, since who asks wrote it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import Field

from ftheta.core.config import Config
from ftheta.core.errors import FthetaError, UsageError
from ftheta.serving.http.app import read
from ftheta.serving.http.errors import Refusal
from ftheta.serving.http.order import Order
from ftheta.serving.http.served import Models
from ftheta.serving.settings import Settings
from ftheta.web.comparing import compared
from ftheta.web.processes import Processes
from ftheta.web.recipes import about_recipes, checked, planned, recipe_named, schema
from ftheta.web.runs import NAME, Runs

T = TypeVar("T")


class Written(Config):
    """A recipe as it was typed."""

    recipe: str
    """Its YAML."""


class Started(Written):
    """A run to be started."""

    name: str = Field(pattern=f"^{NAME.pattern}$")
    """What its folder is called."""


class Named(Config):
    """A run that is there."""

    name: str
    """Its name in the list."""


class Several(Config):
    """Runs to be compared."""

    runs: list[str] = Field(min_length=2, max_length=8)
    """Their names in the list."""


def add_routes(app: FastAPI, models: Models, runs: Runs, settings: Settings) -> None:
    """Let the app show the runs of a folder, and load models from them."""
    processes = Processes(runs)
    planning, loading = Latest(), asyncio.Lock()

    @app.get("/ui/folder", include_in_schema=False)
    async def folder() -> dict[str, str]:
        return {"folder": str(runs.folder)}

    @app.get("/ui/runs", include_in_schema=False)
    async def all_runs() -> Any:
        return await plainly(lambda: [runs.facts(name, processes.starting(name)) for name in runs.names()])

    @app.get("/ui/runs/{name}", include_in_schema=False)
    async def one_run(name: str) -> Any:
        def found() -> dict[str, Any]:
            loaded = [served.name for served in models if served.name == name]
            return {**runs.facts(name, processes.starting(name)), **runs.whole(name), "commands": processes.commands(name), "loaded": bool(loaded)}

        return await plainly(found)

    @app.get("/ui/runs/{name}/lines/{log}", include_in_schema=False)
    async def lines(name: str, log: str, request: Request) -> Any:
        after, mark = request.query_params.get("after", "0"), request.query_params.get("mark", "")
        if not after.isdecimal() or len(after) > 15:
            raise Refusal(400, "after: a number of bytes", "after", "invalid_value")
        return await plainly(lambda: runs.log(name, log, int(after), mark))

    @app.get("/ui/runs/{name}/picture", include_in_schema=False)
    async def picture(name: str, request: Request) -> Response:
        data = await plainly(lambda: runs.picture(name, request.query_params.get("which", "")))
        return Response(data, media_type="image/png", headers={"X-Content-Type-Options": "nosniff"})

    @app.post("/ui/runs", include_in_schema=False)
    async def start(request: Request) -> Any:
        asked = await read(request, Started)
        return {"command": await plainly(lambda: processes.start(asked.name, asked.recipe))}

    @app.post("/ui/runs/{name}/stop", include_in_schema=False)
    async def stop(name: str) -> Any:
        return {"command": await plainly(lambda: processes.stop(name))}

    @app.post("/ui/runs/{name}/resume", include_in_schema=False)
    async def resume(name: str) -> Any:
        return {"command": await plainly(lambda: processes.resume(name))}

    @app.post("/ui/compare", include_in_schema=False)
    async def compare(request: Request) -> Any:
        asked = await read(request, Several)
        return await plainly(lambda: compared([runs.find(name) for name in asked.runs]))

    @app.get("/ui/recipes", include_in_schema=False)
    async def recipes() -> Any:
        return await plainly(about_recipes)

    @app.get("/ui/recipes/{name}", include_in_schema=False)
    async def recipe(name: str) -> Any:
        return await plainly(lambda: recipe_named(name))

    @app.get("/ui/schema", include_in_schema=False)
    async def recipe_schema() -> Response:
        return Response(await plainly(schema), media_type="application/json", headers={"Content-Encoding": "gzip"})

    @app.post("/ui/check", include_in_schema=False)
    async def check(request: Request) -> Any:
        asked = await read(request, Written)
        return await plainly(lambda: checked(asked.recipe))

    @app.post("/ui/plan", include_in_schema=False)
    async def plan(request: Request) -> Any:
        asked = await read(request, Written)
        return await plainly(lambda: planning.answer(lambda: planned(asked.recipe)))

    @app.post("/ui/models", include_in_schema=False)
    async def load_model(request: Request) -> Any:
        asked = await read(request, Named)
        folder = await plainly(lambda: runs.find(asked.name))
        async with loading:
            if asked.name not in models.named:
                (served,) = await plainly(lambda: Order(models=(str(folder / "model"),), settings=settings).opened())
                models.add(served)
        return {"name": asked.name}

    @app.delete("/ui/models/{name}", include_in_schema=False)
    async def unload_model(name: str) -> Any:
        served = models.remove(name)
        if served is None:
            raise Refusal(404, "there is no such model here", "name", "model_not_found")
        await asyncio.to_thread(served.close, 0.0)
        return {"name": name}


class Latest:
    """One answer at a time; of those who wait, only who came last gets one: the others have typed on."""

    def __init__(self) -> None:
        self.lock, self.newest = threading.Lock(), 0

    def answer(self, work: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Raises Refusal where a later one has come."""
        self.newest += 1
        mine = self.newest
        with self.lock:
            if mine != self.newest:
                raise Refusal(409, "a later request has come", code="outdated")
            return work()


async def plainly(work: Callable[[], T]) -> T:
    """What is done in a thread, with errors a person can act on as Refusal."""
    try:
        return await asyncio.to_thread(work)
    except UsageError as error:
        field = str(error).split(":")[0]
        raise Refusal(400, str(error), field if field.isidentifier() else None, "invalid_value") from None
    except FthetaError as error:
        raise Refusal(400, str(error), code="failed") from None
