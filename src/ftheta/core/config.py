"""Strict configuration: frozen pydantic classes, parts chosen by `{kind: name, ...}`, errors that name path and remedy.

Two sorts of thing can stand in a slot. A *configured* thing (architecture, objective, source, metric, ...) is a `Config`
class with a literal `kind`. A *block* has no config class: its keyword-only constructor signature is the schema, and the
slot holds a `Part` (its kind and checked arguments) until an architecture builds it.
"""

from __future__ import annotations

import functools
import inspect
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from ftheta.core.catalog import Catalogue
from ftheta.core.errors import ConfigError, Problem, distance, suggest

RULES = ConfigDict(
    frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=(),
    validate_default=True,
)
SLIPS = 2
"""Letters by which a key that stands for `kind` may be mistyped."""


class Config(BaseModel):
    """Base of every configuration: frozen, no unknown fields, no coercion, no NaN."""

    model_config = RULES

    @classmethod
    def parse(cls, data: object, source: str = "") -> Self:
        """Read plain data (what YAML or JSON gives). Raises ConfigError listing every problem."""
        try:
            return cls.model_validate_json(json.dumps(data, default=str))
        except ValidationError as error:
            raise ConfigError(list(broken_texts(data)) or problems(cls, error, data), source) from None

    def dump(self) -> dict[str, Any]:
        """Plain data that `parse` reads back to an equal object."""
        return self.model_dump(mode="json")

    def replace(self, **changes: Any) -> Self:
        """A checked copy with some fields changed."""
        return type(self).parse({**self.dump(), **changes})


class Part:
    """A block to be built: its kind, its checked arguments (defaults filled in) and the class they belong to."""

    def __init__(self, kind: str, arguments: Mapping[str, Any], cls: type):
        self.kind = kind
        self.arguments = dict(arguments)
        self.cls = cls

    def build(self, **given: Any) -> Any:
        """Construct the block; `given` are the sizes its owner decides (dim, context)."""
        return self.cls(**given, **self.arguments)

    @property
    def traits(self) -> frozenset[str]:
        """What this part promises for these arguments, such as `causal`; derived, never declared by the user."""
        derive = getattr(self.cls, "traits", None)
        return frozenset(derive(self.arguments)) if derive else frozenset()

    def dump(self) -> dict[str, Any]:
        return {"kind": self.kind, **{name: v.dump() if isinstance(v, (Part, Config)) else v for name, v in self.arguments.items()}}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and self.dump() == other.dump()

    def __hash__(self) -> int:
        return hash(json.dumps(self.dump(), sort_keys=True))

    def __repr__(self) -> str:
        return f"Part({self.dump()})"


@functools.cache
def signature_schema(cls: type) -> type[Config]:
    """The config class a block's keyword-only constructor arguments amount to."""
    hints = typing.get_type_hints(cls.__init__, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[name] = (hints[name], default)
    return create_model(cls.__name__, __base__=Config, **fields)


class Slot:
    """Annotation of a config field that holds one entry of a catalogue: `Annotated[Part, Slot(MIXERS)]`."""

    def __init__(self, catalogue: Catalogue):
        self.catalogue = catalogue

    def parse(self, value: Any) -> Config | Part:
        """A bare name, a `{kind: name, ...}` mapping or an already parsed object."""
        if isinstance(value, (Part, Config)):
            return value
        if isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, Mapping):
            raise ConfigError([Problem((), f"expected a {self.catalogue.sort} (a name or {{kind: name, ...}}), got {describe(value)}")])
        if not isinstance(value.get("kind"), str):
            known = ", ".join(self.catalogue.names())
            for typed in value:
                if "kind" not in value and distance(str(typed), "kind") <= SLIPS:
                    raise ConfigError([Problem((typed,), f"no such field; did you mean 'kind'? ({self.catalogue.sort}s: {known})")])
            raise ConfigError([Problem(("kind",), f"say which {self.catalogue.sort}: one of {known}")])
        try:
            cls = self.catalogue.load(value["kind"])
        except ConfigError as error:
            raise ConfigError([Problem(("kind",), error.problems[0].message)]) from None
        if issubclass(cls, Config):
            return cls.parse(value)
        arguments = signature_schema(cls).parse({k: v for k, v in value.items() if k != "kind"})
        return Part(value["kind"], {name: getattr(arguments, name) for name in type(arguments).model_fields}, cls)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.dump())
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"enum": self.catalogue.names()}, *(self.entry_schema(name) for name in self.catalogue.names())]}

    def entry_schema(self, name: str) -> JsonSchemaValue:
        cls = self.catalogue.load(name)
        schema = cls.model_json_schema() if issubclass(cls, Config) else signature_schema(cls).model_json_schema()
        schema = inline(schema)
        schema["properties"] = {**schema.get("properties", {}), "kind": {"const": name}}
        from_elsewhere = data_fields(cls) if issubclass(cls, Config) else {}
        schema["required"] = sorted({*schema.get("required", []), "kind"} - from_elsewhere.keys())
        schema["title"] = name
        return schema


