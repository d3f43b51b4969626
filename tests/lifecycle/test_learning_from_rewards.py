"""Learning from rewards as whole runs: from examples to completions, a reward model as judge, judged answers; stopped and continued."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftheta.core.config import merge
from ftheta.core.errors import ConfigError, Stopped, UsageError
from ftheta.lifecycle.lifecycle import run
from ftheta.models.folder import load

PROMPTS = {"kind": "arithmetic", "digits": 1}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has seen a few sums."""
    recipe = {
        "format": 1, "name": "sums", "data": {"source": {**PROMPTS, "count": 100}, "tokenizer": "characters", "pack": {"length": 16}, "split": {"test": 0.2}},
        "model": {"kind": "decoder", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2}}, "objective": "next_token",
        "train": {"steps": 20, "batch": 8, "optimizer": {"kind": "adamw", "rate": 0.01}, "threads": 1, "precision": "float32", "validation": None},
        "evaluate": [{"kind": "mean_reward", "most": 3}],
    }
    return run(recipe, out=tmp_path_factory.mktemp("sums")).model_folder


def recipe(start: Path, **changes: Any) -> dict[str, Any]:
    base = {
        "format": 1, "name": "rewarded", "start": str(start), "model": {},
        "data": {"source": {"kind": "completions", "prompts": {**PROMPTS, "count": 100}, "asked": 4, "group": 4, "most": 3, "longest": 10, "epochs": 2}, "split": {"test": 0.2}},
        "objective": {"kind": "completion_policy", "kl": 0.1},
        "train": {"steps": 8, "batch": 8, "optimizer": {"kind": "adamw", "rate": 0.01}, "threads": 1, "precision": "float32", "log_every": 1,
                  "checkpoint": {"every": 3, "asynchronous": False}},
        "evaluate": [{"kind": "mean_reward", "most": 3, "shown": 2}],
    }
    return merge(base, changes)


