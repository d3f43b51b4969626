"""Recipes as they are being written: the shipped ones, the schema forms are made of, what is wrong with one field by field, and what it would cost."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Mapping
from typing import Any

from ftheta.core.errors import ConfigError, FthetaError, Problem, UsageError, suggest
from ftheta.lifecycle.build import misfits
from ftheta.lifecycle.checking import alternatives
from ftheta.lifecycle.listing import recipes as recipe_lines
from ftheta.lifecycle.plan import plan
from ftheta.lifecycle.recipe import extended, load, parse_yaml, read_yaml, shipped
from ftheta.lifecycle.schema import recipe_schema


@functools.cache
def schema() -> bytes:
    """The recipe's JSON Schema, compressed."""
    return gzip.compress(json.dumps(recipe_schema(), ensure_ascii=False).encode(), mtime=0)


def about_recipes() -> list[dict[str, str]]:
    """Name and subject of every shipped recipe."""
    return [{"name": name, "about": line[len(name) :].strip()} for name, line in zip(shipped(), recipe_lines(), strict=True)]


def recipe_named(name: str) -> dict[str, Any]:
    """A shipped recipe with what it extends. Raises UsageError."""
    known = shipped()
    if name not in known:
        raise UsageError(f"name: there is no shipped recipe of that name{suggest(name, known, 'shipped recipes')}")
    return extended(read_yaml(known[name]), str(known[name]))


def read_recipe(text: str) -> dict[str, Any]:
    """A recipe as it was typed. Raises ConfigError for what is no YAML, or holds what JSON does not."""
    data = parse_yaml(text, "recipe")
    try:
        json.dumps(data, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ConfigError([Problem((), "only mappings, lists, texts, numbers, true, false and null may be in it")], "recipe") from None
    return data


def checked(text: str) -> dict[str, Any]:
    """What was typed as data, what is wrong with it by field, why it does not fit together, and what could stand in its places instead."""
    try:
        data = read_recipe(text)
    except ConfigError as error:
        return {"recipe": None, **problems(error), "architectures": {}, "objectives": {}}
    found = alternatives(data)
    return {"recipe": data, **wrong(data), "architectures": found.architectures, "objectives": found.objectives}


def wrong(data: Mapping[str, Any]) -> dict[str, Any]:
    """Problems by field, and reasons of the whole."""
    try:
        return {"problems": [], "reasons": misfits(load(data))}
    except ConfigError as error:
        return problems(error)
    except FthetaError as error:
        return {"problems": [], "reasons": [str(error)]}


def problems(error: ConfigError) -> dict[str, Any]:
    return {"problems": [{"path": list(problem.path), "message": problem.message} for problem in error.problems], "reasons": []}


def planned(text: str) -> dict[str, Any]:
    """What it would cost, as data and as a table; nothing is tried."""
    found = plan(read_recipe(text), probe=False)
    return {"plan": found.dump(), "shown": found.show()}