class Cycle(Slot):
    """A slot that may also hold a list of entries, gone through again and again: `Annotated[Part | tuple[Part, ...], Cycle(MIXERS)]`.

    A list whose entries are all the same is that entry.
    """

    def parse(self, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return super().parse(value)
        found, wrong = [], []
        for i, item in enumerate(value):
            try:
                found.append(super().parse(item))
            except ConfigError as error:
                wrong += [Problem((i, *problem.path), problem.message) for problem in error.problems]
        if wrong or not value:
            raise ConfigError(wrong or [Problem((), f"expected one {self.catalogue.sort} at least, got an empty list")])
        return found[0] if all(item == found[0] for item in found) else tuple(found)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def dump(value: Any) -> Any:
            return [item.dump() for item in value] if isinstance(value, tuple) else value.dump()

        return core_schema.no_info_plain_validator_function(self.parse, serialization=core_schema.plain_serializer_function_ser_schema(dump))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        one = super().__get_pydantic_json_schema__(schema, handler)
        return {"anyOf": [*one["anyOf"], {"type": "array", "items": one, "minItems": 1}]}


def inline(schema: JsonSchemaValue) -> JsonSchemaValue:
    """A JSON Schema with its `$defs` put in place, so that it can stand inside another schema."""
    definitions = schema.pop("$defs", {})

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return walk({**definitions[node["$ref"].rsplit("/", 1)[1]], **{k: v for k, v in node.items() if k != "$ref"}})
            return {k: walk(v) for k, v in node.items()}
        return [walk(v) for v in node] if isinstance(node, list) else node

    return walk(schema)


def slot(kind: str, **arguments: Any) -> Any:
    """The default of a slot field."""
    return Field({"kind": kind, **arguments})


def slots(*kinds: str) -> Any:
    """The default of a field that holds several slots."""
    return Field(default=[{"kind": kind} for kind in kinds])


def from_data(dimension: str, default: Any = ...) -> Any:
    """A size the data knows (vocabulary, classes, channels): filled in from the data's ports when a recipe leaves it out."""
    return Field(default, json_schema_extra={"from_data": dimension}, gt=0)


def data_fields(cls: type[Config]) -> dict[str, str]:
    """Field name → dimension letter, for the fields declared with `from_data`."""
    found = {}
    for name, field in cls.model_fields.items():
        if isinstance(field.json_schema_extra, dict) and "from_data" in field.json_schema_extra:
            found[name] = str(field.json_schema_extra["from_data"])
    return found


def slot_of(metadata: Sequence[Any]) -> Slot | None:
    """The slot a field's annotation says it holds."""
    return next((item for item in metadata if isinstance(item, Slot)), None)


def fill(cls: type[Config], fields: Mapping[str, Any], sizes: Mapping[str, int], otherwise: int | None = None) -> dict[str, Any]:
    """`fields` with those the data decides filled in, in configurations inside slots too; sizes not known become `otherwise`, if given."""
    result = dict(fields)
    for name, letter in data_fields(cls).items():
        if name not in result and (letter in sizes or otherwise is not None):
            result[name] = sizes.get(letter, otherwise)
    for name, field in cls.model_fields.items():
        inside = result.get(name, field.default)
        slot = slot_of(field.metadata)
        kind = inside.get("kind") if isinstance(inside, Mapping) else inside
        if slot and isinstance(kind, str) and kind in slot.catalogue and issubclass(slot.catalogue.load(kind), Config):
            result[name] = fill(slot.catalogue.load(kind), inside if isinstance(inside, Mapping) else {"kind": kind}, sizes, otherwise)
    return result


def merge(base: Any, change: Any) -> Any:
    """`change` laid over `base`: mappings merge by key, unless both name a different `kind`; everything else replaces."""
    if not (isinstance(base, Mapping) and isinstance(change, Mapping)):
        if isinstance(base, Mapping) and isinstance(change, str) and base.get("kind") == change:
            return base
        return change
    if "kind" in change and change["kind"] != base.get("kind", change["kind"]):
        return dict(change)
    return {**base, **{key: merge(base[key], value) if key in base else value for key, value in change.items()}}


def describe(value: object) -> str:
    """A value as an error message shows it: short, with its kind in plain words."""
    words = {bool: "yes/no", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a mapping", type(None): "nothing"}
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({words.get(type(value), type(value).__name__)})"


EXPECTED = {
    "int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number", "bool_type": "true or false",
    "string_type": "text", "list_type": "a list", "tuple_type": "a list", "dict_type": "a mapping", "model_type": "a mapping",
    "finite_number": "a finite number",
}


def broken_texts(data: object, path: tuple[str | int, ...] = ()) -> Iterator[Problem]:
    """Texts that cannot be written as UTF-8: bytes that are none stand in them as halves of pairs of code units, and JSON may spell such halves."""
    if isinstance(data, Mapping):
        for name, value in data.items():
            yield from broken_texts(value, (*path, str(name)))
    elif isinstance(data, list | tuple):
        for number, value in enumerate(data):
            yield from broken_texts(value, (*path, number))
    elif isinstance(data, str):
        try:
            data.encode()
        except UnicodeEncodeError as error:
            yield Problem(path, f"the text is not UTF-8: character {error.start + 1:,} is none (the byte 0x{ord(data[error.start]) & 0xFF:02x}, or half of a pair)")


class Refused(NamedTuple):
    """One of pydantic's errors."""

    problem: Problem
    fork: tuple[str | int, ...] | None
    """Where one of several sorts of value was tried, below which it was found; None: there was one sort."""
    rank: int
    """0: the value is of another sort; 1: it is not among the choices; 2: it is of this sort, and wrong."""
    wanted: str = ""
    """The sort, when it is of another."""


def problems(cls: type[BaseModel], error: ValidationError, data: object) -> list[Problem]:
    """pydantic's errors about data in the words of this project: nested configuration errors flattened into full paths, and what several sorts of value that a
    field may have say of one value put together.
    """
    found: list[Refused] = []
    for item in error.errors(include_url=False):
        value, kind, context = item["input"], item["type"], item.get("ctx", {})
        path, fork = place_in(data, item["loc"], kind in ("missing", "extra_forbidden"))
        inner = context.get("error")
        if isinstance(inner, ConfigError):
            found += [Refused(Problem(path + problem.path, problem.message), fork, 2) for problem in inner.problems]
        elif kind == "extra_forbidden":
            found.append(Refused(Problem(path, "no such field" + suggest(str(path[-1]), fields_at(cls, path[:-1]), "fields")), fork, 2))
        elif kind == "missing":
            found.append(Refused(Problem(path, "is required and missing"), fork, 2))
        elif kind == "literal_error":
            choices = [str(choice) for choice in literals_at(cls, path)]
            found.append(Refused(Problem(path, f"{describe(value)} is not allowed" + suggest(str(value), choices)), fork, 1))
        elif kind in EXPECTED:
            found.append(Refused(Problem(path, f"expected {EXPECTED[kind]}, got {describe(value)}"), fork, 0, EXPECTED[kind]))
        elif kind == "value_error":
            found.append(Refused(Problem(path, str(inner)), fork, 2))
        else:
            found.append(Refused(Problem(path, f"{item['msg'][0].lower()}{item['msg'][1:]}, got {describe(value)}"), fork, 2))
    return together(found)


def place_in(data: object, location: Sequence[str | int], ends: bool) -> tuple[tuple[str | int, ...], tuple[str | int, ...] | None]:
    """Where in data a location of pydantic's is, and where it names one of several sorts of value, which data know nothing of; `ends` with something that they need not have."""
    path: list[str | int] = []
    fork = None
    for number, step in enumerate(location, 1):
        if isinstance(data, Mapping) and (inside := {str(name): value for name, value in data.items()}) and step in inside:
            data = inside[str(step)]
        elif isinstance(step, int) and isinstance(data, list | tuple):
            data = data[step] if step < len(data) else None
        elif not (ends and number == len(location)):
            fork = tuple(path) if fork is None else fork
            continue
        path.append(step)
    return tuple(path), fork


def together(found: Sequence[Refused]) -> list[Problem]:
    """The problems, one for every place at which several sorts of value were tried: of the sort that the value is of, if it is of one of them."""
    deep = {one.fork for one in found if one.fork is not None and len(one.problem.path) > len(one.fork)}
    kept: dict[tuple[Any, ...], list[Refused]] = {}
    for number, one in enumerate(found):
        if one.fork is None or one.problem.path != one.fork or one.fork not in deep:
            kept.setdefault((number,) if one.fork is None else one.problem.path, []).append(one)
    problems = []
    for group in kept.values():
        best = [one for one in group if one.rank == max(each.rank for each in group)]
        others = list(dict.fromkeys(one.wanted for one in group if one.wanted))
        if best[0].rank == 1 and others:
            problems.append(Problem(best[0].problem.path, f"{best[0].problem.message}; or give {' or '.join(others)}"))
        elif best[0].rank == 0 and len(others) > 1:
            problems.append(Problem(best[0].problem.path, best[0].problem.message.replace(f"expected {others[0]}", f"expected {' or '.join(others)}", 1)))
        else:
            problems += dict.fromkeys(one.problem for one in best)
    return problems


def annotation_at(cls: type[BaseModel], path: Sequence[str | int]) -> Any:
    """The type annotation a path leads to, or None when it leaves the configuration classes."""
    here: Any = cls
    for step in path:
        model = next((c for c in (here, *typing.get_args(here)) if inspect.isclass(c) and issubclass(c, BaseModel)), None)
        if isinstance(step, int) or model is None:
            continue
        if step not in model.model_fields:
            return None
        here = model.model_fields[step].annotation
    return here


def fields_at(cls: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    here = annotation_at(cls, path)
    model = next((c for c in (here, *typing.get_args(here)) if inspect.isclass(c) and issubclass(c, BaseModel)), None)
    return list(model.model_fields) if model else []


def literals_at(cls: type[BaseModel], path: Sequence[str | int]) -> list[Any]:
    here = annotation_at(cls, path)
    options = typing.get_args(here) if isinstance(here, types.UnionType) or typing.get_origin(here) is typing.Union else (here,)
    return [value for option in options if typing.get_origin(option) is Literal for value in typing.get_args(option)]