def parameters(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def test_a_stopped_run_continues_to_the_same_bits(started: Path, tmp_path: Path) -> None:
    straight = run(recipe(started), out=tmp_path / "straight")

    def stop(name: str, facts: dict[str, Any]) -> None:
        if name == "metrics" and facts["step"] == 6:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        run(recipe(started), out=tmp_path / "stopped", listeners=[stop])
    run(recipe(started), out=tmp_path / "stopped")
    assert parameters(tmp_path / "straight") == parameters(tmp_path / "stopped") != (started / "model.safetensors").read_bytes()
    events = [json.loads(line) for line in (straight.folder / "events.jsonl").read_text().splitlines()]
    shown = [event for event in events if event["event"] == "exhibit"]
    assert len(shown) == 3 * 8 and all(isinstance(event["completion"], str) and event["prompt"].endswith("=") for event in shown)
    lines = [json.loads(line) for line in (straight.folder / "metrics.jsonl").read_text().splitlines()]
    assert all({"reward", "ended", "completion_tokens", "reference_kl", "kl", "entropy"} <= line.keys() for line in lines)
    assert lines[0]["reference_kl"] == pytest.approx(0, abs=1e-6) and lines[-1]["reference_kl"] > 0
    assert "completions of test prompts" in (straight.folder / "report" / "card.md").read_text()


def test_a_value_function_is_learned_and_the_reward_rises(started: Path, tmp_path: Path) -> None:
    """One digit is worth a point: two completions in three are wrong at first."""
    changes = {
        "model": {"kind": "headed", "readout": "values", "trunk": {"head": "linear"}}, "objective": {"value": 0.5, "value_clip": 0.2, "kl": 0.01},
        "data": {"source": {"asked": 32, "group": 1, "advantage": "generalised", "rewards": [{"kind": "regex", "pattern": "[0-9]"}]}},
        "train": {"steps": 60, "batch": 16}, "evaluate": [{"kind": "mean_reward", "most": 3, "rewards": [{"kind": "regex", "pattern": "[0-9]"}]}],
    }
    found = run(recipe(started, **changes), out=tmp_path / "ppo")
    lines = [json.loads(line) for line in (found.folder / "metrics.jsonl").read_text().splitlines() if '"reward"' in line]
    first, last = (sum(line["reward"] for line in part) / len(part) for part in (lines[:8], lines[-8:]))
    assert last > first + 0.2
    assert sum(line["value_loss"] for line in lines[-8:]) < sum(line["value_loss"] for line in lines[:8])
    again = load(found.model_folder)
    assert again.task.name == "text-generation" and again.predict({"prompt": "3+4=", "most": 3, "temperature": 0}).tokens <= 3


@pytest.mark.parametrize("normalise", ["sequence", "token"])
def test_micro_batches_change_nothing(started: Path, tmp_path: Path, normalise: str) -> None:
    folders = []
    for micro in (8, 3):
        changes = {"objective": {"normalise": normalise}, "train": {"micro_batch": micro, "steps": 2}, "evaluate": []}
        folders.append(run(recipe(started, **changes), out=tmp_path / str(micro)).model_folder)
    whole, parts = (load(folder).architecture.theta() for folder in folders)
    assert all((whole[name] - parts[name]).abs().max() < 1e-5 for name in whole)


def test_measured_before_and_after_on_the_same_prompts(started: Path, tmp_path: Path) -> None:
    after = run(recipe(started), out=tmp_path / "after")
    before = json.loads((started.parent / "report" / "results.json").read_text())
    assert [m["n"] for m in before["measurements"]] == [m["n"] for m in after.results["measurements"]] == [20, 20]


def test_a_reward_model_judges(started: Path, tmp_path: Path) -> None:
    pairs = [{"prompt": f"{i % 10}+{i // 10}=", "chosen": str(i % 10 + i // 10), "rejected": str(i)} for i in range(60)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    learned = {
        "format": 1, "name": "reward", "start": str(started),
        "data": {"source": {"kind": "preferences", "path": str(tmp_path / "pairs.jsonl"), "template": "plain"}, "pack": {"length": 16}, "split": {"test": 0.2}},
        "model": {"kind": "headed", "readout": {"kind": "regress", "pooling": "last", "dense": None}}, "objective": "reward",
        "train": {"steps": 40, "batch": 8, "optimizer": {"kind": "adamw", "rate": 0.01}, "threads": 1, "precision": "float32", "validation": None},
        "evaluate": [{"kind": "preferred", "objective": "reward"}],
    }
    judge = run(learned, out=tmp_path / "reward")
    assert judge.results["task"] == "text-ranking" and judge.results["measurements"][0]["value"] > 0.6
    rewards = [{"kind": "model", "path": str(judge.model_folder)}, "arithmetic"]
    found = run(recipe(started, data={"source": {"rewards": rewards}}, evaluate=[{"kind": "mean_reward", "most": 3, "rewards": rewards}]), out=tmp_path / "judged")
    line = json.loads((found.folder / "metrics.jsonl").read_text().splitlines()[0])
    assert line["reward"] == pytest.approx(line["reward_model"] + line["reward_arithmetic"])
    with pytest.raises(UsageError, match="gives no number for a text"):
        run(recipe(started, data={"source": {"rewards": [{"kind": "model", "path": str(started)}]}}), out=tmp_path / "wrong")


def test_judged_answers_move_the_model(started: Path, tmp_path: Path) -> None:
    rows = [{"instruction": f"{i % 10}+{i // 10}=", "output": str(i % 10 + i // 10 + i % 2), "label": i % 2 == 0} for i in range(80)]
    (tmp_path / "judged.jsonl").write_text("\n".join(map(json.dumps, rows)))
    changes = {
        "data": {"source": {"kind": "judged", "path": str(tmp_path / "judged.jsonl"), "template": "plain"}, "pack": {"length": 16}}, "objective": "kto",
        "train": {"steps": 20}, "evaluate": [],
    }
    found = run(recipe(started, **changes), out=tmp_path / "kto")
    lines = [json.loads(line) for line in (found.folder / "metrics.jsonl").read_text().splitlines() if '"loss"' in line]
    assert lines[0]["loss"] == pytest.approx(0.5, abs=1e-3)
    assert sum(line["good_reward"] - line["bad_reward"] for line in lines[-5:]) > 0
    with pytest.raises(UsageError, match="couples the examples of a batch"):
        run(recipe(started, **merge(changes, {"train": {"micro_batch": 4}})), out=tmp_path / "parts")


def test_nearness_to_a_start_needs_a_start(started: Path, tmp_path: Path) -> None:
    alone = recipe(started, model={"kind": "decoder", "dim": 16, "depth": 1, "mixer": {"kind": "attention", "heads": 2}})
    del alone["start"]
    alone["data"]["tokenizer"] = {"kind": "file", "path": str(started / "tokenizer.json")}
    with pytest.raises(ConfigError, match="compares with the model that training starts from"):
        run(alone, out=tmp_path / "alone")
