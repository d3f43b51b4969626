"""The recipe's shape, for editors and readers: its JSON Schema, and the reference page made from the same classes.

Nothing here is written by hand: sections, fields, types, limits, defaults and their meaning all come from the config classes and, for
blocks, from constructor signatures; catalogues are found by following the slots.
"""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, MultipleOf
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticUndefined

from ftheta.architectures import ARCHITECTURES, presets
from ftheta.core.catalog import Catalogue
from ftheta.core.config import Config, Cycle, Slot, data_fields, inline, signature_schema
from ftheta.lifecycle.recipe import Recipe, read_yaml

BOUNDS = (
    (Gt, "gt", ">"), (Ge, "ge", "≥"), (Lt, "lt", "<"), (Le, "le", "≤"), (MinLen, "min_length", "length at least"), (MaxLen, "max_length", "length at most"),
    (MultipleOf, "multiple_of", "multiple of"),
)
EXTENDS = "Another recipe to start from: a file beside this one or a shipped recipe's name; what is written here is laid over it."


# what there is


def fields_of(entry: type) -> type[Config]:
    """The config class that says which fields a catalogue's entry has; for a block its constructor's signature."""
    return entry if issubclass(entry, Config) else signature_schema(entry)


def parts(annotation: Any, metadata: Sequence[Any] = ()) -> Iterator[Slot | type[Config]]:
    """The slots and config classes a field's type is made of."""
    slots = [item for item in metadata if isinstance(item, Slot)]
    if slots:
        yield from slots
    elif inspect.isclass(annotation) and issubclass(annotation, Config):
        yield annotation
    elif typing.get_origin(annotation) is Annotated:
        inner, *more = typing.get_args(annotation)
        yield from parts(inner, more)
    else:
        for argument in typing.get_args(annotation):
            yield from parts(argument)


def sections(config: type[Config] = Recipe, place: str = "") -> dict[str, type[Config]]:
    """Every mapping of fixed fields below a config class, by its path; the class itself first."""
    found = {place: config}
    for name, field in config.model_fields.items():
        for part in parts(field.annotation, field.metadata):
            if not isinstance(part, Slot):
                found |= sections(part, f"{place}.{name}".lstrip("."))
    return found


def catalogues() -> dict[str, Catalogue]:
    """Every catalogue a recipe can name things from, by sort, in order of appearance."""
    found = {"source": Catalogue("source", {}), ARCHITECTURES.sort: ARCHITECTURES}

    def visit(config: type[Config]) -> None:
        for section in sections(config).values():
            for field in section.model_fields.values():
                for part in parts(field.annotation, field.metadata):
                    if isinstance(part, Slot) and found.get(part.catalogue.sort, Catalogue("", {})).entries != part.catalogue.entries:
                        found[part.catalogue.sort] = part.catalogue
                        for name in part.catalogue.names():
                            visit(fields_of(part.catalogue.load(name)))

    visit(Recipe)
    for name in ARCHITECTURES.names():
        visit(fields_of(ARCHITECTURES.load(name)))
    return found


# JSON Schema


def recipe_schema() -> JsonSchemaValue:
    """JSON Schema of a recipe file, every catalogue in place. A recipe that extends another may leave out anything."""
    whole = untitled(inline(Recipe.model_json_schema()))
    model = {"anyOf": [{"enum": [*ARCHITECTURES.names(), *presets()]}, *architecture_schemas()], "description": whole["properties"]["model"]["description"]}
    properties = {**whole["properties"], "model": model}
    extending = {**properties, "extends": {"type": "string", "description": EXTENDS}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ftheta recipe", "description": whole["description"], "type": "object",
        "if": {"required": ["extends"]},
        "then": {"properties": partial(extending), "additionalProperties": False},
        "else": {"properties": properties, "required": whole["required"], "additionalProperties": False},
    }


def architecture_schemas() -> list[JsonSchemaValue]:
    """A schema for each architecture, sizes the data knows left open, and one for each architecture's presets with changes."""
    by_kind: dict[str, list[str]] = {}
    for name, path in presets().items():
        by_kind.setdefault(str(read_yaml(path)["kind"]), []).append(name)
    found = []
    for kind in ARCHITECTURES.names():
        entry = untitled(Slot(ARCHITECTURES).entry_schema(kind))
        found.append(entry)
        if kind in by_kind:
            changed = {**partial(entry["properties"]), "preset": {"enum": by_kind[kind], "description": "Named sizes to start from."}}
            found.append({**entry, "properties": changed, "required": ["preset"]})
    return found


def untitled(schema: Any) -> Any:
    """Without the titles that only repeat a field's name."""
    if isinstance(schema, dict):
        return {key: untitled(value) for key, value in schema.items() if not (key == "title" and isinstance(value, str))}
    return [untitled(value) for value in schema] if isinstance(schema, list) else schema


def partial(schema: Any) -> Any:
    """A schema of something laid over something else: nothing is required."""
    if isinstance(schema, dict):
        return {key: partial(value) for key, value in schema.items() if not (key == "required" and isinstance(value, list))}
    return [partial(value) for value in schema] if isinstance(schema, list) else schema


# the reference page


HEAD = """# The recipe

*Made from the code by `ftheta.lifecycle.schema.recipe_reference`; do not edit.*

A recipe is one YAML file that says everything about a model, from data to report. Every field is checked: an unknown one, a wrong type or
a number out of range is an error that names the place, the value and the nearest valid choice. A part is chosen by its name (`optimizer:
muon`) or by a mapping with its name and what is to be changed (`optimizer: {kind: muon, rate: 0.02}`).

- `extends: NAME` starts from another recipe (a file beside this one, or a shipped recipe); what is written is laid over it.
- `model: {preset: decoder/gpt2, context: 256}` starts from a preset of an architecture; what is written is laid over it.
- `--set train.minutes=5` on the command line changes a field; `--set train.minutes=null` clears it.
- `ftheta list schema > recipe.schema.json` writes the JSON Schema; a recipe whose first line is
  `# yaml-language-server: $schema=recipe.schema.json` is then completed and checked while you type.
- Sizes the data knows (vocabulary, classes, channels) are filled in when they are left out.
"""


