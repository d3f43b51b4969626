from typing import Annotated, Literal

import pytest
from pydantic import Field

from ftheta.core.catalog import Catalogue
from ftheta.core.config import Config, Part, Slot, merge, slot
from ftheta.core.errors import ConfigError, distance, nearest


class Block:
    """A block with a nested one."""

    def __init__(self, dim: int, *, width: int = 4, mode: Literal["a", "b"] = "a", inner: "Annotated[Part, Slot(BLOCKS)] | None" = None):
        self.facts = (dim, width, mode, inner)


BLOCKS = Catalogue("block", {"block": f"{__name__}:Block"})


class Inner(Config):
    rate: float = 0.1


class Outer(Config):
    kind: Literal["outer"] = "outer"
    size: int
    inner: Inner = Inner()
    part: Annotated[Part, Slot(BLOCKS)] = slot("block", width=8)
    many: tuple[Annotated[Part, Slot(BLOCKS)], ...] = ()


def reasons(data) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Outer.parse(data)
    return [str(problem) for problem in caught.value.problems]


def test_round_trip_fills_in_defaults():
    config = Outer.parse({"size": 1, "many": ["block", {"kind": "block", "inner": {"kind": "block", "width": 2}}]})
    assert config.part.arguments["width"] == 8
    assert config.part.build(dim=3).facts[:3] == (3, 8, "a")
    assert Outer.parse(config.dump()) == config


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "size: is required and missing"),
        ({"size": "x"}, "size: expected a whole number, got 'x' (text)"),
        ({"size": 1.5}, "size: expected a whole number, got 1.5 (a number)"),
        ({"size": True}, "size: expected a whole number, got True (yes/no)"),
        ({"size": 1, "sise": 2}, "sise: no such field; did you mean 'size'?"),
        ({"size": 1, "inner": {"rat": 1}}, "inner.rat: no such field; did you mean 'rate'?"),
        ({"size": 1, "inner": {"rate": float("nan")}}, "inner.rate: expected a finite number"),
        ({"size": 1, "part": {"kind": "blok"}}, "part.kind: 'blok' is not a known block; did you mean 'block'?"),
        ({"size": 1, "part": {"kind": "block", "wdth": 1}}, "part.wdth: no such field; did you mean 'width'?"),
        ({"size": 1, "part": {"kind": "block", "mode": "c"}}, "part.mode: 'c' (text) is not allowed"),
        ({"size": 1, "part": {"kind": "block", "inner": {"kind": "block", "width": "w"}}}, "part.inner.width: expected a whole number"),
        ({"size": 1, "part": 3}, "part: expected a block"),
        ({"size": 1, "many": [{"width": 3}]}, "many.0.kind: say which block"),
    ],
)
def test_errors_name_path_value_and_remedy(data, message):
    assert any(reason.startswith(message) for reason in reasons(data)), reasons(data)


def test_all_problems_are_reported_at_once():
    assert len(reasons({"sise": 1, "inner": {"rat": 1}, "part": "blok"})) == 4


def test_merge_keeps_siblings_and_replaces_other_kinds():
    assert merge({"a": {"kind": "x", "n": 1}, "b": 2}, {"a": {"m": 3}}) == {"a": {"kind": "x", "n": 1, "m": 3}, "b": 2}
    assert merge({"a": {"kind": "x", "n": 1}}, {"a": {"kind": "y"}}) == {"a": {"kind": "y"}}
    assert merge({"a": {"kind": "x", "n": 1}}, {"a": "y"}) == {"a": "y"}
    assert merge({"a": {"n": 1}}, {"a": None}) == {"a": None}


def test_distance_counts_swaps_once():
    assert distance("betta", "beta") == 1
    assert distance("mixre", "mixer") == 1
    assert nearest("optimiser", ["optimizer", "objective"]) == "optimizer"
    assert nearest("zzzzzz", ["alpha", "beta"]) is None


class Whole(Config):
    kind: Literal["inner"] = "inner"
    size: int = 1


class Several(Config):
    """Fields that may be one of several sorts of value."""

    steps: int | Literal["auto"] = 1
    rules: Literal["text", "code"] | tuple[Literal["text", "code"], ...] = "text"
    rate: float | tuple[float, float] | None = None
    inner: Whole | Literal["none"] | None = None
    sizes: dict[str, int] | int = 1
    items: tuple[int | str, ...] = ()
    limit: Annotated[int, Field(gt=3)] | str | None = None


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        ({"steps": "aut"}, "steps", "'aut' (text) is not allowed; did you mean 'auto'? (choices: auto); or give a whole number"),
        ({"rules": "txet"}, "rules", "'txet' (text) is not allowed; did you mean 'text'? (choices: code, text); or give a list"),
        ({"rules": ["text", 3]}, "rules.1", "3 (a whole number) is not allowed (choices: code, text)"),
        ({"rate": "fast"}, "rate", "expected a number or a list, got 'fast' (text)"),
        ({"rate": [1, "z"]}, "rate.1", "expected a number, got 'z' (text)"),
        ({"rate": [1]}, "rate.1", "is required and missing"),
        ({"inner": 5}, "inner", "5 (a whole number) is not allowed (choices: none); or give a mapping"),
        ({"inner": {"size": "x"}}, "inner.size", "expected a whole number, got 'x' (text)"),
        ({"inner": {"sise": 1}}, "inner.sise", "no such field; did you mean 'size'? (fields: kind, size)"),
        ({"sizes": {"q": "r"}}, "sizes.q", "expected a whole number, got 'r' (text)"),
        ({"items": [1, {}]}, "items.1", "expected a whole number or text, got {} (a mapping)"),
        ({"limit": 1}, "limit", "input should be greater than 3, got 1 (a whole number)"),
    ],
)
def test_a_value_of_none_of_several_sorts_is_one_problem(given, path, message):
    with pytest.raises(ConfigError) as caught:
        Several.parse(given)
    assert [str(problem) for problem in caught.value.problems] == [f"{path}: {message}"]
