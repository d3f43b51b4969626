"""Mistyped names are refused, and the error says which name was meant.

Typos as hands make them (a letter left out, typed twice, swapped with its neighbour, or hit beside), at every place of a recipe where a
name stands: fields of sections, names in catalogues, fields of their entries.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import tiny
from ftheta.architectures import ARCHITECTURES, presets
from ftheta.core.config import Slot
from ftheta.core.errors import ConfigError
from ftheta.lifecycle.recipe import load
from ftheta.lifecycle.schema import catalogues, fields_of, sections

COUNT = 300
SEED = 20_240_601


class Name(NamedTuple):
    """A name that can be mistyped, its neighbours, and what reads it."""

    right: str
    known: list[str]
    read: Callable[[str], Any]
    """Reads a recipe, or a part of one, in which this name stands as it was typed."""


def full_recipe() -> dict[str, Any]:
    """A recipe with every section written out."""
    recipe = tiny.language(Path("nowhere"))
    recipe["data"]["pack"]["ramp"] = [{"until": 0.5, "length": 8}]
    recipe["train"] |= {"early_stop": {"patience": 3}}
    return {**load(recipe).dump(), "arms": [sections()["arms"].parse({"adapt": "full"}).dump()]}


def renamed(data: Any, path: list[str], right: str, typed: str) -> Any:
    """Plain data with one key of the mapping at a path mistyped."""
    if isinstance(data, list):
        return [renamed(data[0], path, right, typed), *data[1:]]
    if path:
        return {**data, path[0]: renamed(data[path[0]], path[1:], right, typed)}
    return {typed if key == right else key: value for key, value in data.items()}


def names() -> list[Name]:
    found = []
    recipe = full_recipe()
    for place, config in sections().items():
        path, known = [step for step in place.split(".") if step], list(config.model_fields)
        found += [Name(right, known, lambda typed, path=path, right=right: load(renamed(recipe, path, right, typed))) for right in known]
    for catalogue in catalogues().values():
        slot = Slot(catalogue)
        for name in catalogue.names():
            found.append(Name(name, catalogue.names(), slot.parse))
            fields = [field for field in fields_of(catalogue.load(name)).model_fields if field != "kind"]
            found += [Name(field, fields, lambda typed, slot=slot, name=name: slot.parse({"kind": name, typed: 1})) for field in fields]
        found.append(Name("kind", ["kind"], lambda typed, slot=slot, name=catalogue.names()[0]: slot.parse({typed: name})))
    found += [Name(word, [word], lambda typed, name=name: load({**recipe, "model": {typed: name}})) for word, name in (("kind", "decoder"), ("preset", "decoder/gpt2"))]
    found += [Name(name, list(presets()), lambda typed: load({**recipe, "model": {"preset": typed}})) for name in presets()]
    return found


def mistyped(name: str, draws: random.Random) -> str:
    """One slip of the hand."""
    at = draws.randrange(len(name))
    slip = draws.choice(("drop", "double", "swap", "replace"))
    if slip == "drop":
        return name[:at] + name[at + 1 :]
    if slip == "double":
        return name[: at + 1] + name[at:]
    if slip == "swap":
        return name[:at] + name[at + 1 : at + 2] + name[at] + name[at + 2 :]
    return name[:at] + draws.choice(string.ascii_lowercase) + name[at + 1 :]


def typos(count: int, seed: int) -> list[tuple[Name, str]]:
    """Names and how they were typed; slips that give a valid name again are not typos."""
    draws, known, found = random.Random(seed), names(), []
    while len(found) < count:
        name = draws.choice(known)
        typed = mistyped(name.right, draws)
        if typed and typed not in name.known and typed != name.right:
            found.append((name, typed))
    return found


def first_suggestion(error: ConfigError, typed: str) -> str | None:
    """The name the error proposes for the one that was typed."""
    about = [str(problem) for problem in error.problems if typed in map(str, problem.path) or f"'{typed}'" in problem.message]
    match = re.search(r"did you mean '([^']*)'\?", "\n".join(about))
    return match[1] if match else None


def test_typos_are_refused_with_the_right_name() -> None:
    accepted, wrong = [], []
    for name, typed in typos(COUNT, SEED):
        try:
            name.read(typed)
        except ConfigError as error:
            if (meant := first_suggestion(error, typed)) != name.right:
                wrong.append((typed, name.right, meant))
        else:
            accepted.append((typed, name.right))
    assert not accepted
    assert len(wrong) <= 0.05 * COUNT, wrong


def test_every_sort_of_name_is_among_them() -> None:
    rights = {name.right for name in names()}
    assert {"train", "early_stop", "until", "muon", "embed_rate", "kv_heads", "next_token", "bits_per_byte"} <= rights
    assert rights >= set(ARCHITECTURES.names())
