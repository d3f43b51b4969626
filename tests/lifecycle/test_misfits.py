"""What cannot work is refused before anything is read or trained, with the reason."""

from pathlib import Path

import pytest

import tiny
from ftheta.core.errors import ConfigError, DataError, UsageError
from ftheta.lifecycle.checking import check
from ftheta.lifecycle.lifecycle import run

LANGUAGE = tiny.language(Path("nowhere"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": {"mixer": {"heads": 3}}}, "model: dim 16 must be a multiple of heads 3"),
        ({"model": {"mixer": {"kv_heads": 4}}}, "must be a multiple of kv_heads"),
        ({"model": {"mixer": {"heads": 16}, "positions": "rotary"}}, "the head dimension must be even"),
        ({"model": {"mixer": "lstm", "positions": "none", "value_embed": True}}, "has no values"),
        ({"evaluate": ["accuracy"]}, "'accuracy' reads the model's 'logits' (logits * K)"),
        ({"evaluate": [{"kind": "loss", "objective": "masked"}]}, "evaluate: 'loss': the model only looks back"),
        ({"evaluate": [{"kind": "loss", "objective": "classification"}]}, "evaluate: 'loss': the objective reads 'label'"),
        ({"objective": "masked"}, "the model only looks back"),
        ({"train": {"players": {"generator": "sgd"}}}, "has no player 'generator'"),
    ],
    ids=str,
)
def test_parts_that_do_not_fit(change, reason):
    assert any(reason in found for found in check(LANGUAGE, changes=change).reasons)
    with pytest.raises(ConfigError, match="does not fit together"):
        run(LANGUAGE, changes=change)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"mixer": {"heads": 0}}, "model.mixer.heads"), ({"norm": {"kind": "rmsnorm", "eps": -1.0}}, "model.norm.eps"),
        ({"feedforward": {"kind": "mlp", "hidden": 0}}, "model.feedforward.hidden"),
    ],
    ids=str,
)
def test_arguments_of_blocks_have_limits(change, place):
    with pytest.raises(ConfigError, match=place):
        check(LANGUAGE, changes={"model": change})


def test_a_device_that_is_not_there(tmp_path):
    recipe = tiny.language(tiny.write_texts(tmp_path / "texts"))
    with pytest.raises(UsageError, match="there is no cuda:9 here"):
        run(recipe, changes={"train": {"device": "cuda:9"}}, out=tmp_path / "run")


def test_a_run_that_never_began_leaves_its_folder_to_a_mended_recipe(tmp_path):
    once = {"evaluate": [], "train": {"epochs": None, "steps": 1}}
    with pytest.raises(DataError, match="the training split holds only"):
        run("digits-convnet", out=tmp_path / "run", changes={**once, "train": {**once["train"], "batch": 4000}})
    assert (tmp_path / "run" / "recipe.yaml").exists()
    assert run("digits-convnet", out=tmp_path / "run", changes=once).fresh
    with pytest.raises(UsageError, match="belongs to another recipe"):
        run("digits-convnet", out=tmp_path / "run", changes={**once, "seed": 1})
