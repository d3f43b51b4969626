"""A model on the maps of a trunk starts from a network that was trained by itself, or from another model's trunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny

import ftheta
from ftheta.core.config import merge
from ftheta.core.errors import ConfigError
from ftheta.core.tensors import read
from pictured import write_masks

CLASSES = {"left": 0, "right": 255, "below": 7}


def on_masks(folder: Path, start: Path, model: dict[str, Any], **train: Any) -> dict[str, Any]:
    source = {"kind": "masks", "path": str(write_masks(folder / "masks", 24)), "channels": 1, "classes": CLASSES}
    return {
        "format": 1, "name": "on", "start": str(start), "data": {"source": source}, "model": model, "objective": "segmentation",
        "train": {"steps": 2, "batch": 4, "optimizer": {"kind": "adamw", "rate": 1e-9}, "precision": "float32", "threads": 1, "validation": None, **train}, "evaluate": [],
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for name, value in read(folder / "model" / "model.safetensors").items() if value.is_floating_point() and "running" not in name}


def test_a_trunk_is_taken_over_without_its_answer(tmp_path: Path) -> None:
    """And its number of classes is that of the new data; what stands on it may change without it being trained anew."""
    ftheta.run(merge(tiny.images(), {"train": {"steps": 6}}), out=tmp_path / "digits")
    ftheta.run(on_masks(tmp_path, tmp_path / "digits", {"kind": "unet"}), out=tmp_path / "unet")
    trunk = weights(tmp_path / "digits")
    found = {name.removeprefix("trunk."): value for name, value in weights(tmp_path / "unet").items() if name.startswith("trunk.")}
    assert found.keys() == {name for name in trunk if not name.startswith("head.")} and len(found) > 5
    for name, value in found.items():
        torch.testing.assert_close(value, trunk[name], rtol=0, atol=1e-6)
    loaded = ftheta.load(tmp_path / "unet" / "model")
    assert loaded.architecture.config.ports().sizes["K"] == 3 and loaded.provenance["start"]["from"] == str(tmp_path / "digits")
    ftheta.run(on_masks(tmp_path, tmp_path / "unet", {"kind": "segmenter", "width": 8}), out=tmp_path / "segmenter")
    again = weights(tmp_path / "segmenter")
    assert all(torch.allclose(again[f"trunk.{name}"], value, rtol=0, atol=1e-6) for name, value in found.items()) and "lateral.0.weight" in again


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    ftheta.run(merge(tiny.images(), {"train": {"steps": 2}}), out=tmp_path / "digits")
    with pytest.raises(ConfigError, match="do not fit"):
        ftheta.run(on_masks(tmp_path, tmp_path / "digits", {"kind": "unet", "trunk": {"widths": [6]}}), out=tmp_path / "run")
    with pytest.raises(ConfigError, match="holds a resnet: leave it out"):
        ftheta.run(on_masks(tmp_path, tmp_path / "digits", {"kind": "vit"}), out=tmp_path / "run")