def recipe_reference() -> str:
    """Every section and catalogue of the recipe as Markdown."""
    found = catalogues()
    own = sections()
    text = [HEAD, "## Sections\n\n" + ", ".join(link(path or "recipe") for path in own) + "\n"]
    text += ["## Catalogues\n", "| what | names |\n|---|---|"]
    text.append("\n".join(f"| {link(plural(sort))} | {', '.join(f'`{name}`' for name in catalogue.names())} |" for sort, catalogue in found.items()) + "\n")
    text += [f"## {path or 'recipe'}\n\n{prose(config)}\n\n{table(config)}" for path, config in own.items()]
    for sort, catalogue in found.items():
        text.append(f"## {plural(sort)}\n")
        text += [entry(sort, name, catalogue.load(name)) for name in catalogue.names()]
    return "\n".join(text).rstrip() + "\n"


def entry(sort: str, name: str, thing: type) -> str:
    """One entry of a catalogue: what it is and its fields, with those of mappings inside it."""
    known = [preset for preset, path in presets().items() if sort == ARCHITECTURES.sort and read_yaml(path)["kind"] == name]
    named = f"\n\nPresets: {', '.join(f'`{preset}`' for preset in known)}." if known else ""
    inside = [f"In `{place}`: {prose(config)}\n\n{table(config)}" for place, config in sections(fields_of(thing)).items() if place]
    return "\n".join([f"### `{name}` ({sort})\n\n{prose(thing)}{named}\n\n{table(fields_of(thing))}", *inside])


def prose(thing: type) -> str:
    """A docstring as Markdown: what looks like a tag, outside of `code`, is text."""
    pieces = inspect.cleandoc(thing.__doc__ or "").split("`")
    return "`".join(piece if i % 2 else piece.replace("<", "\\<") for i, piece in enumerate(pieces))


def table(config: type[Config]) -> str:
    """The fields of a config class; the column of meanings is left out where none is written down."""
    rows = []
    for name, field in config.model_fields.items():
        if name == "kind":
            continue
        known = "model" if config is Recipe and name == "model" else ""
        kind = f"{link(plural(ARCHITECTURES.sort), ARCHITECTURES.sort)}, or `{{preset: NAME}}`" if known else words(field.annotation, field.metadata)
        rows.append([f"`{name}`", kind, default(field, name in data_fields(config)), (field.description or "").replace("|", "\\|").replace("\n", " ")])
    if not rows:
        return "No fields.\n"
    columns = ["field", "type", "default", "meaning"] if any(row[3] for row in rows) else ["field", "type", "default"]
    lines = [columns, ["---"] * len(columns), *(row[: len(columns)] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def plural(sort: str) -> str:
    return sort if sort.endswith("ing") else f"{sort}s"


def link(heading: str, shown: str = "") -> str:
    return f"[{shown or heading}](#{heading.lower().replace('.', '').replace(' ', '-')})"


def words(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """A field's type as people say it, limits included."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    slots = [item for item in metadata if isinstance(item, Slot)]
    if slots:
        one = link(plural(slots[0].catalogue.sort), slots[0].catalogue.sort)
        return f"{one} or list of them" if isinstance(slots[0], Cycle) else one
    if origin is Annotated:
        return words(arguments[0], arguments[1:])
    if origin in (types.UnionType, typing.Union):
        some = [words(argument, metadata) for argument in arguments if argument is not type(None)]
        return " or ".join([*some, *(["`null`"] if type(None) in arguments else [])])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (tuple, list):
        if origin is tuple and arguments[-1] is not Ellipsis:
            return f"list of {len(arguments)}: {', '.join(dict.fromkeys(map(words, arguments)))}"
        return f"list of {words(arguments[0])}{limits(metadata)}"
    if origin is dict:
        return f"mapping of names to {words(arguments[1])}"
    if inspect.isclass(annotation) and issubclass(annotation, Config):
        place = next((path for path, config in sections().items() if config is annotation), None)
        return link(place, "mapping") if place else "mapping"
    return {int: "whole number", float: "number", str: "text", bool: "`true` or `false`"}.get(annotation, "anything") + limits(metadata)


def limits(metadata: Sequence[Any]) -> str:
    """Bounds in signs."""
    signs: list[str] = []
    for item in metadata:
        for kind, attribute, sign in BOUNDS:
            if isinstance(item, kind):
                signs.append(f"{sign} {getattr(item, attribute)}")
        if pattern := getattr(item, "pattern", None):
            signs.append(f"matching `{pattern}`".replace("|", "\\|"))
    return f" ({', '.join(signs)})" if signs else ""


def default(field: FieldInfo, from_data: bool) -> str:
    """What holds when a field is left out."""
    value = field.default
    known = "" if value is PydanticUndefined else f"`{flow(value)}`"
    if from_data:
        return f"from the data{f', else {known}' if known else ''}"
    return known or "required"


def flow(value: Any) -> str:
    """A value as YAML writes it on one line."""
    if isinstance(value, Config):
        return flow(value.model_dump(mode="json", exclude_unset=True))
    if isinstance(value, dict):
        return value["kind"] if list(value) == ["kind"] else "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, str):
        return value if value else '""'
    return json.dumps(value)
