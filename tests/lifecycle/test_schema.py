"""The exported shape of recipes says what the parser says."""

import json
import os
from pathlib import Path

import jsonschema
import pytest

from ftheta.architectures import presets
from ftheta.core.config import merge
from ftheta.core.errors import ConfigError
from ftheta.lifecycle.listing import listing
from ftheta.lifecycle.recipe import load, read_yaml, shipped
from ftheta.lifecycle.schema import catalogues, fields_of, recipe_reference, recipe_schema, sections

PAGE = Path(__file__).parents[2] / "docs" / "recipe.md"
BASE = {
    "format": 1, "name": "x", "data": {"source": {"kind": "digits"}}, "model": {"kind": "resnet", "depths": [1], "widths": [8]}, "objective": "classification",
    "train": {"steps": 1},
}


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(recipe_schema())
    return jsonschema.Draft202012Validator(recipe_schema())


def test_the_committed_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == recipe_reference(), (
        "the recipe's fields have changed: python -c 'from ftheta.lifecycle.schema import recipe_reference as r; print(r(), end=\"\")' > docs/recipe.md"
    )


def test_the_page_names_every_section_field_and_entry():
    page = recipe_reference()
    for place, config in sections().items():
        assert f"\n## {place or 'recipe'}\n" in page
        assert all(f"| `{name}` |" in page for name in config.model_fields)
    for sort, catalogue in catalogues().items():
        assert all(f"\n### `{name}` ({sort})\n" in page for name in catalogue.names())


def test_every_field_says_what_it_means():
    """Of sections and of every entry, arguments of blocks included: the page has no empty cells."""
    described = {place or "recipe": config for place, config in sections().items()}
    for sort, catalogue in catalogues().items():
        described |= {f"{sort} {name}": fields_of(catalogue.load(name)) for name in catalogue.names()}
    assert not [f"{owner}.{name}" for owner, config in described.items() for name, field in config.model_fields.items() if name != "kind" and not field.description]


def test_every_section_and_catalogue_is_found():
    assert {"", "data", "data.split", "data.pack", "train", "train.checkpoint"} <= sections().keys()
    assert {"source", "architecture", "objective", "metric", "optimizer", "schedule", "mixer", "norm", "environment"} <= catalogues().keys()
    assert "rollouts" in catalogues()["source"]


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_recipes_validate(schema, name):
    schema.validate(read_yaml(shipped()[name]))


@pytest.mark.parametrize("name", sorted(name for name, path in shipped().items() if "start" not in read_yaml(path)))   # a start must be there to be read
def test_resolved_recipes_validate(schema, name):
    if read_yaml(shipped()[name]).get("start") and not os.environ.get("FTHETA_MIRROR"):
        pytest.skip("it starts from a published model, and FTHETA_MIRROR is not set")
    schema.validate(load(name).dump())


def test_the_schema_can_be_printed(schema):
    assert json.loads(listing("schema")) == json.loads(json.dumps(schema.schema))


def test_every_preset_may_be_named(schema):
    for name in presets():
        schema.validate({**BASE, "model": name})
        schema.validate({**BASE, "model": {"preset": name}})


@pytest.mark.parametrize(
    "change",
    [
        {"tarin": {}}, {"train": {"step": 1}}, {"train": {"steps": "many"}}, {"train": {"steps": 0}}, {"train": {"steps": 1.5}}, {"train": {"precision": "float16"}},
        {"train": {"optimizer": "adam"}}, {"train": {"optimizer": {"kind": "adamw", "bett": 1}}}, {"train": {"optimizer": {"kind": "adamw", "betas": [0.9]}}},
        {"model": {"kind": "resnet", "dept": 1}}, {"model": "renset"}, {"model": {"preset": "resnet/digits", "hidden": 3}}, {"objective": {"smoothing": 0.1}},
        {"data": {"augment": [{"kind": "flip", "probability": 2}]}}, {"format": 2}, {"name": "a/b"}, {"seed": -1}, {"evaluate": "accuracy"}, {"data": None},
    ],
    ids=str,
)
def test_schema_and_parser_refuse_the_same(schema, change):
    schema.validate(BASE)
    load(BASE)
    wrong = {**BASE, "model": change["model"]} if "model" in change else merge(BASE, change)
    assert not schema.is_valid(wrong)
    with pytest.raises(ConfigError):
        load(wrong)


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True), ({"train": {"minutes": None, "steps": 5}}, True), ({"model": {"mixer": {"heads": 2}}}, True), ({"data": {"pack": {"length": 1024}}}, True),
        ({"model": {"mixr": "lstm"}}, False), ({"train": {"minute": 3}}, False), ({"train": {"optimizer": {"rat": 3}}}, False),
    ],
    ids=str,
)
def test_a_recipe_that_extends_another_may_be_partial_but_not_wrong(schema, change, valid):
    recipe = {"extends": "python-lm", **change}
    assert schema.is_valid(recipe) == valid
    if valid:
        load(recipe)
    else:
        with pytest.raises(ConfigError):
            load(recipe)
