"""Pictures through the whole life: from folders, mixed and cut in training, to a model folder that names what is in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import ftheta
from ftheta.core.errors import ConfigError
from ftheta.lifecycle.build import build_data, build_source
from ftheta.lifecycle.recipe import load
from pictured import CLASSES, encoded, write_voc

pytest.importorskip("PIL")


def recipe(root: Path) -> dict:
    """Pictures that are mostly red, green or blue, on a tiny network."""
    for number in range(60):
        picture = np.random.default_rng(number).integers(0, 90, (14, 18, 3), np.uint8)
        picture[..., number % 3] += 120
        place = root / CLASSES[number % 3] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encoded(picture))
    return {
        "format": 1, "name": "colours", "objective": "classification", "evaluate": ["accuracy"],
        "data": {
            "source": {"kind": "image_folder", "path": str(root), "size": [12, 12], "fit": "crop", "crop": [10, 10], "standardise": True, "test": 0.2, "validation": 0.1},
            "augment": [{"kind": "resized_crop", "size": [10, 10]}, "flip", "colour", {"kind": "mixup", "probability": 0.5}],
        },
        "model": {"kind": "resnet", "stem": "small", "stem_width": 8, "depths": [1], "widths": [8]},
        "train": {"steps": 30, "batch": 16, "optimizer": {"kind": "adamw", "rate": 0.01}, "precision": "float32"},
    }


def test_from_folders_to_a_served_model(tmp_path: Path) -> None:
    done = ftheta.run(recipe(tmp_path / "root"), out=tmp_path / "run")
    [accuracy] = done.results["measurements"]
    assert accuracy["value"] > 0.9 and done.results["data"]["splits"] == {"train": {"examples": 42}, "validation": {"examples": 6}, "test": {"examples": 12}}
    model = ftheta.load(tmp_path / "run" / "model")
    data = build_data(load(recipe(tmp_path / "root")))
    test = data.splits["test"].batch(torch.arange(12))["image"]
    served = {row.numpy().tobytes() for row in model.processor.encode(sorted((tmp_path / "root").glob("*/*.png")))["image"]}
    assert {row.numpy().tobytes() for row in test} <= served                              # the same object, in training and in use
    wanted = {place: place.parent.name for place in sorted((tmp_path / "root").glob("*/*.png"))}
    found = [model.predict({"path": str(place)}).label for place in wanted]
    assert sum(a == b for a, b in zip(found, wanted.values(), strict=True)) > 54


def test_a_step_gives_what_the_model_sees_and_shares_of_classes(tmp_path: Path) -> None:
    parsed = load(recipe(tmp_path / "root"))
    batch = build_source(parsed, build_data(parsed)).batch(0, torch.arange(16), None)
    assert batch["image"].shape == (16, 3, 10, 10) and batch["label"].shape == (16, 3) and torch.allclose(batch["label"].sum(1), torch.ones(16))


def test_changes_that_need_a_class_are_refused_where_there_is_none(tmp_path: Path) -> None:
    boxes = {"kind": "voc", "path": str(write_voc(tmp_path / "voc"))}
    with pytest.raises(ConfigError, match="'mixup' changes 'label' too, and source 'voc' gives none"):
        load({**recipe(tmp_path / "root"), "data": {"source": boxes, "augment": ["mixup"]}})
    fitting = ftheta.check({**recipe(tmp_path / "root"), "data": {"source": boxes}})
    assert any("reads 'label'" in reason for reason in fitting.reasons)
