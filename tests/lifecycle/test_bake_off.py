"""A bake-off runs one recipe in several ways at equal compute, goes on where it was stopped, and says what each gained, forgot and cost."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny
from typer.testing import CliRunner

import ftheta
from ftheta.cli import app
from ftheta.core.config import merge
from ftheta.core.errors import ConfigError, UsageError
from ftheta.evaluation.metrics.language import document_nats
from ftheta.lifecycle.bake_off_picture import powers, undominated
from ftheta.lifecycle.forgetting import held_out


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A little-trained byte model."""
    folder = tmp_path_factory.mktemp("base")
    recipe = merge(tiny.language(tiny.write_texts(folder / "texts")), {"data": {"pack": {"length": 40}}, "model": {"dropout": 0.0}})
    ftheta.run(recipe, out=folder / "run")
    return folder / "run"


def recipe(base: Path, folder: Path, **more: Any) -> dict[str, Any]:
    rows = [{"text": f"{'sea' if i % 2 else 'old'} {i}", "label": "good" if i % 2 else "bad"} for i in range(60)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {
        "format": 1, "name": "arms", "start": str(base), "model": {"kind": "headed", "readout": {"kind": "classify", "pooling": "mean"}}, "objective": "classification",
        "data": {"source": {"kind": "text_table", "path": str(folder / "rows.jsonl"), "longest": 20, "validation": 0.2, "test": 0.3}},
        "train": {"steps": 6, "batch": 8, "precision": "float32", "threads": 1, "optimizer": {"kind": "adamw", "rate": 0.01}}, "evaluate": ["accuracy"], **more,
    }


def test_arms_cost_the_same_and_a_second_call_only_reads(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = recipe(base, tmp_path, arms=[{"adapt": "prompting"}, {"adapt": "probe"}, {"adapt": "full"}, {"adapt": {"kind": "soft_prompt", "tokens": 3}, "rate": 0.1}])
    with pytest.raises(ConfigError, match=r"arms: prompting, probe, full, soft_prompt at rate 0\.1: `ftheta compare RECIPE` makes"):
        ftheta.run(data, out=tmp_path / "run")
    found = ftheta.bake_off(data, out=tmp_path / "arms")
    budgets = json.loads((tmp_path / "arms" / "budgets.json").read_text())
    steps, each = budgets["steps"], budgets["flops_per_step"]
    dearest = max(each, key=each.get)
    assert steps[dearest] == 6 and steps["prompting"] is None and steps["probe"] > 6
    for one in found.runs[1:]:
        assert one.costs["step"] == steps[one.label] and abs(one.costs["flops"] / budgets["flops"] - 1) < 0.5 / steps[one.label] + 1e-6
        assert one.costs["flops_per_step"] == each[one.label]
    assert [one.costs["trainable"] > 0 for one in found.runs] == [False, True, True, True]
    assert found.runs[3].section("train", "optimizer", "rate") == 0.1
    forgotten = found.forgotten
    assert forgotten["prompting"] == forgotten["probe"] == forgotten["start"] != forgotten["full"] and forgotten["soft_prompt"] != forgotten["start"]
    assert len(found.pairings) == 6 and found.picture.read_bytes()[:4] == b"\x89PNG"
    shown = found.show()
    for words in ("accuracy (higher is better)", "before", "peak memory, MB", "trainable parameters", "prompting asked:"):
        assert words in shown
    files = {path: path.read_bytes() for path in (tmp_path / "arms").rglob("*.safetensors")}

    def never(*given: Any, **more: Any) -> None:
        raise AssertionError("done already")

    for name in ("starting_model", "flops_per_step"):
        monkeypatch.setattr(f"ftheta.lifecycle.bake_off.{name}", never)
    assert ftheta.bake_off(data, out=tmp_path / "arms").show() == shown
    assert files == {path: path.read_bytes() for path in (tmp_path / "arms").rglob("*.safetensors")}


def test_a_budget_of_flops_is_that_of_every_arm(base: Path, tmp_path: Path) -> None:
    data = recipe(base, tmp_path, arms=[{"adapt": "probe"}, {"adapt": "full"}])
    data["train"] |= {"steps": None, "flops": 3e7}
    for one in ftheta.bake_off(data, out=tmp_path / "arms").runs:
        assert abs(one.costs["flops"] / 3e7 - 1) <= 0.5 / one.costs["step"] + 1e-6


def test_forgetting_is_bits_per_byte_of_text_the_start_has_not_seen(base: Path, tmp_path: Path) -> None:
    kept = held_out(str(base), None)
    assert kept.texts == [text for text in kept.texts if text] and len(kept.texts) == 4
    model = kept.start.architecture
    ids = [[*kept.start.processor.encode(text), kept.start.processor.id("eos")] for text in kept.texts]                 # type: ignore[attr-defined]
    nats = document_nats(model, ids, 40, 20, 4)
    assert kept.bits_per_byte(model, 0).value == pytest.approx(nats.sum() / math.log(2) / sum(len(text.encode()) for text in kept.texts))
    (tmp_path / "other.txt").write_text("something else altogether")
    assert held_out(str(base), tmp_path / "other.txt").texts == ["something else altogether"]
    with pytest.raises(UsageError, match=r"nowhere\.txt: cannot be read"):
        held_out(str(base), tmp_path / "nowhere.txt")


def test_an_encoder_is_measured_by_blanks(base: Path, tmp_path: Path) -> None:
    encoder = merge(tiny.language(base.parent / "texts"), {
        "objective": "masked",
        "model": {"kind": "encoder", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2, "causal": False}, "dropout": 0.0},
        "train": {"steps": 2},
    })
    ftheta.run(encoder, out=tmp_path / "encoder")
    kept = held_out(str(tmp_path / "encoder"), None)
    first = kept.bits_per_byte(kept.start.architecture, 0)
    assert first == kept.bits_per_byte(kept.start.architecture, 0)
    changed = ftheta.load(tmp_path / "encoder").architecture
    with torch.no_grad():
        changed.get_parameter("embed.weight").add_(1.0)
    assert kept.bits_per_byte(changed, 0).value != first.value


def test_the_front() -> None:
    assert undominated([(3, 0.9), (1, 0.5), (2, 0.4), (1, 0.6), (4, 0.9)], True) == [(1, 0.6), (3, 0.9)]
    assert undominated([(3, 0.2), (1, 0.5), (2, 0.6)], False) == [(1, 0.5), (3, 0.2)]


def test_a_scale_names_no_power_of_ten_below_the_smallest_cost() -> None:
    assert powers(2e3, 1.2e7) == [1e4, 1e5, 1e6, 1e7] and powers(1.0, 40.0) == [1.0, 10.0]
    assert powers(1.0, 1e7) == [1.0, 1e2, 1e4, 1e6]


def test_on_the_command_line(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arms.yaml").write_text(json.dumps(recipe(base, tmp_path)))
    shown = CliRunner().invoke(app, ["compare", "arms.yaml", "--arms", "probe, lora", "--set", "train.steps=2", "--out", "out"])
    assert shown.exit_code == 0, shown.output
    assert "probe" in shown.output and "lora" in shown.output and "full" not in shown.output and (tmp_path / "out" / "lora" / "model").is_dir()


def test_mistakes(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="say which one with `start: FOLDER`"):
        ftheta.bake_off({**recipe(base, tmp_path), "start": None, "model": {"kind": "headed", "trunk": {"kind": "decoder", "dim": 8, "depth": 1}}}, out=tmp_path / "a")
    with pytest.raises(UsageError, match="evaluate: there is nothing to compare"):
        ftheta.bake_off({**recipe(base, tmp_path), "evaluate": []}, out=tmp_path / "a")
    with pytest.raises(ConfigError, match="did you mean 'lora'"):
        ftheta.bake_off(recipe(base, tmp_path), arms=["lorra"], out=tmp_path / "a")
