"""What the server says of itself at /openapi.json: bodies, answers and errors of every route, each schema under one name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from ftheta.core.config import Config

REFERENCE = "#/components/schemas/{model}"


class Reason(Config):
    """What was wrong."""

    message: str
    """In words."""
    type: str
    """Which sort of error it is."""
    param: str | None
    """The field that is wrong, where it is one."""
    code: str | None
    """Which error it is."""


class Wrong(Config):
    """The body of every error."""

    error: Reason
    """What was wrong."""


def describe(app: FastAPI, takes: Mapping[str, type[Config]], gives: Mapping[str, type[Config]]) -> None:
    """Let the app say what its routes take and give, by path, as it is when it is asked; errors are the same everywhere."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        found = plain()
        kinds = {**dict.fromkeys(takes.values(), "validation"), Wrong: "validation"}
        outputs = dict.fromkeys(gives.values(), "serialization")
        places, schemas = models_json_schema([*kinds.items(), *outputs.items()], ref_template=REFERENCE)           # type: ignore[arg-type, list-item]
        found.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        for path, methods in found["paths"].items():
            for says in methods.values():
                answers = says["responses"]
                answers["default"] = {"description": "What was wrong.", **content(places[Wrong, "validation"])}
                if path in takes:
                    says["requestBody"] = {"required": True, **content(places[takes[path], "validation"])}
                if path in gives:
                    answers["200"] = {"description": "The answer.", **content(places[gives[path], "serialization"])}
        return found

    app.openapi = openapi


def content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}
